//! The place of one live vat's instance, which may be ahead of the vat's turn.
//!
//! ```text
//!              run                     confirm
//!   resting ─────────▶ ahead ─────────────────────────────▶ resting
//!      ▲                 │ take_back
//!      ├──(a shadow)─────┤
//!      │                 └──(none)──▶ lost ──▶ (another instance, made by a replay)
//!      └──────────────────────────────────────────┘
//! ```
//!
//! Invariant: nobody reaches the instance except through [`Seat::rested`], which takes a speculation back first; so its heap is always
//! the one that the vat's last delivery left. Whoever has the seat has it alone: while a guest runs ahead, that is its thread.

use std::sync::Arc;

use crate::{
    kernel::{Forecast, GuestAct, Record, Syscalls, Usage, Worker},
    model::{id::VRef, value::Delivery},
    state::table::Tables,
    vat::instance::{Instance, RolledBack, Standing},
};

/// The place of a live vat's instance.
pub(super) struct Seat {
    /// `None` if it was lost.
    instance: Option<Instance>,
    /// What came of a speculation, if it is neither confirmed nor undone.
    speculation: Option<Box<Speculation>>,
}

struct Speculation {
    /// The facts about the instance before it.
    before: Standing,
    /// The delivery that was made, and what the guest did; `None` if there is nothing to use.
    made: Option<(Forecast, Arc<Record>)>,
}

impl Seat {
    pub(super) fn new(instance: Instance) -> Seat {
        Seat { instance: Some(instance), speculation: None }
    }

    /// Takes all out of the seat. One that gets nothing back is lost.
    pub(super) fn vacate(&mut self) -> Seat {
        std::mem::replace(self, Seat { instance: None, speculation: None })
    }

    /// Returns the instance with the heap that the vat's last delivery left; `None` if it is lost.
    pub(super) fn rested(&mut self) -> Option<&mut Instance> {
        if self.speculation.is_some() {
            self.take_back();
        }
        self.instance.as_mut()
    }

    /// Takes the instance out, with the heap that the vat's last delivery left.
    pub(super) fn into_rested(mut self) -> Option<Instance> {
        self.rested()?;
        self.instance
    }

    /// Returns the instance to be run ahead, if it rests.
    pub(super) fn resting(&self) -> Option<&Instance> {
        self.instance.as_ref().filter(|_| self.speculation.is_none())
    }

    /// Returns whether a speculation waits for its turn.
    pub(super) fn is_ahead(&self) -> bool {
        self.speculation.is_some() && self.instance.is_some()
    }

    /// Returns whether the heap is not there, and is to be made anew.
    pub(super) fn is_lost(&self) -> bool {
        self.instance.is_none()
    }

    /// Returns the bytes of memory that the instance holds.
    pub(super) fn bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, Instance::bytes)
    }

    /// Keeps a shadow from the next delivery on.
    pub(super) fn guard(&mut self) {
        if let Some(instance) = self.rested() {
            instance.guard();
        }
    }

    /// Makes this delivery ahead of its turn: before these tables, or up to the first read of the vatstore. What comes to nothing is
    /// undone at once.
    pub(super) fn run(&mut self, tables: Option<Arc<Tables>>, forecast: Forecast) {
        let Some(instance) = self.rested() else { return };
        let before = instance.standing();
        // Until it has come to something it has come to nothing.
        self.speculation = Some(Box::new(Speculation { before, made: None }));
        let Some(instance) = &mut self.instance else { return };
        match (speculate(instance, tables, &forecast), &mut self.speculation) {
            (Some(record), Some(speculation)) => speculation.made = Some((forecast, Arc::new(record))),
            _ => self.take_back(),
        }
    }

    /// Gives the instance up after a panic in [`run`](Seat::run), which left it as it may be.
    pub(super) fn spoil(&mut self) {
        self.instance = None;
    }

    /// Returns what the guest did ahead of its turn, if it was given this delivery, and this limit.
    pub(super) fn record(&self, delivery: &Delivery<VRef>, fuel_max: u64) -> Option<Arc<Record>> {
        let (forecast, record) = self.speculation.as_ref()?.made.as_ref()?;
        let is_same = forecast.delivery == *delivery && forecast.fuel_max == fuel_max;
        is_same.then(|| Arc::clone(record))
    }

    /// Notes that the speculation has become the vat's last delivery.
    pub(super) fn confirm(&mut self) {
        if self.instance.is_some() {
            self.speculation = None;
        }
    }

    /// Undoes the speculation: from the shadow, or by giving the instance up.
    fn take_back(&mut self) {
        let (Some(instance), Some(speculation)) = (&mut self.instance, &self.speculation) else { return };
        match instance.put_back() {
            Ok(RolledBack::Done) => {
                instance.stand(speculation.before);
                instance.guard();
                self.speculation = None;
            }
            Ok(RolledBack::Grown | RolledBack::NotKept) | Err(_) => self.instance = None,
        }
    }

    /// Returns the facts to be put back in the instance that replaces a lost one.
    pub(super) fn lost(&self) -> Option<Standing> {
        self.speculation.as_ref().filter(|_| self.instance.is_none()).map(|it| it.before)
    }

    /// Puts back the facts about a lost instance in this one, which was made anew.
    pub(super) fn restore(&mut self, standing: Standing) {
        if let Some(instance) = self.rested() {
            instance.stand(standing);
            instance.guard();
        }
    }
}

fn speculate(instance: &mut Instance, tables: Option<Arc<Tables>>, forecast: &Forecast) -> Option<Record> {
    let Forecast { vat, delivery, fuel_max } = forecast;
    let (syscalls, result) = instance.deliver(delivery, *fuel_max, Syscalls::ahead(*vat, tables));
    let acts: Option<Vec<GuestAct>> = syscalls.into_acts();
    let usage: Usage = result.ok()?;
    Some(Record { acts: acts?, usage })
}
