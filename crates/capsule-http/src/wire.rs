//! The stream of a connection, which tells [`Peer`] what goes on: bytes that come, and bytes that the client does not take.
//!
//! It also carries out what only a stream can: answer a head that never came, end a connection that has nothing to do
//! when the server stops, and one whose client went away while an answer is made that nobody else needs.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connections::peer::{Order, Peer};

/// The first bytes of HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The answer to a head that did not come in time.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\ncontent-length: 71\r\n\r\n\
    the head of the request did not arrive in time (flag `--headerTimeout`)";

/// A stream that knows whether its socket holds bytes that nobody has read.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// True when the system has bytes of the client that were not read yet.
    fn has_unread(&self) -> bool;

    /// Whether the client is still there, without reading.
    fn look_for_client(&self, context: &mut Context<'_>) -> Client;
}

/// What can be seen of a client without reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// There; the task is woken when it goes.
    There,
    /// There, and nobody is woken when it goes: it has sent something that is not read yet, or may have.
    Hidden,
    /// It has ended the stream.
    Gone,
}

impl Socket for TcpStream {
    #[cfg(unix)]
    fn has_unread(&self) -> bool {
        rustix::io::ioctl_fionread(self).is_ok_and(|bytes| bytes > 0)
    }

    #[cfg(not(unix))]
    fn has_unread(&self) -> bool {
        false
    }

    fn look_for_client(&self, context: &mut Context<'_>) -> Client {
        let mut byte = [0];
        match self.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => Client::There,
            Poll::Ready(Ok(0) | Err(_)) => Client::Gone,
            // One more request, and maybe the end behind it.
            Poll::Ready(Ok(1..)) => end_of(self, context),
        }
    }
}

impl Socket for TlsStream<TcpStream> {
    fn has_unread(&self) -> bool {
        self.get_ref().0.has_unread()
    }

    /// What has come is encrypted: not even whether it is one more request can be seen.
    fn look_for_client(&self, context: &mut Context<'_>) -> Client {
        end_of(self.get_ref().0, context)
    }
}

/// Whether the client has ended the stream behind what is not read yet, as far as the system has told.
fn end_of(stream: &TcpStream, context: &mut Context<'_>) -> Client {
    match pin!(stream.ready(Interest::READABLE)).poll(context) {
        Poll::Ready(Ok(ready)) if ready.is_read_closed() => Client::Gone,
        _ => Client::Hidden,
    }
}

/// A stream that is watched.
pub(crate) struct Wire<S> {
    stream: S,
    peer: Arc<Peer>,
    /// How much of HTTP/2's preface has come; `None` once the protocol is known.
    preface: Option<usize>,
    /// The client takes less than there is: of writes, and of what an encrypted stream has written for itself.
    write_stalls: bool,
    flush_stalls: bool,
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, peer: Arc<Peer>) -> Wire<S> {
        Wire { stream, peer, preface: Some(0), write_stalls: false, flush_stalls: false }
    }

    /// Looks at the first bytes of a connection until they tell which protocol it speaks.
    fn look(&mut self, new: &[u8]) {
        let Some(seen) = self.preface else { return };
        let rest = &PREFACE[seen..];
        let length = rest.len().min(new.len());
        if new[..length] != rest[..length] {
            self.preface = None;
        } else if length == rest.len() {
            self.preface = None;
            self.peer.speaks_http2();
        } else {
            self.preface = Some(seen + length);
        }
    }

    /// Notes what became of a write of `wanted` bytes.
    fn wrote(&mut self, wanted: usize, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(written)) if *written >= wanted => {
                if self.write_stalls {
                    self.write_stalls = false;
                    self.caught_up();
                }
            }
            Poll::Ready(Ok(written)) => {
                self.stall(true);
                self.peer.progressed(*written);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.stall(true),
        }
    }

    fn stall(&mut self, by_write: bool) {
        if !self.write_stalls && !self.flush_stalls {
            self.peer.stalled();
        }
        if by_write {
            self.write_stalls = true;
        } else {
            self.flush_stalls = true;
        }
    }

    fn caught_up(&self) {
        if !self.write_stalls && !self.flush_stalls {
            self.peer.caught_up();
        }
    }
}

