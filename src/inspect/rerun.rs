//! Reruns of a vat's transcript in a fresh instance: does history repeat, and would it with other code?
//!
//! Invariants: the state is only read; the first difference ends a rerun, as an [`Anachronism`](crate::model::blame::Anachronism) with both
//! sides.

use crate::{
    host::block_run::{BlockRun, Step},
    kernel::{self, Halt, Ran, Usage, Workers},
    model::{
        blame::{Fault, HostFault},
        id::{BundleId, DeliveryNum, VatId},
        value::Delivery,
    },
    state::{
        block::{Block, BlockPolicy, history},
        table::{Options, Vat},
        transcript::{End, Entry},
    },
};

/// The deliveries of one vat that are to be run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerun {
    /// The vat to run.
    pub vat: VatId,
    /// The first delivery, a `startVat`: a heap begins there.
    pub first: DeliveryNum,
    /// The last delivery.
    pub last: DeliveryNum,
    /// A module to run instead of the vat's own: its fuel may differ.
    pub wasm: Option<Vec<u8>>,
}

/// A delivery that was run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redelivered<'a> {
    /// The delivery's entry in the transcript.
    pub entry: &'a Entry,
    /// The fuel on record; `None` for an attempt that was undone or skipped, which is not made again.
    pub recorded: Option<u64>,
    /// The resources that the delivery used now.
    pub usage: Usage,
}

/// Returns the last `startVat` that succeeded at or before a delivery: a replay of that delivery has to begin there.
pub fn beginning(block: &Block, vat: VatId, of: DeliveryNum) -> Result<Option<DeliveryNum>, HostFault> {
    let mut found = None;
    for entry in block.transcript(vat, history::begins_at(block, vat)?)? {
        let entry = entry?;
        if entry.number > of {
            break;
        }
        if is_start(&entry) {
            found = Some(entry.number);
        }
    }
    Ok(found)
}

fn is_start(entry: &Entry) -> bool {
    matches!(entry.delivery, Some(Delivery::StartVat(_))) && matches!(entry.end, End::Done { .. })
}

/// Runs the deliveries again, at most up to the next upgrade. `each` is called with every delivery, and returns whether
/// to continue. The worker is left in `workers`.
pub fn rerun(
    block: &Block,
    workers: &mut dyn Workers,
    what: &Rerun,
    each: &mut dyn FnMut(&Redelivered<'_>) -> bool,
) -> Result<(), Fault> {
    let vat = what.vat;
    let unknown = || HostFault::new(format_args!("replay {vat}"), "there is no such vat");
    let mut row: Vat = block.tables().vats.get(&vat).ok_or_else(unknown)?.clone();
    if let Some(wasm) = &what.wasm {
        row.bundle = BundleId::of(wasm);
        // The options that another module needs are chosen with its upgrade, and not known here.
        row.options = Options { memory_max: row.options.memory_max.max(1 << 32), ..row.options };
    }
    let stored = || block.bundle(row.bundle).map_err(|err| err.within(format_args!("bring {vat} up")));
    let bundle = || what.wasm.clone().map_or_else(stored, Ok);
    let mut version = block.tables().engine_version_of(vat, what.first);
    workers.set_engine_version(version);
    workers.start(vat, &row, None, &bundle).map_err(|fault| kernel::not_again(vat, what.first, fault))?;
    for entry in block.transcript(vat, what.first)? {
        let entry = entry?;
        let begun_anew = entry.number > what.first && is_start(&entry);
        if entry.number > what.last || begun_anew {
            break;
        }
        let recorded = match entry.end {
            End::Done { fuel } => Some(fuel),
            _ => None,
        };
        let wanted = block.tables().engine_version_of(vat, entry.number);
        if wanted != version {
            kernel::carry_over(workers, (vat, &row), wanted, &bundle)?;
            version = wanted;
        }
        let worker = workers.worker(vat).ok_or_else(|| HostFault::new("replay", "the vat has no worker"))?;
        let usage = kernel::redeliver(worker, vat, entry.clone())?;
        if let (Some(recorded), None) = (recorded, &what.wasm) {
            kernel::check_fuel((vat, entry.number), version, recorded, usage.fuel)?;
        }
        if !each(&Redelivered { entry: &entry, recorded, usage }) {
            break;
        }
    }
    Ok(())
}

/// Runs the open work of a state, in blocks that are committed as its host's are, until this delivery was attempted: for a state that is only
/// looked at. Returns the delivery's crank, or `None` if nothing is left to do before it. If the kernel panics on the way, that is the error.
pub fn run_on(
    block: Block,
    workers: &mut dyn Workers,
    policy: &BlockPolicy,
    vat: VatId,
    delivery: DeliveryNum,
) -> Result<Option<Ran>, Box<Halt>> {
    let mut run = BlockRun::new(block, *policy);
    loop {
        match run.step(workers)? {
            Step::Crank(ran) if ran.delivery.is_some_and(|(it, number)| it == vat && number >= delivery) => {
                return Ok(Some(ran));
            }
            Step::Crank(_) | Step::BlockEnd => {
                // Only wakeups are left, which may come for ever.
                if run.commit_if_over()?.is_some() && kernel::is_quiescent(run.block()?) {
                    return Ok(None);
                }
            }
            Step::Quiescent | Step::Interrupted => return Ok(None),
        }
    }
}
