//! The kernel's thread: it owns the host, takes in what is asked, runs blocks, and answers.
//!
//! ```text
//!   inbox ─▶ take in (calls become inputs) ─▶ gather ─▶ run_block … until nothing is left ─▶ commit ─▶ answer
//!     ▲                                                                                         │
//!     └──────────── wait: for a request, or until the timer has something to do ◀───────────────┘
//! ```
//!
//! Invariants: nothing is answered before it is durable; where nothing is to be done nothing runs; a block's time is the clock's, and
//! never goes back.

mod client;
mod connect;
#[cfg(test)]
mod fair;
mod session;
mod take;

pub(super) use client::{Opened, OutFrame, Seat, ToSocket};
pub(super) use session::{CaptpSessions, Resume, codes};

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    host::controller::{BlockEnd, BlockPolicy, Host},
    kernel::{Halt, Ran},
    model::{
        blame::Fault,
        id::{KRef, PromiseId},
        value::CapData,
    },
    serve::{
        ask::{DeskRequest, Errand, KnownAnswer, Reply},
        book::Book,
        bounds::Bounds,
        inbox::{Client, Inbox},
        metrics::Metrics,
        problem::Problem,
        token::CapToken,
        value,
    },
    state::{
        block::Block,
        table::{QueueId, Sender},
    },
};

/// Requests that are taken in before a block is run, and answers that are closed with it: the rest comes with the next one.
const BATCH_MAX: usize = 1_024;

/// How often it is looked whether the mailbox's file has more, where there is nothing else to do.
const MAIL_INTERVAL: Duration = Duration::from_millis(100);

/// The flag that tells a server's thread to stop: not 0 from then on.
pub type Stop = Arc<AtomicU8>;

/// What is told once it is known whether a commit made something durable.
type OnceDurable = Box<dyn FnOnce(Result<(), &Problem>) + Send>;

/// A reader of an answer.
struct Waiter {
    /// The token by which it asks.
    id: CapToken,
    /// The answer that keeps what it is told of.
    by: PromiseId,
    /// Whether nobody but this reader can ever ask: the answer can be forgotten once it is told.
    is_last: bool,
    reply: Reply<KnownAnswer>,
}

/// The owner of a host: all that a server does to a state it does here.
pub struct Desk<'h> {
    pub(super) host: &'h mut Host,
    pub(super) policy: BlockPolicy,
    pub(super) book: Book,
    /// Sessions of CapTP clients.
    pub(super) captp: CaptpSessions,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
    stop: Stop,
    /// Who waits for which promise.
    waiting: BTreeMap<PromiseId, Vec<Waiter>>,
    /// The number of those.
    pub(super) waiters: usize,
    /// The first call that came since the last commit: it, and those after it, are not durable yet.
    fresh_from: Option<PromiseId>,
    /// Those to be answered once what they asked for is durable.
    pending: Vec<OnceDurable>,
    /// What is done once nothing is left to do.
    at_rest: Vec<Errand>,
    /// Answers that nobody can ask for any more, to be forgotten with the next block.
    closing: Vec<PromiseId>,
    /// Readers that were answered since the last time that nothing was left to do: so many clients may speak again at once.
    answered: usize,
    /// The clients whose calls were taken in and may not be delivered yet, in the calls' order.
    undelivered: VecDeque<Client>,
    /// Whether the mailbox has a file that others append to.
    has_mail_file: bool,
    /// Sees each block that was committed.
    tell: &'h mut dyn FnMut(&mut Host, &BlockEnd),
}

