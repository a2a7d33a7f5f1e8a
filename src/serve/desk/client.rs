//! A client of a session: the CapTP translator on it, and the frames that are on their way to it.
//!
//! Invariants: a frame is sent once it is durable that it was to be, and what made it; frames go out in the order of their numbers; of a
//! client that may come back each frame is kept until it has arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    model::{
        blame::HostFault,
        id::{VRef, VatId},
        value::Syscall,
    },
    serve::{
        captp::{Connection, ConnectionHead},
        desk::session::codes,
        token::TokenHash,
    },
    store::{BesideRow, KeptRow, codec::decode, encode},
};

/// The first byte of the key of every row of a session; behind it stands its number.
const SESSION: u8 = b's';
/// The kinds of rows besides those of [`Connection`].
const HEAD: u8 = b'h';
const FRAME: u8 = b'f';

/// Frames that are kept for a client that has not said that they arrived. It says so with each answer to a ping.
const RETAINED_MAX: usize = 4_096;
/// Bytes of them.
const RETAINED_BYTES_MAX: usize = 4 << 20;

/// Where a client has not read so many times as much as it may, it is cut off: by then its own frames are not listened to any more,
/// and so this is what others sent to it.
const UNREAD_TIMES: usize = 4;

/// A message of the kernel's thread to a socket.
#[derive(Debug)]
pub(in crate::serve) enum ToSocket {
    /// Frames to send. So many frames of the client's are durable now.
    Frames { frames: Vec<OutFrame>, durable: u64 },
    /// The end of the connection: why.
    Close { code: u16, reason: String },
}

/// A frame for a client, and its number in the session; one of the host's own has none.
#[derive(Debug, Clone)]
pub(in crate::serve) struct OutFrame {
    pub(in crate::serve) number: Option<u64>,
    pub(in crate::serve) text: Utf8Bytes,
}

/// The session of a socket, and which of its sockets this is: an older one is no longer heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) struct Seat {
    pub(in crate::serve) session: VatId,
    pub(in crate::serve) socket: u64,
}

/// A session that is open for a socket.
#[derive(Debug)]
pub(in crate::serve) struct Opened {
    pub(in crate::serve) seat: Seat,
    pub(in crate::serve) frames: UnboundedReceiver<ToSocket>,
    /// Bytes that wait to be sent.
    pub(in crate::serve) load: Arc<AtomicUsize>,
    /// Frames of the client's that were durable before.
    pub(in crate::serve) durable: u64,
}

/// The way to a socket.
#[derive(Debug)]
struct Socket {
    number: u64,
    sender: UnboundedSender<ToSocket>,
    load: Arc<AtomicUsize>,
}

impl Socket {
    fn send(&self, what: ToSocket) {
        if let ToSocket::Frames { frames, .. } = &what {
            let bytes = frames.iter().map(|it| it.text.len()).sum();
            self.load.fetch_add(bytes, Ordering::Relaxed);
        }
        // Where it is gone the socket says so by itself.
        let _ = self.sender.send(what);
    }
}

/// A client whose session is open.
#[derive(Debug)]
pub(super) struct CaptpClient {
    pub(super) connection: Connection,
    /// The hash of the token by which it comes back, if it may.
    pub(super) token: Option<TokenHash>,
    socket: Option<Socket>,
    /// The number of sockets that it had.
    sockets: u64,
    /// Frames of the client's that were taken.
    received: u64,
    /// Those of them that are durable, and those that the client was told are.
    durable: u64,
    told_durable: u64,
    /// Frames that are sent again although they were taken.
    pub(super) skip: u64,
    /// Frames to the client so far.
    sent: u64,
    /// Those that wait for the commit.
    unsent: Vec<OutFrame>,
    /// Those that may not have arrived.
    retained: BTreeMap<u64, Utf8Bytes>,
    retained_bytes: usize,
    /// The numbers of those whose rows are to be written or removed.
    changed: BTreeSet<u64>,
    /// The number of the last event of the session's that became frames.
    pub(super) heard: u64,
    /// Syscalls that follow from the events that were heard.
    pub(super) owed: Vec<Syscall<VRef>>,
    /// Whether something waits for a commit.
    pub(super) waits: bool,
    /// The code and the reason of the end, once its session is to end.
    pub(super) closing: Option<(u16, String)>,
    /// The end of a session whose client is away.
    pub(super) deadline: Option<Instant>,
}

/// A client's row, but for its connection's and the frames'.
#[derive(Debug, Serialize, Deserialize)]
struct ClientRow {
    token: TokenHash,
    received: u64,
    sent: u64,
    heard: u64,
    owed: Vec<Syscall<VRef>>,
    connection: ConnectionHead,
}

/// The row of a session that is about to be opened for a client that may come back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OpeningRow {
    pub(super) token: TokenHash,
    /// The names of the roots that were asked for.
    pub(super) names: Vec<String>,
    /// The objects of the session before, by the names that the client had for them.
    pub(super) held: Vec<VRef>,
}

