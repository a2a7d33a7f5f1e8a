//! The threads on which guests run ahead of their turn, and the choice of those for whom it is worth it.
//!
//! ```text
//!   round:   closed part, with the tables: vats that read their vatstore    open part, without: all others
//!              seats sent out ───────────────┬─────────────────────────────────seats sent out
//!   kernel:    runs guests ─▶ all are home   │  cranks; each brings its vat home: runs its guest, if nobody has begun to,
//!                                            │     or runs other guests as long as another thread runs that one
//!   others:    (woken) ─▶ run guests, in order, whichever part they are of ─▶ …
//! ```
//!
//! Invariants: nothing here changes a result. What is chosen depends on fuel, syscalls and the order of cranks alone, so that the same
//! life makes the same choices: whether a speculation has come to something is known when its vat is brought home, and not when its
//! guest ends. While a crank runs, no guest has the tables. The kernel's thread never waits for a thread that has not begun: where
//! the others get no processor, it makes all deliveries itself.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    kernel::{Forecast, Record, Speculator},
    model::{
        id::{VRef, VatId},
        value::Delivery,
    },
    state::table::Tables,
    store::RowMap,
    vat::{
        Warehouse, capacity,
        instance::Instance,
        seat::Seat,
        stack,
        warehouse::{
            jobs::Jobs,
            live::{LiveVat, Task},
        },
    },
};

/// Fuel of a delivery, that of its syscalls left out, from which on it is worth it to make it on another thread: some 15 µs of arithmetic.
/// Syscalls are made by the kernel's thread in any case, and those of a guest that ran ahead were recorded before, and are compared.
const EXPENSIVE: u64 = 100_000;

/// Fuel of all deliveries of a round from which on it is worth it to wake the threads.
const ROUND_FUEL_MIN: u64 = 200_000;

/// Deliveries whose fuel a replay may take if a speculation is undone. If it would take more, a shadow is kept first.
const REPLAY_MAX: u64 = 250;

/// Rounds for which a vat whose speculation was undone runs in its turn: at first, and at most.
const DISTRUST: (u32, u32) = (8, 4_096);

/// Deliveries without a read of the vatstore after which a guest is taken to make none. One that reads less often than that loses little
/// when its speculation is given up.
const TRUST: u32 = 16;

/// Cranks without a look at the run-queue after a look that found nothing to run ahead: at first, and at most. At first one, because a
/// vat that has just told many others what to do is often the next in the queue, alone.
const REST: (u32, u32) = (1, 8_192);

/// Cranks after which a round is over, though some of its speculations still wait: as many as there were, and these.
const PATIENCE: u64 = 64;

/// The number of deliveries that guests made ahead of their turn, and what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Speculations {
    /// Deliveries made ahead of their turn.
    pub made: u64,
    /// Those that were applied when their turn came.
    pub used: u64,
    /// Those that were undone: another delivery came, or something that a guest cannot know ahead of its turn.
    pub taken_back: u64,
}

/// The speculations of a warehouse.
pub(super) struct GuestThreads {
    threads: NonZeroUsize,
    /// The fuel of a delivery, and of a round, from which on they are run ahead.
    fuel_min: [u64; 2],
    /// Made when it is first used; `None` if it could not be made, and all guests run in their turn.
    pool: Option<ThreadPool>,
    /// The deliveries that are out.
    jobs: Arc<Jobs<Task>>,
    /// The deliveries without a read of the vatstore after which a guest is taken to make none.
    trust: u32,
    /// Speculations that wait for their turn.
    waiting: u64,
    /// Cranks left in which the round is not over though some of its speculations wait.
    patience: u64,
    /// Cranks left without a look, and the number after the next look that finds nothing.
    rest: (u32, u32),
    /// The number after a look that found something.
    rest_min: u32,
    distrust: BTreeMap<VatId, Distrust>,
    /// The facts about a lost instance, until another is in its place.
    pub(super) lost: BTreeMap<VatId, super::Standing>,
    counts: Speculations,
}

/// A vat whose speculation was undone.
#[derive(Clone, Copy)]
struct Distrust {
    /// Rounds left without it.
    left: u32,
    /// Rounds without it after the next speculation that is undone; halved by each that is used.
    next: u32,
}

