//! The bounds of a server: every one of them has a default, and the default a reason.

use std::time::Duration;

/// The bounds of what a server takes from its clients.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The longest that the first input of a block waits for others, while there are many. With a wait of 1 ms 64 clients make half as
    /// many calls again a second as with one of 5 ms, during which the kernel's thread is idle, and a quarter more than with none.
    pub block_wait: Duration,
    /// Bytes of a request's body. A message has at most a megabyte: see `model::limits`.
    pub body_bytes: usize,
    /// The longest that a request's body may take to come. A megabyte comes in this time at 100 KB a second.
    pub body_time: Duration,
    /// The longest that a request's head may take to come, and that a connection may be silent between two requests.
    pub head_time: Duration,
    /// The longest that a client may take none of an answer's bytes, once the system's buffers for it are full; then it is cut off. A
    /// client that is slow takes a few bytes in this time, one that is gone takes none.
    pub write_time: Duration,
    /// Header lines of a request. Browsers send some twenty.
    pub headers: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Connections at one time. Each takes some 20 KiB, and a file descriptor of the usual 1,024.
    pub connections: usize,
    /// Calls and readers of promises that are waited for at one time. Each is looked at after each block.
    pub calls: usize,
    /// Requests that wait for the kernel's thread. More of them would only wait longer: they are asked to come back.
    pub queue: usize,
    /// Requests of one client that wait for it: a quarter of all.
    pub client_queue: usize,
    /// Requests of one client that a block takes in, those included that an earlier one took in and that are not delivered yet. That
    /// many take about as long as the commit, so a client that asks for one thing waits for two short blocks, whatever others do.
    pub client_share: usize,
    /// The longest that a call is waited for; then its client gets the promise instead. Proxies wait for 60 seconds.
    pub call_time: Duration,
    /// Readers of server-sent events at one time: each holds a connection for as long as it likes.
    pub readers: usize,
    /// Seconds for which an answer can be asked for again, by its promise or its key. A client that was cut off is back in a day.
    pub keep_seconds: u64,
    /// Sessions of CapTP clients at one time, those included whose clients are away. An idle one takes some 10 KiB; a state may have
    /// 65,536.
    pub sessions: usize,
    /// Frames of a connection that are on their way to a commit: no more are read of it until some are durable. One block takes as
    /// many of a client that sends without a pause.
    pub frames: usize,
    /// Bytes that may wait for a client to read them, several of the largest messages: past it no more is read of what it sends, and
    /// at four times as much it is cut off.
    pub unread_bytes: usize,
    /// The time between two pings of a connection. One that answers none in twice that time, or takes as long to read a frame, is cut
    /// off. Proxies close what is silent for 60 seconds.
    pub ping_time: Duration,
    /// The longest that a session waits for a client that may come back.
    pub session_grace: Duration,
    /// Answers that are kept at one time. Each takes some 200 bytes, and what it names stays alive.
    pub answers: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            block_wait: Duration::from_millis(1),
            body_bytes: 1 << 20,
            body_time: Duration::from_secs(10),
            head_time: Duration::from_secs(10),
            write_time: Duration::from_secs(10),
            headers: 64,
            head_bytes: 16 << 10,
            connections: 900,
            calls: 4_096,
            queue: 4_096,
            client_queue: 1_024,
            client_share: 128,
            call_time: Duration::from_secs(30),
            readers: 256,
            sessions: 10_000,
            frames: 64,
            unread_bytes: 8 << 20,
            ping_time: Duration::from_secs(20),
            session_grace: Duration::from_secs(3_600),
            keep_seconds: 24 * 3_600,
            answers: 1_000_000,
        }
    }
}
