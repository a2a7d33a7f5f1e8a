//! A connection whose other end has to read: what it takes no byte of for a while is over.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A stream that fails with `TimedOut` once nothing could be written for so long.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// The end of the patience, while something waits to be written.
    end: Pin<Box<Sleep>>,
    is_stuck: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient { stream, patience, end: Box::pin(sleep(patience)), is_stuck: false }
    }

    /// Passes on what became of a write, unless it has waited for too long.
    fn bounded<T>(&mut self, done: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.is_stuck = false;
            return done;
        }
        if !std::mem::replace(&mut self.is_stuck, true) {
            let end = Instant::now() + self.patience;
            self.end.as_mut().reset(end);
        }
        self.end.as_mut().poll(context).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(done, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.bounded(done, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(done, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(done, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work)
    }

    #[test]
    fn whoever_never_reads_is_cut_off_and_whoever_reads_is_not() {
        block_on(async {
            let (ours, _theirs) = duplex(100);
            let mut stream = Patient::new(ours, Duration::from_millis(20));
            let stuck = stream.write_all(&[7; 1_000]).await.expect_err("nobody reads");
            assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
            // Each byte that is read is a sign of life.
            let (ours, mut theirs) = duplex(100);
            let mut stream = Patient::new(ours, Duration::from_secs(60));
            let (mut read, mut buffer) = (0, [0; 10]);
            let reader = async {
                while read < 900 {
                    read += theirs.read(&mut buffer).await.expect("it is open");
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let (written, ()) = tokio::join!(stream.write_all(&[7; 900]), reader);
            written.expect("somebody reads");
        });
    }
}
