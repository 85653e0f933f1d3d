//! The async side of a channel.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use crate::topology::ids::HostName;

/// A byte stream to a socket or a process on a host.
///
/// Writing waits when the host does not keep up. `shutdown` ends this direction only, after everything written has gone out;
/// dropping the stream closes the channel at once, and what the host had no room for is lost. A read of zero bytes is the
/// host's own end of data: a broken connection is an error instead.
#[derive(Debug)]
pub struct SshStream {
    pub(super) host: HostName,
    pub(super) inner: UnixStream,
    pub(super) clean: Arc<AtomicBool>,
    pub(super) lost: Arc<OnceLock<String>>,
}

impl AsyncRead for SshStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let ended = match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => buf.filled().len() == before && buf.remaining() > 0,
            // A socket pair that is closed over unread data resets; here that is what the host did not want to read.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => true,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
        };
        if !ended || self.clean.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let reason = self.lost.get().map_or("the channel was closed", String::as_str);
        let message = format!("{}: connection lost: {reason}", self.host);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, message)))
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
