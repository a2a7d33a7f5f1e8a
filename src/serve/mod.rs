//! A host that stays up, and is spoken to over HTTP.
//!
//! ```text
//!   client ─▶ listen ─▶ http (routes, bounds, JSON) ─▶ inbox (clients take turns) ─▶ desk: the one thread that owns the Host ─▶ blocks
//!     ▲                                                            │  book: tokens and answers, beside the state
//!     └───────────────────────── answer, once it is durable ◀──────┘
//! ```
//!
//! [`Server`] listens; [`Desk`] runs on the thread that calls it, until it is told to stop or the host halts. The reference for clients
//! is `docs/serve.md`.
//!
//! Invariants: nothing is acknowledged before it is durable; nothing leaves before it was committed; what is not named by a token or
//! opened by name cannot be reached; whatever a client does is bounded by [`Bounds`].

mod ask;
mod book;
mod bounds;
pub mod captp;
mod desk;
mod http;
mod inbox;
mod journal;
mod listen;
mod metrics;
mod patient;
mod problem;
mod token;
mod value;

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

pub use bounds::Bounds;
pub use desk::{Desk, Stop};
pub use http::Gate;
use http::Shared;
use inbox::{Inbox, InboxBounds};
use journal::Paced;
pub use journal::{Journal, ServeEvent};
use listen::Doors;
pub use metrics::Metrics;
pub use problem::Problem;
pub use token::{CapToken, TOKEN_CHARS};

use crate::{host::controller::Host, model::blame::HostFault, vat::Interrupter};

/// The name of the control socket in a state's folder.
pub const SOCKET: &str = "control.sock";

/// Threads that speak HTTP: they parse and format, and the kernel's thread has the work.
const THREADS: usize = 2;

/// How long a delivery may go on after a signal, before it is undone.
const GRACE: Duration = Duration::from_millis(500);

/// A stop that was asked for by SIGTERM, or by ^C.
pub const TERMINATED: u8 = 1;
#[expect(missing_docs, reason = "the line above is of both")]
pub const INTERRUPTED: u8 = 2;

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen at.
    pub listen: SocketAddr,
    /// The folder of the state, in which the control socket is made.
    pub folder: PathBuf,
    /// What is taken from clients, at the most.
    pub bounds: Bounds,
    /// Who may speak to the server.
    pub gate: Gate,
    /// The secret that the tokens of calls with keys are made from: see [`open_secret`].
    pub secret: CapToken,
}

/// A server that listens. What comes waits for a [`Desk`] that takes it.
pub struct Server {
    runtime: Runtime,
    inbox: Arc<Inbox>,
    ending: watch::Sender<bool>,
    doors: Vec<JoinHandle<()>>,
    address: SocketAddr,
    socket: PathBuf,
    metrics: Arc<Metrics>,
    stop: Stop,
}

