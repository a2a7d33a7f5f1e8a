//! A host that is up: what would meet its lock speaks to it, over the control socket in the state's folder.

use std::{os::unix::net::UnixStream, path::Path};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::{cli::Usage, serve::SOCKET};

/// A host that runs a state, and listens at its control socket.
pub(crate) struct RunningHost(UnixStream);

impl RunningHost {
    /// Finds the host that runs the state in this folder, if there is one.
    pub(crate) fn of(dir: &Path) -> Option<RunningHost> {
        UnixStream::connect(dir.join(SOCKET)).ok().map(RunningHost)
    }

    /// Has the host do something, and returns its answer.
    ///
    /// # Errors
    ///
    /// The host refuses it, or ends.
    pub(crate) fn ask(self, path: &str, what: &Value) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (status, body) = runtime.block_on(self.exchange(path, what)).context("speak to the running host")?;
        let value: Value = serde_json::from_slice(&body).context("read the running host's answer")?;
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let detail = value["detail"].as_str().unwrap_or_default().to_owned();
        if status < 500 {
            return Err(Usage::new(detail, "the host that runs this state said so").into());
        }
        bail!("the running host: {detail}")
    }

    async fn exchange(self, path: &str, what: &Value) -> anyhow::Result<(u16, Bytes)> {
        self.0.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(self.0)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(what.to_string())))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
