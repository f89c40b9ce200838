//! A connection that has to say something soon.
//!
//! Which protocol a client speaks is known from its first bytes, and only then do the time limits of HTTP begin. Until then
//! this limit holds: a client that connects and is silent, or stops in the middle of HTTP/2's preface, is cut off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Length of the preface of HTTP/2 (RFC 9113 section 3.4).
const PREFACE: usize = 24;

/// A stream whose reads fail when the first bytes do not come in time.
pub(crate) struct FirstBytes<S> {
    stream: S,
    /// Gone once the protocol is known.
    timer: Option<Pin<Box<Sleep>>>,
    seen: usize,
}

impl<S> FirstBytes<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> FirstBytes<S> {
        FirstBytes { stream, timer: Some(Box::pin(tokio::time::sleep(limit))), seen: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(timer) = &mut this.timer else { return read };
        if read.is_pending() {
            return timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        let new = &buffer.filled()[before..];
        // Only `P` may begin the preface; `POST` and its like are told apart by HTTP/1 after a few bytes more.
        if (this.seen == 0 && new.first().is_some_and(|byte| *byte != b'P')) || this.seen + new.len() >= PREFACE {
            this.timer = None;
        }
        this.seen += new.len();
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn check(sent: &[u8], known: bool) {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = FirstBytes::new(server, Duration::from_millis(20));
        client.write_all(sent).await.unwrap();
        let mut bytes = vec![0; sent.len()];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, sent);
        assert_eq!(server.timer.is_none(), known, "{sent:?}");
        if !known {
            assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn silence_is_cut_off_and_speech_is_not() {
        check(b"", false).await;
        check(b"PRI * HT", false).await;
        check(b"G", true).await;
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true).await;
    }
}
