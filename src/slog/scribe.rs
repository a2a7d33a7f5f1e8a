//! The thread that writes a recording: neither the file nor the compressor is waited for, but at the end of a block.
//!
//! Invariants: what is handed on is written in that order; after the first error nothing is, so that a recording has no hole; what
//! was handed on before [`Scribe::finish`] or [`Scribe::sync`] returned is in the file.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::{self, JoinHandle},
};

use crate::slog::sink::Sink;

/// Buffers that may wait for the file. When it is slower than the host, the host waits.
const WAITING_MAX: usize = 16;

type Act = fn(&mut Sink) -> io::Result<()>;

enum Order {
    Write(Vec<u8>),
    Then(Act, SyncSender<io::Result<()>>),
}

/// Hands bytes on to the thread, which ends when this is dropped.
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
        let thread = thread::Builder::new().name("slog".to_owned()).spawn(move || work(sink, &inbox, &give_back))?;
        Ok(Scribe { orders: Some(orders), spent, thread: Some(thread) })
    }

    /// Hands on what is in the buffer, and leaves it empty.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        if !buffer.is_empty() {
            let empty = self.spent.try_recv().unwrap_or_default();
            self.order(Order::Write(std::mem::replace(buffer, empty)));
        }
    }

    /// Makes all of it readable. Returns the first error since this was last asked, if there was one: then nothing more is written.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.then(Sink::sync)
    }

    /// The same, and whole: any tool can read it now.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.then(Sink::finish)
    }

    fn then(&self, act: Act) -> io::Result<()> {
        let (answer, answered) = sync_channel(1);
        self.order(Order::Then(act, answer));
        answered.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it is gone")))
    }

    /// Where the thread is gone, whoever waits for an answer is told.
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

fn work(sink: Sink, inbox: &Receiver<Order>, give_back: &Sender<Vec<u8>>) {
    let (mut sink, mut untold) = (Some(sink), None);
    let mut attempt = |act: &dyn Fn(&mut Sink) -> io::Result<()>| {
        let failure = sink.as_mut().and_then(|it| act(it).err());
        if failure.is_some() {
            sink.take().into_iter().for_each(Sink::abandon);
        }
        failure
    };
    for order in inbox {
        match order {
            Order::Write(mut bytes) => {
                untold = untold.or(attempt(&|sink| sink.write(&bytes)));
                bytes.clear();
                // Whoever gave it may be gone by now.
                let _ = give_back.send(bytes);
            }
            Order::Then(act, answer) => {
                untold = untold.or(attempt(&act));
                let _ = answer.send(untold.take().map_or(Ok(()), Err));
            }
        }
    }
}
