//! Accepting connections until the server is asked to stop, and serving each. One connection's error ends that one only.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::connections::peer::{Order, Peer, Phase};
use crate::connections::{Connections, Open};
use crate::sending::Sending;
use crate::wire::{Socket, Wire};

/// The pause after an error that the next attempt would meet too, such as no free descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause when a connection was closed so that the next attempt may succeed.
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// The pause between two lines in the log about them.
const COMPLAINTS: Duration = Duration::from_secs(10);
/// Streams that an HTTP/2 client may have open.
const MAX_STREAMS: u32 = 200;
/// Bytes of each of a connection's two buffers over HTTP/1, and so of a request's head.
const BUFFER: usize = 64 << 10;
/// Connections that the system has accepted at the moment of a stop, and that are served still: more than it keeps.
const MAX_BACKLOG: usize = 8192;

/// What answers the requests of all connections.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;

    /// Answers a request, always.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;
}

/// A listening socket.
pub(crate) struct Listener {
    socket: TcpListener,
    server: Arc<Server>,
    /// When it was last logged that connections cannot be accepted.
    complained: Mutex<Option<Instant>>,
}

/// What connections need.
struct Server {
    tls: Option<TlsAcceptor>,
    connections: Connections,
    builder: Builder<TokioExecutor>,
}

impl Listener {
    /// A client that has nothing more to send, or hung up, still has its request answered, unless [`Peer::end_with_client`]
    /// says otherwise; with `may_end`, that is said of some.
    pub(crate) fn new(
        socket: TcpListener,
        tls: Option<TlsAcceptor>,
        connections: Connections,
        may_end: bool,
    ) -> Listener {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            // All connections are watched over together: a timer for each request takes time.
            .header_read_timeout(None)
            .max_buf_size(BUFFER)
            // Small answers are copied into one write. Never `pipeline_flush`: with it, hyper keeps all that a client does
            // not read, and does not answer what it cannot parse.
            .writev(false)
            // Else hyper looks for the end of every client, for which it needs a new buffer. A plain stream finds those that
            // matter; an encrypted one would have to read.
            .half_close(tls.is_none() || !may_end);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        Listener { socket, server: Arc::new(Server { tls, connections, builder }), complained: Mutex::new(None) }
    }

    /// Serves until `stop` resolves. Then no connection is accepted any more, but those that the system has accepted: they,
    /// and those that are open, finish what they have begun, for which [`Connections::shutdown`] waits.
    pub(crate) async fn serve<A: Answers>(self, app: &Arc<A>, stop: impl Future<Output = ()>) {
        let connections = &self.server.connections;
        tokio::spawn(connections.watch());
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.accept() => accepted,
            };
            let Some((stream, address)) = accepted else { continue };
            let is_stopping = tokio::select! {
                biased;
                () = connections.room() => false,
                () = &mut stop => true,
            };
            self.server.spawn(app, stream, address);
            if is_stopping {
                break;
            }
        }
        connections.stop();
        let Ok(socket) = self.socket.into_std() else { return };
        for _ in 0..MAX_BACKLOG {
            let Ok((stream, address)) = socket.accept() else { return };
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.server.spawn(app, stream, address);
            }
        }
    }

    /// The next connection; `None` after an error, which is never the end.
    async fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        match self.socket.accept().await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                // A connection that was gone before it was accepted concerns nobody else.
                let gone = matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionRefused
                );
                if !gone {
                    self.complain(&error);
                    // Where descriptors are short, one that nobody needs is given back.
                    let pause = if self.server.connections.close_one() { SHORT_PAUSE } else { PAUSE };
                    tokio::time::sleep(pause).await;
                }
                None
            }
        }
    }

    /// The same trouble comes back ten times a second: one line for a while of it.
    fn complain(&self, error: &io::Error) {
        let mut last = self.complained.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= COMPLAINTS) {
            *last = Some(Instant::now());
            tracing::warn!("cannot accept connections: {error}");
        }
    }
}

