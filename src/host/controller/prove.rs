//! A state that another runtime ran last: before the host changes anything, it proves that its own does the same.
//!
//! Invariants: until the proof is complete nothing is written; when it is, the runtime on record is this one, in a transaction of its own.

use crate::{
    host::{
        controller::{Host, gone},
        options::Prove,
    },
    kernel::{self, Halt, Position, Workers},
    model::{blame::Fault, id::VatId},
    state::block::{Block, beside},
    vat::{Warehouse, stack},
};

/// The progress of a proof, or its result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuntimeProof {
    /// The runtime that the state had on record.
    pub runtime: String,
    /// The vats that are proved.
    pub vats: u64,
    /// The vats that are to be proved.
    pub of: u64,
    /// The deliveries that were made again.
    pub deliveries: u64,
    /// The vats of which no delivery was made again: their snapshots have the last.
    pub untried: u64,
    /// The snapshots that were compared with the heaps that deliveries led to.
    pub snapshots: u64,
}

/// Proves a state that another runtime ran last, as far as the host's options say, and records the host's own runtime. Returns `None` if there
/// is nothing to prove. `each` hears of the beginning, and of every vat that is proved. A host does it before its first block if
/// nobody did.
///
/// # Errors
///
/// A delivery does not come out as it is recorded: an anachronism, which names it. Nothing was written.
pub fn prove_runtime(host: &mut Host, each: &mut dyn FnMut(&RuntimeProof)) -> Result<Option<RuntimeProof>, Box<Halt>> {
    let (all, mine) = (host.options.prove == Prove::All, host.options.runtime.name().to_owned());
    let made = host.block()?.meta().runtime.clone();
    // A state that is only read is proved by whoever runs it.
    if made.is_empty() || made == mine || host.options.read_only {
        return Ok(None);
    }
    let mut block = host.block.take().ok_or_else(gone)?;
    let (workers, begun) = (&mut host.warehouse, RuntimeProof { runtime: made, ..RuntimeProof::default() });
    let told = format!("on {mine} instead of {}", begun.runtime);
    let proved = stack::for_block(|| prove(&mut block, workers, begun, all, each)).map_err(|halt| tell(*halt, &told));
    let proved = proved.and_then(|it| match beside::record_runtime(&mut block, &mine) {
        Ok(()) => Ok(Some(it)),
        Err(fault) => Err(fault.into()),
    });
    if proved.is_err() {
        host.warehouse.evict_all();
    }
    host.block = Some(block);
    proved.inspect_err(|halt| host.record_halt(halt))
}

/// Says with a difference between which runtimes it is.
fn tell(mut halt: Halt, runtimes: &str) -> Box<Halt> {
    if let Fault::Anachronism(it) = &mut halt.fault {
        it.what = format!("{}, {runtimes}", it.what);
    }
    Box::new(halt)
}

fn prove(
    block: &mut Block,
    workers: &mut Warehouse,
    mut proved: RuntimeProof,
    all: bool,
    each: &mut dyn FnMut(&RuntimeProof),
) -> Result<RuntimeProof, Box<Halt>> {
    let tables = block.tables();
    let vats: Vec<VatId> = tables.vats.iter().map(|(vat, _)| *vat).collect();
    let vats: Vec<VatId> = vats.into_iter().filter(|it| tables.is_alive(*it) && !tables.is_session(*it)).collect();
    proved.of = vats.len() as u64;
    each(&proved);
    for vat in vats {
        let proof = kernel::prove(block, workers, vat, all);
        let proof = proof.or_else(|fault| match fault {
            // A vat that cannot start has nothing that could come out in another way.
            Fault::Vat(_) => Ok(kernel::VatProof::default()),
            fault => Err(Box::new(Halt { fault, position: Position::default(), taken: None })),
        })?;
        proved.vats += 1;
        proved.deliveries += proof.deliveries;
        proved.untried += u64::from(proof.deliveries == 0);
        proved.snapshots += u64::from(proof.snapshot);
        while let Some(vat) = workers.surplus() {
            workers.stop(vat);
        }
        each(&proved);
    }
    Ok(proved)
}
