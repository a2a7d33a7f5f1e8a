use std::{
    io::{stdin, stdout},
    path::PathBuf,
};

use clap::Args;

use crate::{
    cli::Exit,
    model::engine_version,
    vat::compiler::{self, CompilerLimits},
};

/// Compiles an instrumented module for the process that started it, within limits
#[derive(Args, Debug)]
pub(crate) struct CompileArgs {
    /// For this engine version
    #[arg(long, value_name = "N", default_value_t = engine_version::DEFAULT)]
    engine: u32,
    /// For an engine with debugging
    #[arg(long)]
    debugging: bool,
    /// Seconds of CPU that it may take
    #[arg(long, value_name = "N", default_value_t = CompilerLimits::default().cpu_seconds)]
    cpu_seconds: u64,
    /// Bytes of address space that it may take
    #[arg(long, value_name = "BYTES", default_value_t = CompilerLimits::default().memory)]
    memory: u64,
}

pub(crate) fn cmd_compile(args: &CompileArgs) -> anyhow::Result<Exit> {
    let limits = CompilerLimits { cpu_seconds: args.cpu_seconds, memory: args.memory };
    compiler::serve((args.engine, args.debugging), limits, stdin().lock(), stdout().lock())?;
    Ok(Exit::Ok)
}

/// Sets this very program as the compiler's program, even if its file has been replaced since it started.
pub(crate) fn name_program() {
    let own = PathBuf::from("/proc/self/exe");
    let program = if own.exists() { Some(own) } else { std::env::current_exe().ok() };
    if let Some(program) = program {
        compiler::set_program(program);
    }
}
