//! The report that the operator is shown when the host halts: even in quiet mode, and as JSON if that was asked for.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::{
    cli::{
        Output,
        ways::{self, Given},
    },
    host::{
        controller::Host,
        epitaph::{Epitaph, Mishap},
    },
    kernel::Halt,
    model::blame::{Fault, Halted, HostFault},
    state::block::Block,
    store::write_private,
};

/// Says where the host stopped and what can be done. A kernel panic leaves an epitaph and what is left of the guest beside the
/// store, and the ways on are tried. Returns the error that the command ends with.
pub(super) fn report(
    halt: Halt,
    controller: &Host,
    given: Option<&Given<'_>>,
    as_json: bool,
    output: &Output,
) -> anyhow::Result<anyhow::Error> {
    let state = given.map(|it| it.state);
    // What was committed; the vat may be younger.
    let block = state.and_then(|dir| Block::open_read_only(dir).ok());
    let name = |block: &Block| Some(block.tables().vats.get(&halt.position.delivery?.0)?.name.clone());
    let vat_name = block.as_ref().and_then(name);
    let folder = state.map(|it| it.display().to_string());
    if let Some(epitaph) = Epitaph::of(&halt, controller.standing(), vat_name.clone()) {
        let epitaph = bury(epitaph, controller, block.as_ref(), state, output)?;
        drop(block);
        output.report(epitaph.message(folder.as_deref()).trim_end());
        let arguments: Vec<String> = std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
        let ways = given.map(|it| ways::of(&epitaph, it, &arguments));
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

/// Says as JSON that this machine cannot open the state: whoever asked for an object gets one.
pub(super) fn not_begun(err: &anyhow::Error, output: &Output) {
    let of_halt = |it: &Halt| match &it.fault {
        Fault::Host(fault) => Some(fault.clone()),
        _ => None,
    };
    let found =
        err.chain().find_map(|it| it.downcast_ref::<HostFault>().cloned().or_else(|| of_halt(it.downcast_ref()?)));
    let Some(HostFault { what, why, way_out }) = found else { return };
    // The error itself comes at the end, too.
    let _ = output.json(&json!({ "hostFault": { "what": what, "why": why, "wayOut": way_out } }));
}

/// A halt that is nobody's fault, or a history that does not repeat.
fn stopped(halt: &Halt, controller: &Host) -> Value {
    let standing = controller.standing();
    let (height, hash) = (standing.height, &standing.state_hash);
    match &halt.fault {
        Fault::Halted(Halted { crank, line, why }) => json!({ "halted": {
            "crank": crank.0, "line": line, "why": why, "height": height, "stateHash": hash,
        } }),
        Fault::Anachronism(it) => json!({ "divergence": {
            "vatID": it.vat.to_string(), "delivery": it.delivery, "what": it.what, "recorded": it.recorded, "actual": it.actual,
            "height": height, "stateHash": hash,
        } }),
        other => json!({ "interrupted": { "why": other.to_string(), "height": height, "stateHash": hash } }),
    }
}

/// Leaves the epitaph beside the store, and what is left of the guest.
fn bury(
    mut epitaph: Epitaph,
    controller: &Host,
    block: Option<&Block>,
    state: Option<&Path>,
    output: &Output,
) -> anyhow::Result<Epitaph> {
    let Some(dir) = state else { return Ok(epitaph) };
    if let (Some(dump), Some(block)) = (controller.core_dump(), block) {
        epitaph.guest_backtrace = dump.backtrace();
        let file = epitaph.core_dump_name();
        let written = block.bundle(dump.bundle()).map_err(anyhow::Error::from).and_then(|wasm| {
            let vat = epitaph.vat_name.as_deref().or(epitaph.vat.as_deref()).unwrap_or_default();
            Ok(write_private(&dir.join(&file), &dump.encode(&wasm, vat))?)
        });
        match written {
            Ok(()) => epitaph.core_dump = Some(file),
            // The epitaph matters more.
            Err(err) => output.warn(format!("no core dump of the guest: {err:#}")),
        }
    }
    let path = dir.join(epitaph.file_name());
    write_private(&path, &serde_json::to_vec_pretty(&epitaph)?).with_context(|| format!("write {}", path.display()))?;
    Ok(epitaph)
}
