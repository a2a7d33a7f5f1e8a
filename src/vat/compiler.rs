//! Compiling, which no fuel pays for. A module that costs much is compiled in a process of its own, within limits of CPU and memory;
//! a cheap one in the host's process, and so is every one if the program named none for it ([`set_program`]).
//!
//! Invariants: what is compiled has passed the load pass, whose model of the cost ([`Cost`](crate::vat::module::Cost)) bounds the work;
//! the limits here are far beyond that, and are hit only if the model is wrong or the machine is out of something; hitting one is this
//! machine's fault, names the bundle, and is never a verdict on the guest; another process's native code is taken over a pipe from a
//! process of this very program, and from nowhere else.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::Engine;

use crate::{
    model::{blame::HostFault, id::BundleId},
    vat::{CodeTarget, Purpose, Runtime, engine},
};

/// The verb of the command line under which a program serves [`serve`].
pub const VERB: &str = "compile-module";

/// Modules that cost no more than this, in the model's nanoseconds, are compiled in the host's own process: it takes some 20 ms, about as
/// long as to start another process, and no limit is needed.
const IN_PROCESS_COST: u64 = 20_000_000;

/// Threads of a compiling process. Each has an arena of the allocator, which counts as address space whether it is used or not.
const THREADS_MAX: usize = 8;

/// Bytes of a compiling process's last words that are kept.
const WORDS_MAX: usize = 1_000;

/// The resources that a compiling process may take. By the model of the cost, no module takes a tenth of them, or half of them
/// for a debugger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompilerLimits {
    /// Seconds of CPU of all its threads.
    pub cpu_seconds: u64,
    /// Bytes of address space.
    pub memory: u64,
}

impl Default for CompilerLimits {
    /// The largest module that is accepted takes 8 s, five times as long for a debugger, and some hundreds of MiB.
    fn default() -> CompilerLimits {
        CompilerLimits { cpu_seconds: 120, memory: 4 << 30 }
    }
}

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that compiles for this process: one whose verb [`VERB`] calls [`serve`], from the same build of this library. The
/// command line names itself. A program that embeds the library and names none compiles in its own process, without limits. Only the
/// first call counts.
pub fn set_program(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Returns the native code of an instrumented module of this cost, as `wasmtime::Module::deserialize` takes it.
pub(super) fn compile(
    engine: &Engine,
    target: &CodeTarget,
    id: BundleId,
    wasm: &[u8],
    cost: u64,
) -> Result<Vec<u8>, HostFault> {
    match PROGRAM.get() {
        Some(program) if cost > IN_PROCESS_COST && target.runtime == Runtime::here() => {
            let debugging = target.purpose == Purpose::Debugging;
            compile_in(program, (target.version, debugging), id, wasm, CompilerLimits::default())
        }
        _ => engine.precompile_module(wasm).map_err(|err| fault(id, format_args!("{err:#}"))),
    }
}

/// Has a program of this build compile an instrumented module, for an engine version with or without debugging.
///
/// # Errors
///
/// The process cannot be started, ends without an answer, or by a limit: a fault that names the bundle.
pub fn compile_in(
    program: &Path,
    (version, debugging): (u32, bool),
    id: BundleId,
    wasm: &[u8],
    limits: CompilerLimits,
) -> Result<Vec<u8>, HostFault> {
    let broken = |err: std::io::Error| fault(id, format_args!("start {}: {err}", program.display()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let mut command = Command::new(program);
    command.arg(VERB).env("RAYON_NUM_THREADS", threads.to_string());
    command.arg("--cpu-seconds").arg(limits.cpu_seconds.to_string());
    command.arg("--memory").arg(limits.memory.to_string());
    command.arg("--engine").arg(version.to_string());
    if debugging {
        command.arg("--debugging");
    }
    // ^C is for the host, which waits for what is under way.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(broken)?;
    // The child reads all before it writes anything. If the write fails the child has ended, and its status says how.
    let _ = child.stdin.take().map(|mut it| it.write_all(wasm));
    let output = child.wait_with_output().map_err(broken)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(output.stderr.get(..WORDS_MAX).unwrap_or(&output.stderr)).trim().to_owned();
    let colon = if words.is_empty() { "" } else { ": " };
    Err(fault(id, format_args!("the compiling process {}{colon}{words}", ending(output.status))))
}

/// Serves the other side of [`compile_in`]: an instrumented module comes in, native code goes out. First this process
/// is put under the limits.
pub fn serve(
    (version, debugging): (u32, bool),
    limits: CompilerLimits,
    mut input: impl Read,
    mut output: impl Write,
) -> Result<(), HostFault> {
    let broken = |err: &dyn std::fmt::Display| HostFault::new("compile a module", err);
    for (resource, most) in [(Resource::Cpu, limits.cpu_seconds), (Resource::As, limits.memory), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(|err| broken(&err))?;
    }
    let mut wasm = Vec::new();
    input.read_to_end(&mut wasm).map_err(|err| broken(&err))?;
    let purpose = if debugging { Purpose::Debugging } else { Purpose::Running };
    let engine = engine(&CodeTarget { purpose, version, runtime: Runtime::here() })?;
    let code = engine.precompile_module(&wasm).map_err(|err| broken(&format_args!("{err:#}")))?;
    output.write_all(&code).and_then(|()| output.flush()).map_err(|err| broken(&err))
}

fn fault(id: BundleId, why: impl std::fmt::Display) -> HostFault {
    let what = format_args!("compile bundle {id}");
    HostFault::new(
        what,
        format_args!("{why} (the guest is not to blame: start again; or have a directive end its vats)"),
    )
}

fn ending(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        // The signals that the operating system sends at the limit of CPU.
        let why = if [9, 24].contains(&signal) { ", as by its limit of CPU time" } else { "" };
        return format!("was ended by signal {signal}{why}");
    }
    status.code().map_or("ended".to_owned(), |code| format!("ended with exit code {code}"))
}
