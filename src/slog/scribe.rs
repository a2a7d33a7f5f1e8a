//! The thread that writes a recording: neither the formatting, nor the compressor, nor the file is waited for, but at the end of a block.
//!
//! Invariants: what is handed on is written in that order; after the first error nothing is, so that a recording has no hole; what
//! was handed on before [`Scribe::finish`] or [`Scribe::sync`] returned is in the file.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::slog::{kept::Stamped, sink::Sink};

/// Pages that may wait for the thread. When it is slower than the host, the host waits.
const WAITING_MAX: usize = 16;
/// The size in bytes at which formatted events are handed to the file.
const BUFFER_BYTES: usize = 64 << 10;

/// Something to do to the sink; the result is the file's bytes.
type Act = fn(&mut Sink) -> io::Result<u64>;

enum Order {
    Write(Vec<Stamped>),
    Then(Act, SyncSender<io::Result<u64>>),
}

/// Hands events on to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Scribe {
    /// `None` only while it is dropped.
    orders: Option<SyncSender<Order>>,
    spent: Receiver<Vec<Stamped>>,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    pub(super) fn start(sink: Sink) -> io::Result<Scribe> {
        let (orders, inbox) = sync_channel(WAITING_MAX);
        let (give_back, spent) = channel();
        let work = move || work(Pen { sink: Some(sink), buffer: Vec::new(), failure: None }, &inbox, &give_back);
        let thread = thread::Builder::new().name("slog".to_owned()).spawn(work)?;
        Ok(Scribe { orders: Some(orders), spent, thread: Some(thread) })
    }

    /// Hands on what is on the page, and leaves it empty.
    pub(super) fn write(&self, page: &mut Vec<Stamped>) {
        if !page.is_empty() {
            let empty = self.spent.try_recv().unwrap_or_default();
            self.order(Order::Write(std::mem::replace(page, empty)));
        }
    }

    /// Makes all of it readable, and returns the file's bytes. Returns the first error since this was last asked, if there was one:
    /// then nothing more is written.
    pub(super) fn sync(&self) -> io::Result<u64> {
        self.then(Sink::sync)
    }

    /// Makes all of the recording readable, as [`sync`](Scribe::sync) does, and ends the compressed stream: any tool
    /// can read the file now.
    pub(super) fn finish(&self) -> io::Result<u64> {
        self.then(Sink::finish)
    }

    fn then(&self, act: Act) -> io::Result<u64> {
        let (answer, answered) = sync_channel(1);
        self.order(Order::Then(act, answer));
        answered.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it is gone")))
    }

    /// Sends an order to the thread. If the thread is gone, a caller that waits for an answer gets an error.
    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn work(mut pen: Pen, inbox: &Receiver<Order>, give_back: &Sender<Vec<Stamped>>) {
    for order in inbox {
        match order {
            Order::Write(mut page) => {
                page.drain(..).for_each(|it| pen.attempt(|pen| pen.format(&it)));
                // The caller that gave the order may be gone by now.
                let _ = give_back.send(page);
            }
            Order::Then(act, answer) => {
                let mut bytes = 0;
                pen.attempt(|pen| {
                    pen.put_down()?;
                    bytes = pen.sink.as_mut().map_or(Ok(0), act)?;
                    Ok(())
                });
                let _ = answer.send(pen.failure.take().map_or(Ok(bytes), Err));
            }
        }
    }
}

/// The thread's state for writing.
struct Pen {
    /// `None` once it has failed.
    sink: Option<Sink>,
    buffer: Vec<u8>,
    /// The first error, until it is reported.
    failure: Option<io::Error>,
}

impl Pen {
    fn attempt(&mut self, act: impl FnOnce(&mut Pen) -> io::Result<()>) {
        if self.sink.is_none() {
            return;
        }
        if let Err(err) = act(self) {
            self.failure = Some(err);
            self.sink.take().into_iter().for_each(Sink::abandon);
        }
    }

    fn format(&mut self, it: &Stamped) -> io::Result<()> {
        it.kept.write(&mut self.buffer)?;
        // The event is an object, and not an empty one: the stamps follow in place of its last brace.
        self.buffer.pop();
        if let Some(seconds) = it.seconds {
            self.stamp(",\"seconds\":", seconds, 9);
        }
        self.stamp(",\"time\":", it.now.wall, 6);
        self.stamp(",\"monotime\":", it.now.monotonic, 9);
        self.buffer.extend_from_slice(b"}\n");
        if self.buffer.len() >= BUFFER_BYTES { self.put_down() } else { Ok(()) }
    }

    /// Writes seconds with this many decimals, at most 9. By hand: there are three of them in an event.
    fn stamp(&mut self, name: &str, time: Duration, decimals: usize) {
        // Twenty digits, and then nine.
        let mut digits = [b'0'; 29];
        let mut put = |mut at: usize, mut number: u64| {
            while number > 0 {
                at -= 1;
                digits[at] = b"0123456789"[(number % 10) as usize];
                number /= 10;
            }
            at
        };
        put(29, time.subsec_nanos().into());
        let first = put(20, time.as_secs()).min(19);
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(&digits[first..20]);
        self.buffer.push(b'.');
        self.buffer.extend_from_slice(&digits[20..20 + decimals]);
    }

    fn put_down(&mut self) -> io::Result<()> {
        let written = self.sink.as_mut().map_or(Ok(()), |it| it.write(&self.buffer));
        self.buffer.clear();
        written
    }
}
