use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::vat::interface::Interface;
use crate::{
    cli::{
        Exit, Output,
        interface::{self, InterfaceForm},
        output::size,
    },
    host::scenario::{self, Bytes},
    model::id::BundleId,
    vat::module::{self, ModuleRefusal, Prepared, Refusals, Rules},
};

/// Say whether a module can run as a vat, and if not, why and what to change
///
/// With --interface it prints what the module says of its objects instead: methods, arguments, answers, and the words about them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost check vats/bank.wasm
  vathost check my-vat.wat --json
  vathost check vats/bank.wasm --interface
  vathost check vats/bank --interface=openapi > bank.json
  vathost check vats/bank --interface=typescript > bank.d.ts")]
pub(crate) struct CheckArgs {
    /// A `.wasm` or `.wat` file; with --interface also a scenario
    file: PathBuf,
    /// Print what the module's objects answer to, or those of a scenario's modules
    #[arg(long, value_enum, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    interface: Option<InterfaceForm>,
    /// Refuse floating point too
    #[arg(long)]
    no_floats: bool,
    /// Bytes of memory that the vat's options give it (`memory_max`), as in `128MiB`
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    memory_max: Bytes,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Refuses a module that a run would refuse when the vat starts: its memory begins larger than the vat's options allow.
fn starts_within(prepared: Prepared, memory_max: u64) -> Result<Prepared, Refusals> {
    let needed = u64::from(prepared.memory.min) << 16;
    if needed <= memory_max {
        return Ok(prepared);
    }
    let what = format!("the memory begins with {}, and the vat may have {}", size(needed), size(memory_max));
    let hint = format!(
        "give it more by `options = {{ memory_max = \"{0}\" }}` in vat.toml, and check it with `--memory-max {0}`; or make it begin \
         smaller (wasm-ld: --initial-memory)",
        size(needed).replace(' ', "")
    );
    Err(Refusals(vec![ModuleRefusal { rule: "memory-max", offset: None, what, hint }]))
}

pub(crate) fn cmd_check(args: CheckArgs, output: &Output) -> anyhow::Result<Exit> {
    if let Some(form) = args.interface {
        return interface::print(&args.file, form, args.json, output);
    }
    let name = args.file.display();
    let wasm = scenario::read_module(&args.file)?;
    let (id, rules) = (BundleId::of(&wasm), Rules { floats: !args.no_floats, ..Rules::default() });
    if let Err(why) = Interface::read(&wasm) {
        output.warn(interface::malformed(&name.to_string(), &why));
    }
    match module::prepare(&wasm, &rules).and_then(|it| starts_within(it, args.memory_max.0)) {
        Ok(prepared) => {
            let pages = prepared.memory.min;
            if args.json {
                output.json(
                    &json!({ "ok": true, "bundle": id.to_string(), "bytes": wasm.len(), "memoryPages": pages }),
                )?;
            } else {
                let memory = size(u64::from(pages) << 16);
                output.line(format!("{name}: ok, {}, memory from {memory}, bundle {id}", size(wasm.len() as u64)))?;
            }
            Ok(Exit::Ok)
        }
        Err(refusals) => {
            if args.json {
                let list: Vec<_> = refusals
                    .0
                    .iter()
                    .map(|it| json!({ "rule": it.rule, "offset": it.offset, "what": it.what, "hint": it.hint }))
                    .collect();
                output.json(&json!({ "ok": false, "bundle": id.to_string(), "refusals": list }))?;
            } else {
                output.line(format!("{name}: refused\n{refusals}"))?;
            }
            Ok(Exit::Findings)
        }
    }
}
