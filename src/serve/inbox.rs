//! The requests that wait for the kernel's thread: a queue for each client, and the clients take turns.
//!
//! ```text
//!   10.0.0.1 ─┬─ /cap/market ▪▪▪▪▪▪▪▪▪▪
//!             └─ /cap/TOKEN  ▪            addresses take turns; within one the tokens, names and sockets that it uses do;
//!   10.0.0.2 ─── /cap/market ▪            a client that had its share of a round waits for the next block
//! ```
//!
//! Invariants: what a client asks is taken in its order; whoever floods fills its own queue, and where all queues together are too many it
//! is the longest one that gives way; in one round no client has more than its share.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvError, RecvTimeoutError, TryRecvError},
    },
    time::Duration,
};

use crate::serve::{ask::DeskRequest, problem::Problem};

/// A client, as far as a server can tell: an address, and what it speaks to or through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Client {
    /// The address that the connection comes from; none of the control socket.
    pub(super) address: Option<IpAddr>,
    /// The hash of the name or token of its request, or the number of its socket.
    pub(super) way: u64,
}

impl Client {
    /// The server itself, and whoever may open the control socket.
    pub(super) const OWNER: Client = Client { address: None, way: 0 };

    /// Makes the client that speaks from an address to what has this name or token.
    pub(super) fn at(address: IpAddr, way: &str) -> Client {
        let hash = blake3::hash(way.as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        Client { address: Some(address), way: u64::from_le_bytes(bytes) }
    }
}

tokio::task_local! {
    /// The client whose request a task serves.
    pub(super) static CLIENT: Client;
}

/// Returns the client whose request this task serves.
pub(super) fn current_client() -> Client {
    CLIENT.try_with(|client| *client).unwrap_or(Client::OWNER)
}

/// The bounds of what may wait, and of what is taken at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct InboxBounds {
    /// Requests of all clients.
    pub(super) all: usize,
    /// Requests of one client.
    pub(super) client: usize,
    /// Requests of one client that are taken in one round.
    pub(super) share: usize,
}

/// The requests that wait for the kernel's thread.
pub(super) struct Inbox {
    bounds: InboxBounds,
    queues: Mutex<Queues>,
    came: Condvar,
}

/// What waits, and whose turn it is.
#[derive(Default)]
struct Queues {
    addresses: BTreeMap<Option<IpAddr>, AddressQueues>,
    /// The addresses that have something to be taken in this round.
    turns: VecDeque<Option<IpAddr>>,
    /// Clients that had something taken in this round, and how much; or that have not been served since earlier ones.
    taken: BTreeMap<Client, usize>,
    /// Requests of all clients.
    all: usize,
    is_woken: bool,
    is_closed: bool,
}

/// The queues of one address.
#[derive(Default)]
struct AddressQueues {
    ways: BTreeMap<u64, VecDeque<DeskRequest>>,
    /// Those that have something to be taken in this round.
    turns: VecDeque<u64>,
}