impl GuestThreads {
    fn new(threads: NonZeroUsize, fuel_min: Option<u64>) -> GuestThreads {
        // Whoever wants everything to be run ahead wants every crank to be looked at.
        let (rest_min, trust) = if fuel_min == Some(0) { (0, 1) } else { (REST.0, TRUST) };
        GuestThreads {
            threads,
            fuel_min: fuel_min.map_or([EXPENSIVE, ROUND_FUEL_MIN], |it| [it, it]),
            pool: None,
            jobs: Arc::default(),
            trust,
            waiting: 0,
            patience: 0,
            rest: (0, rest_min),
            rest_min,
            distrust: BTreeMap::new(),
            lost: BTreeMap::new(),
            counts: Speculations::default(),
        }
    }

    /// Notes that a speculation of this vat was undone.
    pub(super) fn taken_back(&mut self, vat: VatId) {
        self.waiting = self.waiting.saturating_sub(1);
        self.counts.taken_back += 1;
        let next = self.distrust.get(&vat).map_or(DISTRUST.0, |it| it.next);
        self.distrust.insert(vat, Distrust { left: next, next: next.saturating_mul(2).min(DISTRUST.1) });
    }

    fn used(&mut self, vat: VatId) {
        self.waiting = self.waiting.saturating_sub(1);
        self.counts.used += 1;
        if let Some(distrust) = self.distrust.get_mut(&vat) {
            distrust.next /= 2;
            if distrust.next < DISTRUST.0 {
                self.distrust.remove(&vat);
            }
        }
    }

    /// Returns whether the vat is to run in its turn for this round.
    fn distrusts(&mut self, vat: VatId) -> bool {
        let Some(distrust) = self.distrust.get_mut(&vat).filter(|it| it.left > 0) else { return false };
        distrust.left -= 1;
        true
    }

    /// Returns the threads besides the kernel's own.
    fn pool(&mut self) -> Option<&ThreadPool> {
        if self.pool.is_none() {
            let builder = ThreadPoolBuilder::new().num_threads(self.helpers()).stack_size(stack::THREAD_BYTES);
            self.pool = builder.thread_name(|it| format!("vathost-guest-{it}")).build().ok();
        }
        self.pool.as_ref()
    }

    fn helpers(&self) -> usize {
        self.threads.get() - 1
    }
}

impl Drop for GuestThreads {
    /// Waits for the guests that run: they are metered, and end.
    fn drop(&mut self) {
        self.jobs.close();
    }
}

impl Warehouse {
    /// Runs guests on this many threads ahead of their turn from now on: without a number, on as many as this machine has cores. On
    /// one, each guest runs in its turn. `fuel_min` is the fuel of deliveries for which it is worth it; without a number, as was
    /// measured. Neither changes a result.
    pub fn set_threads(&mut self, threads: Option<NonZeroUsize>, fuel_min: Option<u64>) {
        let threads = threads.unwrap_or_else(capacity::threads);
        let all: Vec<VatId> = self.live.within(..).map(|(vat, _)| *vat).collect();
        for vat in all {
            if let Some(live) = self.live.find_mut(&vat) {
                live.rested(vat, &mut self.ahead);
            }
        }
        self.ahead = (threads.get() > 1).then(|| GuestThreads::new(threads, fuel_min));
    }

    /// Returns what became of the deliveries that were made ahead of their turn so far.
    pub fn speculations(&self) -> Speculations {
        self.ahead.as_ref().map(|it| it.counts).unwrap_or_default()
    }

    /// The speculations, if guests may run ahead of their turn: not while a debugger or an experiment looks on.
    pub(super) fn as_speculator(&mut self) -> Option<&mut dyn Speculator> {
        let may = self.ahead.is_some() && self.debugger.is_none() && self.parked.is_none();
        may.then_some(self as &mut dyn Speculator)
    }

    fn current(&self, vat: VatId) -> Option<&LiveVat> {
        self.live.find(&vat).filter(|it| it.version == self.version).map(|it| &**it)
    }

    /// Returns the instance of a vat that could be run ahead.
    fn resting(&self, vat: VatId) -> Option<&Instance> {
        self.current(vat).and_then(LiveVat::at_home).and_then(Seat::resting)
    }

    /// Returns the seat of a live vat, which comes home first if it is out.
    fn seat(&mut self, vat: VatId) -> Option<&mut Seat> {
        let live = self.live.find_mut(&vat).filter(|it| it.version == self.version)?;
        Some(live.seat(vat, &mut self.ahead))
    }
}

