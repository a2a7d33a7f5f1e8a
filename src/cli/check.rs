use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{Exit, Output, Usage, output::size},
    id::BundleId,
    vat::module::{self, Rules},
};

/// Say whether a module can run as a vat, and if not, why and what to change
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost check vats/bank.wasm
  vathost check my-vat.wat --json")]
pub(crate) struct CheckArgs {
    /// A `.wasm` or `.wat` file
    file: PathBuf,
    /// Refuse floating point too
    #[arg(long)]
    no_floats: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn cmd_check(args: CheckArgs, output: &Output) -> anyhow::Result<Exit> {
    let name = args.file.display();
    let wasm = wat::parse_file(&args.file).map_err(|err| Usage::new(format!("{name}: {err}"), ""))?;
    let (id, rules) = (BundleId::of(&wasm), Rules { floats: !args.no_floats });
    match module::prepare(&wasm, &rules) {
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