impl Inbox {
    pub(super) fn new(bounds: InboxBounds) -> Inbox {
        Inbox { bounds, queues: Mutex::default(), came: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics while it holds this.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request into the queue of its client.
    ///
    /// # Errors
    ///
    /// As many wait as may, or the host is gone.
    pub(super) fn put(&self, client: Client, request: DeskRequest) -> Result<(), Problem> {
        let mut queues = self.lock();
        if queues.is_closed {
            return Err(Problem::new("halted", "the host has halted: its operator knows more"));
        }
        let own = queues.waiting(client);
        if own >= self.bounds.client {
            return Err(Problem::busy(format!(
                "{own} requests of this client wait for the host: it lets no more wait"
            )));
        }
        if queues.all >= self.bounds.all && !queues.make_room(own) {
            return Err(Problem::busy("as many requests wait for the host as it lets wait"));
        }
        queues.push(client, request, self.bounds.share);
        drop(queues);
        self.came.notify_one();
        Ok(())
    }

    /// Wakes the kernel's thread, whatever waits.
    pub(super) fn wake(&self) {
        self.lock().is_woken = true;
        self.came.notify_one();
    }

    /// Begins a round: each client has its share anew, but for what of it is still to be delivered.
    pub(super) fn begin_round(&self, undelivered: &BTreeMap<Client, usize>) {
        let mut queues = self.lock();
        queues.taken.clone_from(undelivered);
        queues.line_up(self.bounds.share);
    }

    /// Takes the next request of this round, if there is one.
    pub(super) fn try_recv(&self) -> Result<(Client, DeskRequest), TryRecvError> {
        let mut queues = self.lock();
        queues.pop(self.bounds.share).ok_or(TryRecvError::Empty)
    }

    /// Waits for the next request of this round.
    pub(super) fn recv(&self) -> Result<(Client, DeskRequest), RecvError> {
        let mut queues = self.lock();
        loop {
            match queues.pop(self.bounds.share) {
                Some(next) => return Ok(next),
                None if queues.is_closed => return Err(RecvError),
                None => queues = self.came.wait(queues).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits for the next request of this round, for so long.
    pub(super) fn recv_timeout(&self, patience: Duration) -> Result<(Client, DeskRequest), RecvTimeoutError> {
        let mut queues = self.lock();
        if let Some(next) = queues.pop(self.bounds.share) {
            return Ok(next);
        }
        let idle = |queues: &mut Queues| queues.turns.is_empty() && !queues.is_woken && !queues.is_closed;
        let waited = self.came.wait_timeout_while(queues, patience, idle);
        queues = waited.unwrap_or_else(PoisonError::into_inner).0;
        queues.pop(self.bounds.share).ok_or(RecvTimeoutError::Timeout)
    }

    /// Takes all that waits, whatever the shares.
    pub(super) fn drain(&self) -> Vec<DeskRequest> {
        let mut queues = self.lock();
        queues.all = 0;
        queues.turns.clear();
        let addresses = std::mem::take(&mut queues.addresses);
        addresses.into_values().flat_map(|of| of.ways.into_values().flatten()).collect()
    }

    /// Takes no more, and forgets what waits: whoever asked is told that the host is gone.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        drop(self.drain());
        self.came.notify_all();
    }
}

impl Queues {
    /// The number of requests of this client that wait.
    fn waiting(&self, client: Client) -> usize {
        let of = self.addresses.get(&client.address);
        of.and_then(|of| of.ways.get(&client.way)).map_or(0, VecDeque::len)
    }

    fn push(&mut self, client: Client, request: DeskRequest, share: usize) {
        let of = self.addresses.entry(client.address).or_default();
        let queue = of.ways.entry(client.way).or_default();
        queue.push_back(request);
        self.all += 1;
        let has_share = self.taken.get(&client).is_none_or(|taken| *taken < share);
        if queue.len() == 1 && has_share && !of.turns.contains(&client.way) {
            of.turns.push_back(client.way);
            if !self.turns.contains(&client.address) {
                self.turns.push_back(client.address);
            }
        }
    }

    /// Lets those take turns that have something to be taken, and something of their share left.
    fn line_up(&mut self, share: usize) {
        for (address, of) in &mut self.addresses {
            for way in of.ways.keys() {
                let client = Client { address: *address, way: *way };
                let has_share = self.taken.get(&client).is_none_or(|taken| *taken < share);
                if has_share && !of.turns.contains(way) {
                    of.turns.push_back(*way);
                }
            }
            if !of.turns.is_empty() && !self.turns.contains(address) {
                self.turns.push_back(*address);
            }
        }
    }

    fn pop(&mut self, share: usize) -> Option<(Client, DeskRequest)> {
        if std::mem::take(&mut self.is_woken) {
            return Some((Client::OWNER, DeskRequest::Wake));
        }
        while let Some(address) = self.turns.pop_front() {
            let Some(of) = self.addresses.get_mut(&address) else { continue };
            let Some(way) = of.turns.pop_front() else { continue };
            let client = Client { address, way };
            let Some(request) = of.ways.get_mut(&way).and_then(VecDeque::pop_front) else { continue };
            self.all -= 1;
            let taken = self.taken.entry(client).or_default();
            *taken += 1;
            let has_share = *taken < share;
            match of.ways.get(&way) {
                Some(queue) if queue.is_empty() => drop(of.ways.remove(&way)),
                Some(_) if has_share => of.turns.push_back(way),
                _ => (),
            }
            if !of.turns.is_empty() {
                self.turns.push_back(address);
            } else if of.ways.is_empty() {
                self.addresses.remove(&address);
            }
            return Some((client, request));
        }
        None
    }

    /// Takes the newest request out of the longest queue, for one of a client with fewer; whether that could be done.
    fn make_room(&mut self, own: usize) -> bool {
        let queues = self.addresses.values_mut().flat_map(|of| of.ways.values_mut());
        let Some(longest) = queues.max_by_key(|queue| queue.len()).filter(|queue| queue.len() > own + 1) else {
            return false;
        };
        let why = || Problem::busy("others have fewer requests waiting, and there is no more room");
        let refused = match longest.pop_back() {
            Some(DeskRequest::Call(call)) => call.reply.send(Err(why())).is_ok(),
            Some(DeskRequest::Look { reply, .. }) => reply.send(Err(why())).is_ok(),
            Some(DeskRequest::Drop { reply, .. }) => reply.send(Err(why())).is_ok(),
            Some(other) => {
                longest.push_back(other);
                return false;
            }
            None => return false,
        };
        // Whether it is still waited for makes no difference.
        let _ = refused;
        self.all -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::serve::{ask::KnownAnswer, token::CapToken};

    const BOUNDS: InboxBounds = InboxBounds { all: 10, client: 8, share: 3 };

    fn client(address: u8, way: &str) -> Client {
        Client::at(IpAddr::from([10, 0, 0, address]), way)
    }

    type Waiting = oneshot::Receiver<Result<KnownAnswer, Problem>>;

    fn put(inbox: &Inbox, client: Client) -> Result<Waiting, Problem> {
        let (reply, waiting) = oneshot::channel();
        let id = CapToken::random().expect("a token");
        inbox.put(client, DeskRequest::Look { id, waits: false, reply }).map(|()| waiting)
    }

    fn taken(inbox: &Inbox) -> Vec<Client> {
        std::iter::from_fn(|| inbox.try_recv().ok()).map(|(client, _)| client).collect()
    }

    #[test]
    fn addresses_take_turns_and_within_one_what_it_speaks_to() {
        let inbox = Inbox::new(BOUNDS);
        let (a, b, c) = (client(1, "market"), client(1, "north"), client(2, "market"));
        let _kept: Vec<_> = [a, a, a, a, b, c, c].into_iter().map(|it| put(&inbox, it).expect("room")).collect();
        assert_eq!(taken(&inbox), [a, c, b, c, a, a], "the fourth of the first client waits");
        assert!(matches!(inbox.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
        inbox.begin_round(&BTreeMap::from([(a, 3)]));
        assert_eq!(taken(&inbox), [], "none of what was taken is delivered");
        inbox.begin_round(&BTreeMap::from([(a, 2)]));
        assert_eq!(taken(&inbox), [a]);
        assert_eq!(inbox.lock().addresses.len(), 0);
    }

    #[test]
    fn a_client_fills_its_own_queue_and_the_longest_gives_way() {
        let inbox = Inbox::new(BOUNDS);
        let (flood, other, third) = (client(1, "market"), client(2, "market"), client(3, "market"));
        let mut kept: Vec<_> = (0..8).map(|_| put(&inbox, flood).expect("room")).collect();
        assert_eq!(put(&inbox, flood).expect_err("its queue is full").kind, "busy");
        let _kept: Vec<_> = (0..5).map(|_| put(&inbox, other).expect("room, also where all are too many")).collect();
        let refused = kept.iter_mut().filter_map(|it| it.try_recv().ok()).collect::<Vec<_>>();
        assert_eq!(refused.len(), 3, "the newest ones of the flood");
        assert!(refused.iter().all(|it| it.as_ref().is_err_and(|why| why.kind == "busy")));
        assert_eq!(put(&inbox, other).expect_err("both have as many").kind, "busy");
        assert!(put(&inbox, third).is_ok());
        inbox.close();
        assert_eq!(put(&inbox, third).expect_err("gone").kind, "halted");
        assert!(inbox.recv().is_err());
    }

    #[test]
    fn a_thread_that_waits_is_woken() {
        let inbox = std::sync::Arc::new(Inbox::new(BOUNDS));
        let waker = std::thread::spawn({
            let inbox = inbox.clone();
            move || inbox.wake()
        });
        assert!(matches!(inbox.recv(), Ok((_, DeskRequest::Wake))));
        waker.join().expect("it woke");
    }
}
