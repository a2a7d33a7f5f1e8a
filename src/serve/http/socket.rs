//! The WebSocket of CapTP clients: frames in both directions, within bounds.
//!
//! ```text
//!   /captp ─▶ a session is opened, or found again ─▶ 101 ─▶ ClientLine: frames ─▶ kernel's thread ─▶ frames, once they are durable
//! ```
//!
//! Invariants: of a connection so many frames are under way, and no more are read; a client that does not read, or answers no ping, is
//! cut off; whatever a client sends ends its own connection at the most.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    extract::{
        Extension, Query, State,
        rejection::QueryRejection,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{Shared, Site};
use crate::serve::{
    ask::DeskRequest,
    desk::{Desk, Opened, OutFrame, Resume, Seat, ToSocket, codes},
    inbox::{CLIENT, current_client},
    listen::ConnectionPlace,
    problem::Problem,
    token::CapToken,
};

/// Bytes of the reason in a close frame: the protocol's limit.
const REASON_MAX: usize = 123;
/// How long a client may take to answer the end of its connection.
const FAREWELL: Duration = Duration::from_secs(1);
/// After a refusal because too much waits for the kernel's thread.
const BREATH: Duration = Duration::from_millis(5);
/// A socket's buffers begin so small: most are idle.
const BUFFER_BYTES: usize = 4 << 10;

/// The query of the URL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptpQuery {
    resume: Option<String>,
    received: Option<u64>,
}

impl CaptpQuery {
    fn resume(self) -> Result<Resume, Problem> {
        let wrong = |why| Problem::new("malformed", why);
        match (self.resume.as_deref(), self.received) {
            (None, None) => Ok(Resume::No),
            (Some("new"), None) => Ok(Resume::New),
            (None | Some("new"), Some(_)) => {
                Err(wrong("`received` is of a session that there is: name it by `resume`"))
            }
            (Some(token), received) => {
                let token = CapToken::parse(token).ok_or_else(|| wrong("`resume` is `new`, or a token"))?;
                Ok(Resume::Again { token, received })
            }
        }
    }
}

/// Opens a session, or finds it again, and makes the connection a WebSocket.
pub(super) async fn captp(
    State(shared): Site,
    place: Option<Extension<ConnectionPlace>>,
    query: Result<Query<CaptpQuery>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let wrong = |why: &dyn std::fmt::Display| Problem::new("malformed", format!("/captp is a WebSocket: {why}"));
    let upgrade = upgrade.map_err(|err| wrong(&err))?;
    let Query(query) = query.map_err(|err| wrong(&err))?;
    let (resume, names_are_open) = (query.resume()?, shared.gate.names_are_open);
    let errand = move |desk: &mut Desk<'_>, reply| desk.open_captp(names_are_open, resume, reply);
    let opened = shared.errand(shared.bounds.call_time, errand).await?;
    let max = shared.bounds.body_bytes;
    let leaver =
        Leaver { shared, seat: opened.seat, code: codes::GOODBYE, reason: "the connection was lost".to_owned() };
    let upgrade = upgrade.max_message_size(max).max_frame_size(max);
    let upgrade = upgrade.read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    // What comes by a socket waits in a queue of its own.
    let client = current_client();
    Ok(upgrade.on_upgrade(move |socket| {
        CLIENT.scope(client, async move {
            let _place = place;
            ClientLine::new(socket, opened, leaver).serve().await;
        })
    }))
}

/// The end of a connection, which the kernel's thread is told of whatever happens here.
struct Leaver {
    shared: Arc<Shared>,
    seat: Seat,
    code: u16,
    reason: String,
}

impl Drop for Leaver {
    fn drop(&mut self) {
        let (shared, seat, code) = (self.shared.clone(), self.seat, self.code);
        let reason = std::mem::take(&mut self.reason);
        tokio::spawn(async move {
            let leave = || {
                let reason = reason.clone();
                DeskRequest::Errand(Box::new(move |desk| desk.leave(seat, code, &reason)))
            };
            shared.put_patiently(leave).await;
        });
    }
}

impl Shared {
    /// Asks the kernel's thread, as soon as there is room for it; whether that thread is there.
    async fn put_patiently(&self, ask: impl Fn() -> DeskRequest) -> bool {
        loop {
            match self.put(ask()) {
                Ok(()) => return true,
                Err(why) if why.kind == "busy" => tokio::time::sleep(BREATH).await,
                Err(_) => return false,
            }
        }
    }
}

/// The reason for which a connection ends, with its code.
struct CloseReason(u16, String);

fn end<T>(code: u16, reason: impl Into<String>) -> Result<T, CloseReason> {
    Err(CloseReason(code, reason.into()))
}

/// A connection of a client.
struct ClientLine {
    socket: WebSocket,
    opened: Opened,
    leaver: Leaver,
    /// Frames of the client's that were read, and those that are durable.
    read: u64,
    durable: u64,
    /// The number of the last frame that was sent.
    sent: u64,
    /// The last time that something came from the client, or that it was not listened to.
    heard: Instant,
}

