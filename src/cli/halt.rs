//! The report that the operator gets when the host halts: even in quiet mode, and as JSON if that was asked for.

use serde_json::{Value, json};

use crate::{
    cli::{
        Output,
        ways::{self, Given},
    },
    host::{controller::Host, epitaph::Mishap},
    kernel::Halt,
    model::blame::{Fault, HostFailure, HostFault},
    state::block::Block,
};

/// Prints where the host stopped and what can be done; after a kernel panic it first tries the ways on. Returns the error that the command
/// ends with.
pub(super) fn report(
    halt: Halt,
    controller: &Host,
    given: Option<&Given<'_>>,
    as_json: bool,
    output: &Output,
) -> anyhow::Result<anyhow::Error> {
    let state = given.map(|it| it.state);
    // The committed state; the vat may be younger, and have no name there.
    let block = state.and_then(|dir| Block::open_read_only(dir).ok());
    let name = |block: &Block| Some(block.tables().vats.get(&halt.position.delivery?.0)?.name.clone());
    let vat_name = block.as_ref().and_then(name);
    let folder = state.map(|it| it.display().to_string());
    if let Some(epitaph) = controller.epitaph() {
        drop(block);
        controller.unburied().iter().for_each(|it| output.warn(it));
        output.report(epitaph.message(folder.as_deref()).trim_end());
        let arguments: Vec<String> = std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
        let ways = given.map(|it| ways::of(epitaph, it, &arguments));
        if let Some(ways) = &ways {
            ways.say(output);
        }
        if as_json {
            output.json(&json!({ "panic": epitaph, "waysOn": ways }))?;
        }
    } else if let Some(mishap) = Mishap::of(&halt, controller.standing(), vat_name) {
        if as_json {
            output.json(&json!({ "hostFault": mishap }))?;
        }
        output.report(mishap.message(folder.as_deref()).trim_end());
    } else if as_json {
        output.json(&stopped(&halt, controller))?;
    }
    Ok(halt.into())
}

/// Prints as JSON that this machine cannot open the state, so that `--json` prints an object also then.
pub(super) fn not_begun(err: &anyhow::Error, output: &Output) {
    let of_halt = |it: &Halt| match &it.fault {
        Fault::Host(fault) => Some(fault.clone()),
        _ => None,
    };
    let found =
        err.chain().find_map(|it| it.downcast_ref::<HostFault>().cloned().or_else(|| of_halt(it.downcast_ref()?)));
    let Some(fault) = found else { return };
    let HostFailure { what, why, way_out } = &*fault;
    // The error itself comes at the end, too.
    let _ = output.json(&json!({ "hostFault": { "what": what, "why": why, "wayOut": way_out } }));
}

/// Makes the JSON object for the other halts: by a directive, by a divergence, or by an interruption.
fn stopped(halt: &Halt, controller: &Host) -> Value {
    let standing = controller.standing();
    let (height, hash) = (standing.height, &standing.state_hash);
    match &halt.fault {
        Fault::Halted(it) => json!({ "halted": {
            "crank": it.crank.0, "line": it.line, "why": it.why, "height": height, "stateHash": hash,
        } }),
        Fault::Anachronism(it) => json!({ "divergence": {
            "vatID": it.vat.to_string(), "delivery": it.delivery, "what": it.what, "recorded": it.recorded, "actual": it.actual,
            "height": height, "stateHash": hash,
        } }),
        other => json!({ "interrupted": { "why": other.to_string(), "height": height, "stateHash": hash } }),
    }
}