impl Speculator for Warehouse {
    fn is_due(&mut self) -> bool {
        let Some(ahead) = &mut self.ahead else { return false };
        ahead.patience = ahead.patience.saturating_sub(1);
        if ahead.waiting > 0 && ahead.patience > 0 {
            return false;
        }
        let is_resting = ahead.rest.0 > 0;
        ahead.rest.0 = ahead.rest.0.saturating_sub(1);
        !is_resting
    }

    fn wants(&mut self, vat: VatId) -> bool {
        let fuel = self.resting(vat).map(Instance::usual_fuel_alone);
        let Some(ahead) = &mut self.ahead else { return false };
        if fuel.is_none_or(|it| it < ahead.fuel_min[0]) || ahead.distrusts(vat) {
            return false;
        }
        if let Some(seat) = self.seat(vat)
            && seat.resting().is_some_and(|it| !it.can_be_restored(REPLAY_MAX))
        {
            seat.guard();
        }
        true
    }

    fn run(&mut self, tables: &Arc<Tables>, forecasts: Vec<Forecast>) {
        let usual = |it: &Forecast| self.resting(it.vat).map_or(0, Instance::usual_fuel_alone);
        let fuel = forecasts.iter().map(usual).fold(0, u64::saturating_add);
        let Some(ahead) = &mut self.ahead else { return };
        if forecasts.len() < 2 || fuel < ahead.fuel_min[1] {
            ahead.rest = (ahead.rest.1, ahead.rest.1.saturating_mul(2).min(REST.1));
            return;
        }
        let (helpers, number) = (ahead.helpers().min(forecasts.len() - 1), forecasts.len() as u64);
        if ahead.pool().is_none() {
            return;
        }
        ahead.rest = (0, ahead.rest_min);
        ahead.patience = number + PATIENCE;
        ahead.counts.made += number;
        ahead.waiting += number;
        let (jobs, trust) = (Arc::clone(&ahead.jobs), ahead.trust);
        let reads = |it: &Forecast| self.resting(it.vat).is_none_or(|it| it.deliveries_since_read() < trust);
        let (closed, open): (Vec<Forecast>, Vec<Forecast>) = forecasts.into_iter().partition(reads);
        let readers: Vec<VatId> = closed.iter().map(|it| it.vat).collect();
        for (part, tables) in [(closed, Some(tables)), (open, None)] {
            for forecast in part {
                if let Some(live) = self.live.find_mut(&forecast.vat) {
                    live.send_out(&jobs, forecast, tables.cloned());
                }
            }
        }
        if let Some(pool) = self.ahead.as_mut().and_then(GuestThreads::pool) {
            for _ in 0..helpers {
                let jobs = Arc::clone(&jobs);
                pool.spawn(move || jobs.work());
            }
        }
        // The tables are for the cranks again when those that read them are at home.
        for vat in readers {
            if let Some(live) = self.live.find_mut(&vat) {
                live.seat(vat, &mut self.ahead);
            }
        }
    }

    fn holds(&self, vat: VatId) -> bool {
        self.current(vat).is_some_and(|it| it.at_home().is_none_or(|it| it.is_ahead() || it.is_lost()))
    }

    fn is_lost(&mut self, vat: VatId) -> bool {
        self.seat(vat).is_some_and(|it| it.is_lost())
    }

    fn restored(&mut self, vat: VatId) {
        let standing = self.ahead.as_mut().and_then(|it| it.lost.remove(&vat));
        if let (Some(standing), Some(live)) = (standing, self.live.find_mut(&vat)) {
            live.seat(vat, &mut self.ahead).restore(standing);
        }
    }

    fn record(&mut self, vat: VatId, delivery: &Delivery<VRef>, fuel_max: u64) -> Option<Arc<Record>> {
        let record = self.seat(vat)?.record(delivery, fuel_max)?;
        if let Some(live) = self.live.find_mut(&vat) {
            live.use_now(vat, &mut self.uses, &mut self.used);
        }
        Some(record)
    }

    fn confirm(&mut self, vat: VatId) {
        if let Some(live) = self.live.find_mut(&vat) {
            live.seat(vat, &mut self.ahead).confirm();
        }
        if let Some(ahead) = &mut self.ahead {
            ahead.used(vat);
        }
    }
}
