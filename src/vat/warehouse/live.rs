//! A live vat, and the one door to its instance.
//!
//! ```text
//!            send_out                             seat, recall, rested
//!   at home ──────────▶ out: on the list of jobs ──────────────────────▶ at home
//! ```
//!
//! Invariant: nobody reaches the seat of a vat that is out, but by bringing it home. So whoever looks at a vat finds what would be there
//! if its guest had run before everything else; which thread ran it, and when, cannot be told.

use std::sync::Arc;

use crate::{
    kernel::Forecast,
    model::id::{BundleId, VatId},
    state::table::Tables,
    vat::{
        instance::Instance,
        seat::Seat,
        warehouse::{
            ahead::GuestThreads,
            jobs::{Job, Jobs},
        },
    },
};

/// One delivery to be made ahead of its turn.
pub(super) struct Task {
    seat: Seat,
    forecast: Option<Forecast>,
    /// What reads of the vatstore are answered from, if the guest may make any.
    tables: Option<Arc<Tables>>,
}

impl Job for Task {
    fn run(&mut self) {
        let tables = self.tables.take();
        if let Some(forecast) = self.forecast.take() {
            self.seat.run(tables, forecast);
        }
    }

    /// The instance is made anew, and the live delivery meets the panic again.
    fn spoil(&mut self) {
        self.seat.spoil();
    }
}

/// What is left of a seat that is out.
struct Ticket {
    jobs: Arc<Jobs<Task>>,
    number: u64,
    /// Bytes that the instance held when it left.
    bytes: usize,
}

/// A vat that has an instance.
pub(super) struct LiveVat {
    /// The seat, if it is at home; otherwise an empty one.
    seat: Seat,
    out: Option<Ticket>,
    /// The engine version of the instance.
    pub(super) version: u32,
    pub(super) bundle: BundleId,
    /// The time of the last use, counted in uses of any vat.
    pub(super) used: u64,
    /// The vat's key in the order of use.
    pub(super) listed: u64,
    /// The vat's part of the memory that is taken.
    pub(super) bytes: u64,
}

impl LiveVat {
    pub(super) fn new(instance: Instance, version: u32, bundle: BundleId) -> LiveVat {
        LiveVat { seat: Seat::new(instance), out: None, version, bundle, used: 0, listed: 0, bytes: 0 }
    }

    /// Notes that the vat is used now.
    pub(super) fn use_now(&mut self, vat: VatId, uses: &mut u64, used: &mut Vec<VatId>) {
        *uses += 1;
        self.used = *uses;
        if used.last() != Some(&vat) {
            used.push(vat);
        }
    }

    /// Sends the seat out, for its guest to make this delivery ahead of its turn: with these tables, or without reads.
    pub(super) fn send_out(&mut self, jobs: &Arc<Jobs<Task>>, forecast: Forecast, tables: Option<Arc<Tables>>) {
        let bytes = self.seat.bytes();
        let number = jobs.add(Task { seat: self.seat.vacate(), forecast: Some(forecast), tables });
        self.out = Some(Ticket { jobs: Arc::clone(jobs), number, bytes });
    }

    /// Returns the seat if it is at home. If it is out, nobody knows what becomes of it.
    pub(super) fn at_home(&self) -> Option<&Seat> {
        self.out.is_none().then_some(&self.seat)
    }

    /// Returns the seat, which comes home first if it is out, after its guest ran: if need be on this thread.
    pub(super) fn seat(&mut self, vat: VatId, ahead: &mut Option<GuestThreads>) -> &mut Seat {
        self.home(vat, ahead, |jobs, number| jobs.finish(number))
    }

    /// Brings the seat home of a vat that is to leave. A guest that nobody has begun to run does not run.
    pub(super) fn recall(&mut self, vat: VatId, ahead: &mut Option<GuestThreads>) {
        let seat = self.home(vat, ahead, |jobs, number| jobs.recall(number));
        if let Some(ahead) = ahead
            && seat.is_ahead()
        {
            ahead.taken_back(vat);
        }
    }

    /// Brings the seat home, and notes if its speculation has come to nothing.
    fn home(
        &mut self,
        vat: VatId,
        ahead: &mut Option<GuestThreads>,
        fetch: impl FnOnce(&Jobs<Task>, u64) -> Option<Box<Task>>,
    ) -> &mut Seat {
        if let Some(ticket) = self.out.take() {
            if let Some(task) = fetch(&ticket.jobs, ticket.number) {
                self.seat = task.seat;
            }
            if let Some(ahead) = ahead
                && !self.seat.is_ahead()
            {
                ahead.taken_back(vat);
            }
        }
        &mut self.seat
    }

    /// Returns the instance, after what it did ahead of its turn was taken back; `None` if its heap was lost by that.
    pub(super) fn rested(&mut self, vat: VatId, ahead: &mut Option<GuestThreads>) -> Option<&mut Instance> {
        let seat = self.seat(vat, ahead);
        if let Some(ahead) = ahead
            && seat.is_ahead()
        {
            ahead.taken_back(vat);
        }
        seat.rested()
    }

    /// Takes the instance out of a vat that was removed, with the heap that its last delivery left.
    pub(super) fn into_rested(self) -> Option<Instance> {
        self.seat.into_rested()
    }

    /// Returns the bytes of memory that the instance holds, or held when it left.
    pub(super) fn held(&self) -> usize {
        self.out.as_ref().map_or_else(|| self.seat.bytes(), |it| it.bytes)
    }
}