impl<'h> Desk<'h> {
    /// Takes over an open host, and reads what a server kept beside its state.
    pub fn new(
        host: &'h mut Host,
        policy: BlockPolicy,
        bounds: Bounds,
        metrics: Arc<Metrics>,
        stop: Stop,
        tell: &'h mut dyn FnMut(&mut Host, &BlockEnd),
    ) -> Result<Desk<'h>, Box<Halt>> {
        let rows = host.beside()?;
        let captp = CaptpSessions::read(&rows, host, &bounds)?;
        let mut book = Book::read(rows)?;
        // Another host may have run blocks meanwhile.
        let tables = host.block()?.tables();
        let gone: Vec<PromiseId> = book.undropped().filter(|it| tables.has_expired(*it)).collect();
        gone.into_iter().for_each(|it| book.expire(it));
        let desk = Desk {
            host,
            policy,
            book,
            captp,
            bounds,
            metrics,
            stop,
            waiting: BTreeMap::new(),
            waiters: 0,
            fresh_from: None,
            pending: Vec::new(),
            at_rest: Vec::new(),
            closing: Vec::new(),
            answered: 0,
            undelivered: VecDeque::new(),
            has_mail_file: false,
            tell,
        };
        desk.metrics.stand(desk.host);
        Ok(desk)
    }

    /// Opens vats by name, from now on and after every restart.
    pub fn set_exports(&mut self, exports: BTreeMap<String, u64>) -> Result<(), Box<Halt>> {
        self.book.set_exports(exports);
        let rows = self.book.take_changes();
        if rows.is_empty() { Ok(()) } else { self.host.keep_beside(&rows) }
    }

    /// Notes a call that is not in the book, so that what waits for its durability waits for its block.
    pub(super) fn note_call(&mut self, promise: PromiseId) {
        self.fresh_from.get_or_insert(promise);
    }

    /// Does something once nothing is left to do.
    pub(super) fn when_rested(&mut self, errand: Errand) {
        self.at_rest.push(errand);
    }

    /// Returns the height of the last committed block.
    pub(super) fn height(&self) -> u64 {
        self.host.standing().height
    }

    /// Returns the names that are open.
    pub fn exports(&self) -> Vec<String> {
        self.book.exports().keys().cloned().collect()
    }

    /// Serves until it is told to stop, or the host halts. Whoever waits then is told why there is no answer.
    pub(super) fn run(&mut self, inbox: &Inbox) -> Result<(), Box<Halt>> {
        let ended = self.serve(inbox);
        let why = match &ended {
            Ok(()) => Problem { retry_after: Some(5), ..Problem::new("stopping", STOPPING) },
            Err(halt) => halted(halt),
        };
        self.refuse_all(inbox, &why);
        ended
    }

    fn serve(&mut self, inbox: &Inbox) -> Result<(), Box<Halt>> {
        loop {
            while self.is_due()? && !self.is_stopping() {
                self.run_block()?;
                self.begin_round(inbox)?;
                self.take_waiting(inbox, BATCH_MAX);
            }
            if self.is_stopping() {
                return Ok(());
            }
            if !self.at_rest.is_empty() {
                std::mem::take(&mut self.at_rest).into_iter().for_each(|errand| errand(self));
                continue;
            }
            if self.host.is_quiescent()? {
                self.host.obey_at_rest()?;
            }
            let expected = std::mem::take(&mut self.answered);
            self.metrics.set_idle(true);
            let first = self.wait(inbox)?;
            self.metrics.set_idle(false);
            if let Some((_, first)) = first {
                let begun = now();
                self.take(first);
                let taken = 1 + self.take_waiting(inbox, BATCH_MAX);
                self.gather(inbox, taken, expected, begun);
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) > 0
    }

    /// Whether there is something to run now.
    fn is_due(&mut self) -> Result<bool, Box<Halt>> {
        self.has_mail_file = self.host.read_mailbox()?;
        let wakes = self.host.next_wakeup()?.is_some_and(|it| it <= clock());
        Ok(wakes || self.host.has_work()? || self.captp.is_due())
    }

    /// Waits for a request, or until the timer has something to do.
    fn wait(&mut self, inbox: &Inbox) -> Result<Option<(Client, DeskRequest)>, Box<Halt>> {
        self.begin_round(inbox)?;
        let wakeup = self.host.next_wakeup()?.map(|it| Duration::from_secs(it).saturating_sub(since_epoch()));
        let mail = self.has_mail_file.then_some(MAIL_INTERVAL);
        let deadline = self.captp.deadline().map(|it| it.saturating_duration_since(now()));
        Ok(match wakeup.into_iter().chain(mail).chain(deadline).min() {
            Some(left) => inbox.recv_timeout(left).ok(),
            None => inbox.recv().ok(),
        })
    }

    /// Gives each client its share of what is taken in with the next block: without those of its calls that an earlier block took in and
    /// that still wait for their delivery. So whoever asks much, or what takes long, does not stand before the others.
    fn begin_round(&mut self, inbox: &Inbox) -> Result<(), Box<Halt>> {
        // What came from outside, and what the kernel answers to it; where all senders share one queue, all that is in it.
        let waiting = self.host.block()?.tables().queue.of(QueueId::Run(Sender::KERNEL)).count();
        let delivered = self.undelivered.len().saturating_sub(waiting);
        self.undelivered.drain(..delivered);
        let mut shares: BTreeMap<Client, usize> = BTreeMap::new();
        for client in &self.undelivered {
            *shares.entry(*client).or_default() += 1;
        }
        inbox.begin_round(&shares);
        Ok(())
    }

    /// Takes in what has come.
    fn take_waiting(&mut self, inbox: &Inbox, max: usize) -> usize {
        let mut taken = 0;
        while taken < max
            && let Ok((_, ask)) = inbox.try_recv()
        {
            self.take(ask);
            taken += 1;
        }
        taken
    }

    /// Waits a little for others, if so many were answered just now that they are about to speak again: one commit is then for all.
    /// Where there is one client, it does not wait.
    fn gather(&mut self, inbox: &Inbox, mut taken: usize, expected: usize, begun: Instant) {
        let until = begun + self.bounds.block_wait;
        while taken < expected.min(BATCH_MAX) {
            let left = until.saturating_duration_since(now());
            let Ok((_, ask)) = inbox.recv_timeout(left) else { break };
            self.take(ask);
            taken += 1;
        }
    }

    fn run_block(&mut self) -> Result<(), Box<Halt>> {
        self.forget_old();
        for promise in std::mem::take(&mut self.closing) {
            self.book.close(promise).into_iter().for_each(|it| self.host.forget_result(it));
        }
        let rows = self.book.take_changes();
        if !rows.is_empty() {
            self.host.keep_with_inputs(rows);
        }
        self.captp.prepare(self.host);
        self.host.tell_time(clock())?;
        let Desk { host, book, captp, waiting, stop, policy, metrics, .. } = self;
        let begun = now();
        let (tables, is_open) = (host.block()?.tables(), host.block()?.meta().open);
        let next = tables.globals().height.next();
        let expiring: Vec<PromiseId> = tables.answers_expiring_at(next).filter(|_| !is_open).collect();
        let mut settled = Vec::new();
        let mut each = |_: &Ran| {
            metrics.beat();
            stop.load(Ordering::Relaxed) == 0
        };
        let end = host.run_block_keeping(policy, &mut each, &mut |block| {
            expiring.iter().for_each(|it| book.expire(*it));
            settled = settle(block, book, waiting);
            let mut rows = book.take_changes();
            rows.extend(captp.hear(block));
            rows
        })?;
        self.metrics.block(begun.elapsed(), end.fuel);
        self.metrics.stand(self.host);
        (self.tell)(self.host, &end);
        self.fresh_from = None;
        std::mem::take(&mut self.pending).into_iter().for_each(|it| it(Ok(())));
        self.waiters -= settled.len();
        self.answered += settled.len() + self.captp.settle(self.host, &self.bounds, &self.metrics);
        for (waiter, told) in settled {
            let is_told = waiter.reply.send(Ok(told)).is_ok();
            if is_told && waiter.is_last {
                self.closing.push(waiter.by);
            }
        }
        Ok(())
    }

    /// Closes answers that were kept for long enough.
    fn forget_old(&mut self) {
        let time = clock().saturating_sub(self.bounds.keep_seconds);
        for promise in self.book.older_than(time, BATCH_MAX) {
            self.closing.push(promise);
        }
    }

    /// Looks at a promise: tells what it is, or waits for it.
    fn look(&mut self, at: PromiseId, waiter: Waiter, waits: bool) -> Result<(), Box<Halt>> {
        let found = told(self.host.block()?, &mut self.book, at, &waiter);
        // What is told is named: that is durable first.
        let rows = self.book.take_changes();
        if !rows.is_empty() {
            self.host.keep_beside(&rows)?;
        }
        match found {
            None if waits && self.waiters < self.bounds.calls => {
                self.waiting.entry(at).or_default().push(waiter);
                self.waiters += 1;
            }
            None if waits => drop(waiter.reply.send(Err(Problem::busy(TOO_MANY_WAIT)))),
            found => drop(waiter.reply.send(Ok(found.unwrap_or(KnownAnswer::Pending)))),
        }
        Ok(())
    }

    fn refuse_all(&mut self, inbox: &Inbox, why: &Problem) {
        self.captp.close_all(why);
        std::mem::take(&mut self.pending).into_iter().for_each(|it| it(Err(why)));
        for waiter in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = waiter.reply.send(Err(why.clone()));
        }
        for ask in inbox.drain() {
            match ask {
                DeskRequest::Call(call) => drop(call.reply.send(Err(why.clone()))),
                DeskRequest::Look { reply, .. } => drop(reply.send(Err(why.clone()))),
                DeskRequest::Drop { reply, .. } => drop(reply.send(Err(why.clone()))),
                DeskRequest::Errand(_) | DeskRequest::Wake => (),
            }
        }
    }
}