impl ClientLine {
    fn new(socket: WebSocket, opened: Opened, leaver: Leaver) -> ClientLine {
        let durable = opened.durable;
        ClientLine { socket, opened, leaver, read: durable, durable, sent: 0, heard: Instant::now() }
    }

    async fn serve(mut self) {
        let CloseReason(code, reason) = match self.exchange().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        (self.leaver.code, self.leaver.reason) = (code, reason.clone());
        let ClientLine { mut socket, leaver, .. } = self;
        drop(leaver);
        let mut cut = reason;
        cut.truncate(cut.floor_char_boundary(REASON_MAX));
        let last = Message::Close(Some(CloseFrame { code, reason: cut.into() }));
        let goodbye = async {
            // Where the client is gone there is nobody to tell.
            let _ = socket.send(last).await;
            while let Some(Ok(_)) = socket.recv().await {}
        };
        let _ = timeout(FAREWELL, goodbye).await;
    }

    async fn exchange(&mut self) -> Result<std::convert::Infallible, CloseReason> {
        let bounds = &self.leaver.shared.bounds;
        let (every, frames_max, unread_max) = (bounds.ping_time, bounds.frames as u64, bounds.unread_bytes);
        let mut pings = interval_at(Instant::now() + every, every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Who does not read is not listened to.
            let unread = self.opened.load.load(Ordering::Relaxed);
            let listens = self.read.saturating_sub(self.durable) < frames_max && unread <= unread_max;
            tokio::select! {
                told = self.opened.frames.recv() => match told {
                    Some(told) => self.tell(told).await?,
                    None => return end(codes::HALTED, "the host has ended"),
                },
                message = self.socket.recv(), if listens => self.take(message).await?,
                _ = pings.tick() => self.ping(listens).await?,
            }
        }
    }

    async fn tell(&mut self, told: ToSocket) -> Result<(), CloseReason> {
        match told {
            ToSocket::Close { code, reason } => end(code, reason),
            ToSocket::Frames { frames, durable } => {
                self.durable = durable;
                for OutFrame { number, text } in frames {
                    self.opened.load.fetch_sub(text.len(), Ordering::Relaxed);
                    self.send(Message::Text(text)).await?;
                    self.sent = number.unwrap_or(self.sent);
                }
                Ok(())
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), CloseReason> {
        let patience = 2 * self.leaver.shared.bounds.ping_time;
        match timeout(patience, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => end(codes::GOODBYE, "the connection was lost"),
            Err(_) => end(codes::SLOW, format!("a frame was not read in {} seconds", patience.as_secs())),
        }
    }

    /// Asks the client for a sign of life: its answer says also how many frames have arrived.
    async fn ping(&mut self, listens: bool) -> Result<(), CloseReason> {
        let patience = 2 * self.leaver.shared.bounds.ping_time;
        if !listens {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > patience {
            return end(codes::SLOW, format!("no ping was answered in {} seconds", patience.as_secs()));
        }
        self.send(Message::Ping(self.sent.to_be_bytes().to_vec().into())).await
    }

    async fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), CloseReason> {
        self.heard = Instant::now();
        let seat = self.leaver.seat;
        match message {
            None => end(codes::GOODBYE, "the connection was lost"),
            Some(Ok(Message::Text(text))) => self.take_text(seat, text).await,
            Some(Ok(Message::Binary(_))) => end(codes::NOT_TEXT, "a frame is text"),
            Some(Ok(Message::Pong(payload))) => {
                let arrived = payload.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default().min(self.sent);
                // Where there is no room, with the next one.
                let note = move |desk: &mut Desk<'_>| desk.frames_arrived(seat, arrived);
                let _ = self.leaver.shared.put(DeskRequest::Errand(Box::new(note)));
                Ok(())
            }
            Some(Ok(Message::Ping(_))) => Ok(()),
            Some(Ok(Message::Close(_))) => end(codes::GOODBYE, "the client closed the connection"),
            Some(Err(err)) => {
                let why = err.to_string();
                match () {
                    () if why.contains("Space limit") => {
                        let max = self.leaver.shared.bounds.body_bytes;
                        end(codes::TOO_LARGE, format!("a frame has {max} bytes at the most"))
                    }
                    () if why.contains("UTF-8") => end(codes::NOT_UTF8, "a frame is text, in UTF-8"),
                    () if why.contains("protocol") && !why.contains("without closing") => end(codes::MALFORMED, why),
                    () => end(codes::GOODBYE, "the connection was lost"),
                }
            }
        }
    }

    async fn take_text(&mut self, seat: Seat, text: Utf8Bytes) -> Result<(), CloseReason> {
        self.read += 1;
        let take = || {
            let text = text.clone();
            DeskRequest::Errand(Box::new(move |desk| desk.take_frame(seat, &text)))
        };
        match self.leaver.shared.put_patiently(take).await {
            true => Ok(()),
            false => end(codes::HALTED, "the host has ended"),
        }
    }
}