#[derive(Debug, Serialize, Deserialize)]
enum HeadRow {
    Opening(OpeningRow),
    Open(ClientRow),
}

/// The meaning of the rows of one session.
pub(super) enum KeptSession {
    Opening(OpeningRow),
    Open(Box<CaptpClient>),
}

impl CaptpClient {
    pub(super) fn new(mut connection: Connection, token: Option<TokenHash>, heard: u64) -> CaptpClient {
        if token.is_some() {
            connection.keep();
        }
        CaptpClient {
            connection,
            token,
            socket: None,
            sockets: 0,
            received: 0,
            durable: 0,
            told_durable: 0,
            skip: 0,
            sent: 0,
            unsent: Vec::new(),
            retained: BTreeMap::new(),
            retained_bytes: 0,
            changed: BTreeSet::new(),
            heard,
            owed: Vec::new(),
            waits: false,
            closing: None,
            deadline: None,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.as_ref().is_some_and(|it| !it.sender.is_closed())
    }

    /// Returns whether this is the socket that it has.
    pub(super) fn is_at(&self, socket: u64) -> bool {
        self.socket.as_ref().is_some_and(|it| it.number == socket)
    }

    /// Connects a socket, which begins with this message of the host's, if there is one; another one is closed.
    pub(super) fn attach(&mut self, session: VatId, hello: Option<Value>, arrived: u64) -> Opened {
        self.detach(codes::MOVED, "the session goes on at another connection");
        let (sender, frames) = unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        self.sockets += 1;
        let socket = Socket { number: self.sockets, sender, load: load.clone() };
        self.arrived(arrived);
        (self.skip, self.told_durable) = (self.received - self.durable, self.durable);
        let flushed = self.unsent.first().and_then(|it| it.number).map_or(self.sent, |it| it - 1);
        let mut first: Vec<OutFrame> = hello.map(own_frame).into_iter().collect();
        let again = self.retained.range(..=flushed);
        first.extend(again.map(|(number, text)| OutFrame { number: Some(*number), text: text.clone() }));
        socket.send(ToSocket::Frames { frames: first, durable: self.durable });
        self.socket = Some(socket);
        Opened { seat: Seat { session, socket: self.sockets }, frames, load, durable: self.durable }
    }

    /// Closes the socket, if there is one.
    pub(super) fn detach(&mut self, code: u16, reason: &str) {
        if let Some(socket) = self.socket.take() {
            socket.send(ToSocket::Close { code, reason: reason.to_owned() });
        }
    }

    /// Returns whether a client that has so many frames can go on; the reason if it cannot.
    pub(super) fn can_go_on(&self, arrived: u64) -> Result<(), &'static str> {
        let first = self.retained.keys().next().copied().unwrap_or(self.sent + 1);
        match arrived {
            it if it > self.sent => Err("no client was sent so many frames"),
            it if it + 1 < first => Err("frames that followed are no longer kept: connect without `received`"),
            _ => Ok(()),
        }
    }

    /// Returns what the client is told first when it goes on.
    pub(super) fn hello(&self) -> Value {
        json!({ "type": "VATHOST_SESSION", "received": self.durable })
    }

    /// Counts a frame of the client's; whether it is new.
    pub(super) fn take_number(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.received += 1;
        true
    }

    /// Frames for the client, to be sent after the commit.
    pub(super) fn put(&mut self, messages: Vec<Value>) {
        for it in messages {
            self.sent += 1;
            let frame = OutFrame { number: Some(self.sent), text: it.to_string().into() };
            if self.token.is_some() {
                self.retain(&frame.text);
            }
            self.unsent.push(frame);
        }
    }

    fn retain(&mut self, text: &Utf8Bytes) {
        self.changed.insert(self.sent);
        self.retained.insert(self.sent, text.clone());
        self.retained_bytes += text.len();
        while self.retained.len() > RETAINED_MAX || self.retained_bytes > RETAINED_BYTES_MAX {
            let Some((oldest, _)) = self.retained.first_key_value() else { break };
            self.let_arrive(*oldest);
        }
    }

    /// The client has the frames up to this one. Their rows go with those of the next change.
    pub(super) fn arrived(&mut self, up_to: u64) {
        let all: Vec<u64> = self.retained.range(..=up_to).map(|(number, _)| *number).collect();
        all.into_iter().for_each(|it| self.let_arrive(it));
    }

    fn let_arrive(&mut self, number: u64) {
        if let Some(text) = self.retained.remove(&number) {
            self.retained_bytes -= text.len();
            self.changed.insert(number);
        }
    }