impl Server {
    /// Serves a connection in a task of its own.
    fn spawn<A: Answers>(self: &Arc<Self>, app: &Arc<A>, stream: TcpStream, address: SocketAddr) {
        // A call's answer is one write: waiting for more to send only delays it.
        let _ = stream.set_nodelay(true);
        let phase = if self.tls.is_some() { Phase::Handshake } else { Phase::New };
        let open = Open(self.connections.open(address, phase));
        let (server, app) = (Arc::clone(self), Arc::clone(app));
        // Two kinds of tasks: an idle connection takes as much memory as its future.
        if server.tls.is_some() {
            tokio::spawn(async move {
                let Open(peer) = &open;
                let Some(tls) = &server.tls else { return };
                let stream = until_cut(peer, pin!(tls.accept(stream))).await;
                let Some(Ok(stream)) = stream else { return };
                peer.enter(Phase::New);
                server.serve(app, stream, peer).await;
            });
        } else {
            tokio::spawn(async move { server.serve(app, stream, &open.0).await });
        }
    }

    async fn serve<A: Answers, S: Socket + Send + 'static>(&self, app: Arc<A>, stream: S, peer: &Arc<Peer>) {
        let of_requests = Arc::clone(peer);
        let service = service_fn(move |request: Request<Incoming>| {
            let flight = InFlight::new(&of_requests, request.version());
            let answer = Arc::clone(&app).answer(request, Arc::clone(&of_requests));
            answer.map(|answer| Ok::<_, Infallible>(Sending::answer(answer, flight)))
        });
        let stream = TokioIo::new(Wire::new(stream, Arc::clone(peer)));
        let connection = pin!(self.builder.serve_connection(stream, service));
        if let Some(Err(error)) = attend(peer, connection).await {
            tracing::debug!(peer = %peer.address(), "connection ended: {error}");
        }
    }
}

/// Serves a connection to its end, or until it is cut.
async fn attend<C: GracefulConnection>(peer: &Peer, mut connection: Pin<&mut C>) -> Option<C::Output> {
    let mut is_finishing = false;
    std::future::poll_fn(|context| {
        peer.attend(context);
        let order = peer.order();
        if order == Order::Cut || (order == Order::Yield && !is_finishing && !peer.is_in_call()) {
            return Poll::Ready(None);
        }
        // A stop has to be told to calls, whose answers say so, and to HTTP/2. All else ends when there is nothing to read:
        // a request that the client has sent is on its way.
        let finishes = || match order {
            Order::Finish | Order::Yield => true,
            Order::Stop => peer.calls() > 0 || peer.is_http2(),
            Order::Serve | Order::TimeOut | Order::Cut => false,
        };
        if !is_finishing && finishes() {
            is_finishing = true;
            connection.as_mut().graceful_shutdown();
        }
        let polled = connection.as_mut().poll(context);
        if polled.is_pending() && !is_finishing && finishes() {
            is_finishing = true;
            connection.as_mut().graceful_shutdown();
            context.waker().wake_by_ref();
        }
        polled.map(Some)
    })
    .await
}

/// The output of a future, or none when the connection is cut first.
async fn until_cut<F: Future>(peer: &Peer, mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        peer.attend(context);
        if matches!(peer.order(), Order::Yield | Order::Cut) {
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// A request, from its head to the end of its answer.
pub(crate) struct InFlight {
    peer: Arc<Peer>,
    is_one_of_many: bool,
}

impl InFlight {
    fn new(peer: &Arc<Peer>, version: Version) -> InFlight {
        let is_one_of_many = version == Version::HTTP_2;
        peer.call_began(is_one_of_many);
        InFlight { peer: Arc::clone(peer), is_one_of_many }
    }

    /// On which connection.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Others may be in flight on the same connection: it speaks HTTP/2.
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.is_one_of_many
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.peer.call_ended(self.is_one_of_many);
    }
}