impl Server {
    /// Listens at the address and at the control socket. SIGTERM and ^C are counted in `stop`, from now on; a second one ends the
    /// process by `leave`.
    ///
    /// # Errors
    ///
    /// The address is taken, or the socket cannot be made.
    pub fn start(
        options: ServeOptions,
        journal: Box<dyn Journal>,
        interrupter: Interrupter,
        leave: fn(),
    ) -> Result<Server, HostFault> {
        let what = format!("listen at {}", options.listen);
        let failed = |err: io::Error| HostFault::new(&what, err);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("vathost-http")
            .enable_all()
            .build()
            .map_err(failed)?;
        let Bounds { queue: all, client_queue: client, client_share: share, .. } = options.bounds;
        let inbox = Arc::new(Inbox::new(InboxBounds { all, client, share }));
        let journal = Arc::new(Paced::new(journal));
        let (ending, watching) = watch::channel(false);
        let metrics = Arc::new(Metrics::default());
        let stop = Stop::default();
        let socket = options.folder.join(SOCKET);
        let listener = runtime.block_on(TcpListener::bind(options.listen)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let control = runtime.block_on(async { bind_socket(&socket) });
        let control = control.map_err(|err| HostFault::new(format_args!("make `{}`", socket.display()), err))?;
        let shared = |at| Shared::new(inbox.clone(), journal.clone(), metrics.clone(), at, &options);
        let doors = |router| Doors {
            router,
            bounds: options.bounds.clone(),
            metrics: metrics.clone(),
            journal: journal.clone(),
            ending: watching.clone(),
        };
        let tasks = vec![
            runtime.spawn(doors(http::public(shared(Some(address)))).keep(listener)),
            runtime.spawn(doors(http::control(shared(None))).keep(control)),
        ];
        {
            let _entered = runtime.enter();
            for (kind, number) in [(SignalKind::terminate(), TERMINATED), (SignalKind::interrupt(), INTERRUPTED)] {
                let signals = signal(kind).map_err(failed)?;
                let (stop, inbox, interrupter) = (stop.clone(), inbox.clone(), interrupter.clone());
                runtime.spawn(heed(signals, number, stop, inbox, interrupter, leave));
            }
        }
        Ok(Server { runtime, inbox, ending, doors: tasks, address, socket, metrics, stop })
    }

    /// Returns the address that is listened at: with its port, if any was wanted.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the numbers of the server.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Returns how the server is told to stop.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Has a desk serve what comes, until it ends; tells the system's service manager when it begins, that it lives, and when it ends.
    pub fn run(&self, desk: &mut Desk<'_>) -> Result<(), Box<crate::kernel::Halt>> {
        let standing = format!("serving at {}, height {}", self.address, desk.height());
        tell_manager(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&standing)]);
        let alive =
            sd_notify::watchdog_enabled().map(|every| self.runtime.spawn(show_life(every / 2, self.metrics.clone())));
        let ended = desk.run(&self.inbox);
        alive.into_iter().for_each(|it| it.abort());
        let standing = match &ended {
            Ok(()) => format!("stopping at height {}", desk.height()),
            Err(halt) => format!("halted: {halt}"),
        };
        tell_manager(&[sd_notify::NotifyState::Stopping, sd_notify::NotifyState::Status(&standing)]);
        ended
    }

    /// Closes the doors, once the answers that are on their way have arrived.
    pub fn close(self) {
        let _ = self.ending.send(true);
        let Server { runtime, doors, socket, inbox, .. } = self;
        inbox.close();
        for it in doors {
            let _ = runtime.block_on(it);
        }
        let _ = fs::remove_file(socket);
        runtime.shutdown_timeout(GRACE);
    }
}

/// Reads the secret that the tokens of calls with keys are made from, of the state that a host has open in this folder. It is made where
/// the state keeps no answers that were made with one, or where a new one is wanted.
///
/// # Errors
///
/// It is damaged, or lost.
pub fn open_secret(folder: &Path, host: &Host, is_new: bool) -> Result<CapToken, Box<crate::kernel::Halt>> {
    if is_new {
        return Ok(CapToken::new_secret(folder)?);
    }
    Ok(CapToken::secret_of(folder, book::Book::read(host.beside()?)?.keyed())?)
}

/// Makes the control socket, for its owner alone. Whoever holds the state's lock may replace what an earlier host left.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => (),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Counts signals: the first stops the server after its block, or where a delivery does not end soon, in its middle; the second at once.
async fn heed(
    mut signals: tokio::signal::unix::Signal,
    number: u8,
    stop: Stop,
    inbox: Arc<Inbox>,
    interrupter: Interrupter,
    leave: fn(),
) {
    while signals.recv().await.is_some() {
        if stop.swap(number, Ordering::Relaxed) > 0 {
            leave();
        }
        inbox.wake();
        let interrupter = interrupter.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(GRACE).await;
                interrupter.stop();
            }
        });
    }
}

/// Tells the manager of services, if there is one.
fn tell_manager(state: &[sd_notify::NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

/// Tells the manager that the kernel's thread lives: it waits, or has run a crank since the last time.
async fn show_life(every: Duration, metrics: Arc<Metrics>) {
    let mut before = None;
    loop {
        let now = metrics.pulse();
        if now.is_none() || now != before {
            tell_manager(&[sd_notify::NotifyState::Watchdog]);
        }
        before = now;
        tokio::time::sleep(every).await;
    }
}