    /// Sends what waited for the commit. Returns the number of frames, or `None` if the client has not read what came long before.
    pub(super) fn flush(&mut self, unread_max: usize) -> Option<usize> {
        self.waits = false;
        self.durable = self.received;
        let mut frames = std::mem::take(&mut self.unsent);
        let count = frames.len();
        let Some(socket) = &self.socket else { return Some(0) };
        if self.token.is_some() && self.told_durable < self.durable {
            self.told_durable = self.durable;
            frames.push(own_frame(json!({ "type": "VATHOST_RECEIVED", "received": self.durable })));
        }
        let unread = socket.load.load(Ordering::Relaxed);
        socket.send(ToSocket::Frames { frames, durable: self.durable });
        (unread <= unread_max.saturating_mul(UNREAD_TIMES)).then_some(count)
    }

    /// Takes the rows of what changed.
    pub(super) fn take_rows(&mut self, session: VatId, rows: &mut Vec<BesideRow>) {
        let Some(token) = self.token else { return };
        self.connection.take_rows(&prefix(session), rows);
        for number in std::mem::take(&mut self.changed) {
            let text = self.retained.get(&number).and_then(|it| encoded(it.as_str()));
            rows.push((frame_key(session, number), text));
        }
        let row = ClientRow {
            token,
            received: self.received,
            sent: self.sent,
            heard: self.heard,
            owed: self.owed.clone(),
            connection: self.connection.head(),
        };
        rows.push((head_key(session), encoded(&HeadRow::Open(row))));
    }

    /// Removes all its rows.
    pub(super) fn forget_rows(&self, session: VatId, rows: &mut Vec<BesideRow>) {
        if self.token.is_some() {
            self.connection.forget_rows(&prefix(session), rows);
            let frames = self.retained.keys().chain(&self.changed);
            rows.extend(frames.map(|it| (frame_key(session, *it), None)));
            rows.push((head_key(session), None));
        }
    }

    fn of_row(row: ClientRow, rows: &[KeptRow]) -> Result<CaptpClient, HostFault> {
        let ClientRow { token, received, sent, heard, owed, connection } = row;
        let mut client = CaptpClient::new(Connection::of_rows(connection, rows)?, None, heard);
        (client.token, client.sent, client.owed) = (Some(token), sent, owed);
        (client.received, client.durable, client.told_durable) = (received, received, received);
        for (key, value) in rows {
            if let Some((&FRAME, number)) = key.split_first() {
                let number = number.try_into().map_err(|_| wrong("a frame has no number"))?;
                let text: String = decode(value)?;
                client.retained_bytes += text.len();
                client.retained.insert(u64::from_be_bytes(number), text.into());
            }
        }
        Ok(client)
    }
}

impl OpeningRow {
    pub(super) fn row(&self, session: VatId) -> BesideRow {
        (head_key(session), encoded(&HeadRow::Opening(self.clone())))
    }

    pub(super) fn forget_row(session: VatId) -> BesideRow {
        (head_key(session), None)
    }
}

/// Reads what was kept of sessions, among all rows that are kept beside the state.
pub(super) fn read_kept(rows: &[KeptRow]) -> Result<BTreeMap<VatId, KeptSession>, HostFault> {
    let mut sessions: BTreeMap<VatId, Vec<KeptRow>> = BTreeMap::new();
    for (key, value) in rows {
        let Some((&SESSION, rest)) = key.split_first() else { continue };
        let (number, rest) = rest.split_first_chunk().ok_or_else(|| wrong("a row of a session has no number"))?;
        sessions.entry(VatId(u64::from_be_bytes(*number))).or_default().push((rest.to_vec(), value.clone()));
    }
    let read = |(session, rows): (VatId, Vec<KeptRow>)| {
        let head = rows.iter().find(|(key, _)| key == &[HEAD]);
        let head = head.ok_or_else(|| wrong(&format!("{session} has no head")))?;
        let kept = match decode(&head.1)? {
            HeadRow::Opening(row) => KeptSession::Opening(row),
            HeadRow::Open(row) => KeptSession::Open(Box::new(CaptpClient::of_row(row, &rows)?)),
        };
        Ok((session, kept))
    };
    sessions.into_iter().map(read).collect()
}

fn wrong(why: &str) -> HostFault {
    HostFault::damage("read what a server keeps of sessions beside the state", why)
}

/// A frame of the host's own, which no client counts.
fn own_frame(message: Value) -> OutFrame {
    OutFrame { number: None, text: message.to_string().into() }
}

fn prefix(session: VatId) -> Vec<u8> {
    [&[SESSION][..], &session.0.to_be_bytes()].concat()
}

fn head_key(session: VatId) -> Vec<u8> {
    [prefix(session), vec![HEAD]].concat()
}

fn frame_key(session: VatId, number: u64) -> Vec<u8> {
    [prefix(session), vec![FRAME], number.to_be_bytes().to_vec()].concat()
}

fn encoded<T: Serialize + ?Sized>(value: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).ok().map(|()| bytes)
}
