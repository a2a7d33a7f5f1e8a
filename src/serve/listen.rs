//! Connections: accepted within bounds, and served until they are closed, or the server ends.

use std::{sync::Arc, time::Duration};

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
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::serve::{bounds::Bounds, metrics::Metrics};

/// After a failure to accept (no descriptors are left): others may be closed meanwhile.
const BREATH: Duration = Duration::from_millis(50);
/// How long answers that are on their way may take, once the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// A place among the connections, for as long as somebody holds it: a request takes it along, since its connection may outlive it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPlace(
    #[expect(dead_code, reason = "it is held, and given back")] Arc<OwnedSemaphorePermit>,
);

/// The part of a server that accepts connections.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) router: Router,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
    /// True once the server ends.
    pub(super) ending: watch::Receiver<bool>,
}

impl Doors {
    /// Accepts connections at an address.
    pub(super) async fn at_address(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        let mut ending = self.ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ending.changed() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Answers are short, and wait for nothing.
                    let _ = stream.set_nodelay(true);
                    self.admit(&room, stream);
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
        self.wait_for_all(&room).await;
    }

    /// Accepts connections at the control socket.
    pub(super) async fn at_socket(self, listener: UnixListener) {
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        let mut ending = self.ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ending.changed() => break,
            };
            match accepted {
                Ok((stream, _)) => self.admit(&room, stream),
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
        self.wait_for_all(&room).await;
    }

    fn admit(&self, room: &Arc<Semaphore>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Ok(place) = room.clone().try_acquire_owned() else {
            self.metrics.refused_connection();
            return;
        };
        let doors = self.clone();
        tokio::spawn(async move {
            doors.serve(stream, ConnectionPlace(Arc::new(place))).await;
        });
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, place: ConnectionPlace) {
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
            router.call(request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = self.ending.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    /// Lets answers that are on their way arrive.
    async fn wait_for_all(&self, room: &Semaphore) {
        let all = u32::try_from(self.bounds.connections).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(FAREWELL, room.acquire_many(all)).await;
    }
}
