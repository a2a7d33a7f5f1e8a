//! A vat's heap is a function of its bundle and its transcript: it is brought back by replaying.

use crate::{
    block::Block,
    fault::{Fault, KernelPanic},
    id::{DeliveryNum, VatId},
    kernel::{
        Workers,
        syscall::{Syscalls, anachronism},
    },
    slog::{Detail, Event},
    transcript::End,
};

/// Makes sure that the vat has a worker, with the heap that it had after its last delivery. A `VatFault` can come only of a vat
/// that never ran.
pub fn bring_up(block: &mut Block, workers: &mut dyn Workers, vat: VatId) -> Result<(), Fault> {
    if workers.worker(vat).is_some() {
        return Ok(());
    }
    let row = block.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?.clone();
    let deliveries = block.tables().tallies.get(&vat).map_or(0, |it| it.deliveries);
    let started = workers.start(vat, &row, &|| block.bundle(row.bundle));
    if deliveries == 0 {
        return started;
    }
    started.map_err(|fault| not_again(vat, DeliveryNum(0), fault))?;
    block.slog().record(Detail::Cranks, || Event::StartReplay { vat, deliveries });
    for entry in block.transcript(vat, DeliveryNum(0))? {
        let entry = entry?;
        let number = entry.number;
        let End::Done { fuel } = entry.end else { continue };
        let delivery = entry.delivery.clone();
        let worker = workers.worker(vat).ok_or_else(|| KernelPanic::new("worker.brought-up", vat))?;
        let (syscalls, result) = worker.deliver(&delivery, Syscalls::replay(vat, entry));
        syscalls.end_replay()?;
        let used = result.map_err(|fault| not_again(vat, number, fault))?.fuel;
        if used != fuel {
            return Err(anachronism(vat, number, format!("fuel: recorded {fuel}, now {used}")));
        }
    }
    block.slog().record(Detail::Cranks, || Event::FinishReplay { vat, deliveries });
    Ok(())
}

/// What went well once must not fault now; the machine's own faults stay what they are.
fn not_again(vat: VatId, number: DeliveryNum, fault: Fault) -> Fault {
    match fault {
        Fault::Vat(fault) => anachronism(vat, number, format!("outcome: recorded done, now {fault}")),
        other => other,
    }
}
