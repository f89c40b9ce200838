//! Accepting connections until the server is asked to stop. One connection's error ends that one only.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::first_bytes::FirstBytes;

/// A client has this long for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// And this long for a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The pause after an error that the next attempt would meet too, such as no free descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause between two lines in the log about them.
const COMPLAINTS: Duration = Duration::from_secs(10);
/// Streams that an HTTP/2 client may have open.
const MAX_STREAMS: u32 = 200;

/// What answers the requests of all connections.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers a request, always.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;
}

/// A listening socket with what connections need.
pub(crate) struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    permits: Arc<Semaphore>,
    connections: GracefulShutdown,
    builder: Builder<TokioExecutor>,
    /// When it was last logged that connections cannot be accepted.
    complained: Mutex<Option<Instant>>,
}

impl Listener {
    /// With `half_close`, a client that has nothing more to send, or hung up, still has its request answered; without, its
    /// call is cancelled.
    pub(crate) fn new(
        socket: TcpListener,
        tls: Option<TlsAcceptor>,
        max_connections: usize,
        half_close: bool,
    ) -> Listener {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            // Small answers are copied into one write. Never `pipeline_flush`: with it, hyper keeps all that a client does
            // not read, and does not answer what it cannot parse.
            .writev(false)
            .half_close(half_close);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        Listener {
            socket,
            tls,
            permits: Arc::new(Semaphore::new(max_connections)),
            connections: GracefulShutdown::new(),
            builder,
            complained: Mutex::new(None),
        }
    }

    /// Serves until `stop` resolves; then no connection is accepted any more, and the answer finishes those that are open.
    pub(crate) async fn serve<A: Answers>(self, app: &Arc<A>, stop: impl Future<Output = ()>) -> GracefulShutdown {
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => return self.connections,
                accepted = self.accept() => accepted,
            };
            let Some((stream, peer, permit)) = accepted else { continue };
            // A call's answer is one write: waiting for more to send only delays it.
            let _ = stream.set_nodelay(true);
            let app = Arc::clone(app);
            match self.tls.clone() {
                None => {
                    let connection = self.watch(FirstBytes::new(stream, HEAD_TIME), app, peer);
                    tokio::spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Some(tls) => {
                    let (builder, watcher) = (self.builder.clone(), self.connections.watcher());
                    tokio::spawn(async move {
                        if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
                            let connection = builder
                                .serve_connection(TokioIo::new(FirstBytes::new(stream, HEAD_TIME)), service(app, peer));
                            finish(watcher.watch(connection.into_owned()).await, peer);
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    /// The next connection; `None` after an error, which is never the end.
    async fn accept(&self) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        match self.socket.accept().await {
            Ok((stream, peer)) => Some((stream, peer, permit)),
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
                    tokio::time::sleep(PAUSE).await;
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

    fn watch<S, A>(&self, stream: S, app: Arc<A>, peer: SocketAddr) -> impl Future<Output = ()> + Send + use<S, A>
    where
        A: Answers,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = self.builder.serve_connection(TokioIo::new(stream), service(app, peer));
        let connection = self.connections.watch(connection.into_owned());
        async move { finish(connection.await, peer) }
    }
}

fn finish(result: Result<(), Box<dyn std::error::Error + Send + Sync>>, peer: SocketAddr) {
    if let Err(error) = result {
        tracing::debug!(%peer, "connection ended: {error}");
    }
}

/// The app as a service of one connection.
fn service<A: Answers>(
    app: Arc<A>,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<A::Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<A::Body>, Infallible>> + Send,
> {
    service_fn(move |request| Arc::clone(&app).answer(request, peer).map(Ok))
}
