//! The thread that writes a recording: neither the formatting, nor the compressor, nor the file is waited for, but at the end of a block.
//!
//! Invariants: what is handed on is written in that order; after the first error nothing is, so that a recording has no hole; what
//! was handed on before [`Scribe::finish`] or [`Scribe::sync`] returned is in the file.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::{self, JoinHandle},
};

use crate::slog::{packed::Unpacker, sink::Sink};

/// Pages that may wait for the thread. When it is slower than the host, the host waits.
const WAITING_MAX: usize = 64;
/// The size in bytes at which formatted events are handed to the file.
const BUFFER_BYTES: usize = 64 << 10;

/// Something to do to the sink; the result is the file's bytes.
type Act = fn(&mut Sink) -> io::Result<u64>;

enum Order {
    Write(Vec<u8>),
    Then(Act, SyncSender<io::Result<u64>>),
}

/// Hands events on to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Scribe {
    /// `None` only while it is dropped.
    orders: Option<SyncSender<Order>>,
    spent: Receiver<Vec<u8>>,
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

    /// Hands on a page.
    pub(super) fn write(&self, page: Vec<u8>) {
        if !page.is_empty() {
            self.order(Order::Write(page));
        }
    }

    /// Returns memory for a page: that of one that was written, if there is one.
    pub(super) fn empty(&self) -> Vec<u8> {
        self.spent.try_recv().unwrap_or_default()
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

fn work(mut pen: Pen, inbox: &Receiver<Order>, give_back: &Sender<Vec<u8>>) {
    for order in inbox {
        match order {
            Order::Write(page) => {
                pen.attempt(|pen| pen.write(&page));
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

    /// Writes a page, or the lines on it.
    fn write(&mut self, page: &[u8]) -> io::Result<()> {
        if let Some(sink) = self.sink.as_mut().filter(|it| it.takes_pages()) {
            return sink.write(page);
        }
        let mut unpacker = Unpacker::default();
        while unpacker.line(page, &mut self.buffer).map_err(|_| io::Error::other("an event was packed wrong"))? {
            if self.buffer.len() >= BUFFER_BYTES {
                self.put_down()?;
            }
        }
        Ok(())
    }

    fn put_down(&mut self) -> io::Result<()> {
        let written = self.sink.as_mut().map_or(Ok(()), |it| it.write(&self.buffer));
        self.buffer.clear();
        written
    }
}
