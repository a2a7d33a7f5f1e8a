//! The proof of a state that another runtime ran last, as an operator sees it.

use std::path::Path;

use crate::{
    cli::{Output, output::counted, progress::Progress},
    host::controller::{Host, prove_runtime},
    kernel::Halt,
    model::blame::Fault,
    vat::Runtime,
};

/// Proves the state, if another runtime ran it last, before anything else is done with it.
pub(super) fn prove(host: &mut Host, state: Option<&Path>, output: &Output) -> Result<(), Box<Halt>> {
    let mine = Runtime::here().name().to_owned();
    let mut made = String::new();
    let progress = Progress::new(output, "proving", "vats");
    let proved = prove_runtime(host, &mut |proof| {
        if made.is_empty() {
            made.clone_from(&proof.runtime);
            output.note(format!(
                "the vats of this state ran on {made}; this binary has {mine}: proving that it does the same"
            ));
        }
        progress.set(proof.vats, proof.of);
    });
    let seconds = progress.finish().as_secs_f64();
    match proved {
        Ok(None) => Ok(()),
        Ok(Some(it)) => {
            let vats = counted(it.vats, "vat", "vats");
            let deliveries = counted(it.deliveries, "delivery", "deliveries");
            let heaps = counted(it.snapshots, "snapshot", "snapshots");
            output.note(format!(
                "proved: {vats}, {deliveries} and {heaps} the same, {seconds:.1} s; from now on the state names {mine}"
            ));
            if it.untried > 0 {
                let untried = counted(it.untried, "vat has", "vats have");
                output.warn(format!(
                    "{untried} no delivery behind the snapshot: nothing of theirs was made again, as `--prove all` does where the transcript is kept"
                ));
            }
            Ok(())
        }
        Err(halt) => {
            if let Fault::Anachronism(it) = &halt.fault {
                let state = state.map_or("DIR".to_owned(), |it| it.display().to_string());
                output.report(format!(
                    "{mine} does not do what {made} did: nothing was written\n  \
                     go on with a vathost that has {made}, and report this\n  \
                     look at the delivery: vathost replay --state {state} --vat {} --delivery {}",
                    it.vat, it.delivery,
                ));
            }
            Err(halt)
        }
    }
}