impl<S: Socket> Wire<S> {
    /// What comes of a read that found nothing, when the connection was told something.
    fn told(&mut self, order: Order, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match order {
            Order::TimeOut => {
                // The socket has room: nothing was written to it since the last answer was read.
                if self.preface.is_none() && !self.peer.is_http2() {
                    let _ = Pin::new(&mut self.stream).poll_write(context, TIMED_OUT);
                    let _ = Pin::new(&mut self.stream).poll_flush(context);
                }
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            // As if the client had closed it. What is on its way in the system is read first.
            Order::Stop if self.peer.calls() == 0 && !self.peer.is_http2() && !self.stream.has_unread() => {
                Poll::Ready(Ok(()))
            }
            _ => Poll::Pending,
        }
    }
}

impl<S: Socket> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        match &read {
            Poll::Pending => match this.peer.order() {
                Order::Serve => read,
                order => this.told(order, context),
            },
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                if this.preface.is_some() {
                    this.look(&buffer.filled()[before..]);
                }
                this.peer.bytes_came();
                read
            }
            Poll::Ready(_) => read,
        }
    }
}

impl<S: Socket> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(bytes.len(), &written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Here, since this is what is done last each time that an answer does not come yet.
        if self.peer.ends_with_client() && !self.peer.is_http2() {
            let client = self.stream.look_for_client(context);
            if client == Client::Gone {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            self.peer.client_is_hidden(client == Client::Hidden);
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        match &flushed {
            Poll::Pending => self.stall(false),
            Poll::Ready(_) if self.flush_stalls => {
                self.flush_stalls = false;
                self.caught_up();
            }
            Poll::Ready(_) => {}
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(slices.iter().map(|slice| slice.len()).sum(), &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::connections::Connections;
    use crate::connections::limits::of_tests;
    use crate::connections::peer::Phase;

    impl Socket for DuplexStream {
        fn has_unread(&self) -> bool {
            false
        }

        fn look_for_client(&self, _: &mut Context<'_>) -> Client {
            Client::There
        }
    }

    fn wire(size: usize) -> (DuplexStream, Wire<DuplexStream>, Arc<Peer>) {
        let peer = Connections::new(of_tests()).open(([127, 0, 0, 1], 1).into(), Phase::New);
        let (client, server) = tokio::io::duplex(size);
        (client, Wire::new(server, Arc::clone(&peer)), peer)
    }

    async fn check(pieces: &[&[u8]], known: bool, is_http2: bool) {
        let (mut client, mut server, peer) = wire(64);
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            let mut bytes = vec![0; piece.len()];
            server.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, *piece);
        }
        assert_eq!((server.preface.is_none(), peer.is_http2()), (known, is_http2), "{pieces:?}");
        assert_eq!(peer.phase(), if is_http2 { Phase::Idle } else { Phase::New });
    }

    #[tokio::test]
    async fn the_protocol_is_seen() {
        check(&[], false, false).await;
        check(&[b"P", b"RI * HT"], false, false).await;
        check(&[b"G"], true, false).await;
        check(&[b"POST"], true, false).await;
        check(&[PREFACE], true, true).await;
        check(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n more"], true, true).await;
        check(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\rx"], true, false).await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_seen() {
        let (mut client, mut server, peer) = wire(10);
        peer.call_began(false);
        peer.call_ended(false);
        server.write_all(&[0; 10]).await.unwrap();
        assert!(peer.is_idle());
        let mut write = Box::pin(server.write_all(&[0; 15]));
        assert!(futures_util::poll!(&mut write).is_pending());
        assert!(!peer.is_idle());
        client.read_exact(&mut [0; 10]).await.unwrap();
        assert!(futures_util::poll!(&mut write).is_pending());
        client.read_exact(&mut [0; 10]).await.unwrap();
        write.await.unwrap();
        assert!(peer.is_idle());
    }

    #[tokio::test]
    async fn a_head_that_did_not_come_is_answered() {
        let (mut client, mut server, peer) = wire(1000);
        client.write_all(b"GET / HT").await.unwrap();
        server.read_exact(&mut [0; 8]).await.unwrap();
        peer.tell(Order::TimeOut);
        assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 ") && head.ends_with(&format!("\r\ncontent-length: {}", body.len())));
        assert!(body.ends_with("(flag `--headerTimeout`)"), "{body}");

        // One that said nothing is told nothing.
        let (mut client, mut server, peer) = wire(1000);
        peer.tell(Order::TimeOut);
        server.read(&mut [0]).await.unwrap_err();
        drop(server);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_stop_ends_what_is_idle_and_no_call() {
        let (_client, mut server, peer) = wire(10);
        peer.call_began(false);
        peer.tell(Order::Stop);
        assert!(futures_util::poll!(Box::pin(server.read(&mut [0]))).is_pending());
        peer.call_ended(false);
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    }
}
