//! Connections: accepted within bounds, and served until they are closed, or the server ends.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::serve::{
    bounds::Bounds,
    journal::{Paced, ServeEvent},
    metrics::Metrics,
    patient::Patient,
};

/// After a failure to accept (no descriptors are left): others may be closed meanwhile.
const BREATH: Duration = Duration::from_millis(50);
/// How long answers that are on their way may take, once the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// A place among the connections, for as long as somebody holds it: a request takes it along, since its connection may outlive it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPlace(
    #[expect(dead_code, reason = "it is held, and given back")] Arc<OwnedSemaphorePermit>,
);

/// The address that a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// A place at which clients connect.
pub(super) trait Door: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection, and returns it with the address that it comes from, if it has one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<Peer>)>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Option<Peer>)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Answers are short, and wait for nothing.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(Peer(address.ip().to_canonical()))))
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Option<Peer>)> {
        UnixListener::accept(self).await.map(|(stream, _)| (stream, None))
    }
}

/// The part of a server that accepts connections.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) router: Router,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
    pub(super) journal: Arc<Paced>,
    /// True once the server ends.
    pub(super) ending: watch::Receiver<bool>,
}

impl Doors {
    /// Accepts connections at a door, until the server ends and those that are open are closed.
    pub(super) async fn keep(self, door: impl Door) {
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        let mut ending = self.ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = door.accept() => accepted,
                _ = ending.changed() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(&room, stream, peer),
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
        // Answers that are on their way may arrive.
        let all = u32::try_from(self.bounds.connections).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(FAREWELL, room.acquire_many(all)).await;
    }

    fn admit(
        &self,
        room: &Arc<Semaphore>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: Option<Peer>,
    ) {
        let Ok(place) = room.clone().try_acquire_owned() else {
            self.metrics.refused_connection();
            self.journal.tell(&ServeEvent::Limited { what: "connections", client: peer.map(|it| it.0) });
            return;
        };
        let doors = self.clone();
        tokio::spawn(async move {
            doors.serve(stream, peer, ConnectionPlace(Arc::new(place))).await;
        });
    }

    async fn serve(
        mut self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: Option<Peer>,
        place: ConnectionPlace,
    ) {
        let _connected = self.metrics.connected();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.head_time)
            .max_headers(self.bounds.headers)
            .max_header_size(self.bounds.head_bytes)
            .max_buf_size(self.bounds.head_bytes.max(64 << 10));
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            router.call(request)
        });
        let stream = TokioIo::new(Patient::new(stream, self.bounds.write_time));
        let connection = builder.serve_connection(stream, service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = self.ending.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