const STOPPING: &str = "what was acknowledged is durable; ask again when the host is up, with the same Idempotency-Key";
const TOO_MANY_WAIT: &str =
    "as many calls as the host waits for are under way: try again later, or with `Prefer: respond-async`";

/// Returns the readers whose promises are settled in this block, with what they are to be told.
fn settle(
    block: &Block,
    book: &mut Book,
    waiting: &mut BTreeMap<PromiseId, Vec<Waiter>>,
) -> Vec<(Waiter, KnownAnswer)> {
    let is_settled = |it: &PromiseId, _: &mut Vec<Waiter>| block.tables().settling(*it).1.is_some();
    let mut settled = Vec::new();
    for (promise, waiters) in waiting.extract_if(.., is_settled) {
        for waiter in waiters {
            let told = told(block, book, promise, &waiter).unwrap_or(KnownAnswer::Pending);
            settled.push((waiter, told));
        }
    }
    settled
}

/// Returns what is told of a promise once it is settled, with tokens for what it names.
fn told(block: &Block, book: &mut Book, promise: PromiseId, waiter: &Waiter) -> Option<KnownAnswer> {
    let (status, data) = block.tables().settling(promise);
    let CapData { body, slots } = data?;
    let tokens = book.name(waiter.id, waiter.by, slots);
    let value = value::of_body(&String::from_utf8_lossy(body), &mut |slot| {
        let is_promise = matches!(slots.get(slot)?, KRef::Promise(_));
        let way = if is_promise { "promise" } else { "cap" };
        Some((format!("/{way}/{}", tokens.get(slot)?.text()), is_promise))
    });
    Some(KnownAnswer::Settled { is_rejected: status == "rejected", value })
}

/// What clients are told when the host has halted.
fn halted(halt: &Halt) -> Problem {
    let (kind, what) = match &halt.fault {
        Fault::Kernel(_) => {
            ("kernel-panic", "puts the line that it printed into the directive file, and starts it again")
        }
        Fault::Halted(_) => ("halted", "has done what the directive stopped it for, and starts it again"),
        _ => ("halted", "has mended it, and starts it again"),
    };
    let detail = format!(
        "{halt}. What was acknowledged is durable. Its operator {what}; then send this request once more, with the same \
         Idempotency-Key: what had come in is not done twice"
    );
    let problem = Problem { retry_after: Some(30), ..Problem::new(kind, detail) };
    match halt.position.crank {
        Some(crank) => problem.with("crank", crank.0),
        None => problem,
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "how long a block gathers its inputs is outside of any state")]
    Instant::now()
}

fn since_epoch() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the clock is an input of each block")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The clock's time in seconds.
fn clock() -> u64 {
    since_epoch().as_secs()
}
