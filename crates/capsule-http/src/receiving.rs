//! The body of a request on its way in, within limits of size, of time, and of what the server holds for all clients.

use std::borrow::{Borrow, Cow};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use hyper::StatusCode;
use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::{Instant, Sleep};

use crate::connections::Reason;
use crate::connections::hold::{Hold, REQUEST};
use crate::connections::peer::Peer;

/// Bytes by which more is held for a body that grows.
const STEP: usize = 16 << 10;
/// A body so long makes the buffers of a connection grow.
const LONG: usize = 32 << 10;

/// Why a request does not reach the module.
pub(crate) type Refused = (StatusCode, Cow<'static, str>);

/// A whole body, and what the server holds because of it: nothing where it came with its head.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    pub(crate) hold: Option<Hold>,
}

impl Received {
    /// The body, which is held for as long as anybody has it.
    pub(crate) fn held(self) -> Bytes {
        match self.hold {
            None => self.bytes,
            Some(hold) => hold.keep_body(self.bytes),
        }
    }
}

/// The whole body, or why it is refused; `advice` says what sets the limit.
pub(crate) async fn read(body: Incoming, limit: usize, advice: &str, peer: &Arc<Peer>) -> Result<Received, Refused> {
    let too_large = || too_large(limit, advice);
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut body = Pieces::new(body, peer);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let mut hold: Option<Hold> = None;
    let mut held = 0;
    while let Some(data) = body.next().await? {
        let so_far = first.as_ref().map_or(whole.len(), Bytes::len);
        let length = so_far + data.len();
        if length > limit {
            return Err(too_large());
        }
        if body.has_waited() && length + REQUEST > held {
            let more = (length + REQUEST - held).next_multiple_of(STEP);
            if !hold.get_or_insert_with(|| peer.hold()).grow(more) {
                return Err(full());
            }
            held += more;
            if length > LONG && !peer.is_http2() {
                peer.is_large();
            }
        }
        // A body that comes in one piece, as small ones do, is not copied.
        match (first.take(), whole.is_empty()) {
            (None, true) => first = Some(data),
            (Some(piece), _) => {
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&data);
            }
            (None, false) => whole.extend_from_slice(&data),
        }
    }
    Ok(Received { bytes: first.unwrap_or_else(|| whole.freeze()), hold })
}

/// The refusal of a body; `advice` says what sets the limit.
pub(crate) fn too_large(limit: usize, advice: &str) -> Refused {
    (StatusCode::PAYLOAD_TOO_LARGE, format!("the body exceeds the limit of {limit} bytes{advice}").into())
}

/// A request that the server has no room for.
pub(crate) fn full() -> Refused {
    let text = "the server holds as much for its clients as it may (flag `--maxBuffered`)";
    (StatusCode::SERVICE_UNAVAILABLE, text.into())
}

/// The bytes of a body, as they come; an error when it breaks off or takes too long. For those who do not keep them.
pub(crate) fn pieces(body: Incoming, peer: &Arc<Peer>) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + use<> {
    stream::try_unfold(Pieces::new(body, Arc::clone(peer)), |mut body| async move {
        let next = body.next().await.map_err(|(_, problem)| io::Error::other(problem))?;
        Ok(next.map(|data| (data, body)))
    })
}

/// A body piece by piece. `P` is a connection or a reference to one: most bodies need no more.
struct Pieces<P> {
    body: Incoming,
    peer: P,
    /// From the first moment at which the client is waited for.
    wait: Option<Wait>,
}

/// The client is waited for. Times are those of the connections' clock, which stands still while the process does.
struct Wait {
    /// Wakes this up when the time may be over; none where there is no limit.
    timer: Option<Pin<Box<Sleep>>>,
    began: u64,
    /// When the last piece came.
    last: u64,
    received: u64,
    peer: Arc<Peer>,
}

impl<P: Borrow<Arc<Peer>> + Unpin> Pieces<P> {
    fn new(body: Incoming, peer: P) -> Pieces<P> {
        Pieces { body, peer, wait: None }
    }

    fn has_waited(&self) -> bool {
        self.wait.is_some()
    }

    /// The next piece. Trailers are not passed on: nobody has a place for them.
    async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        loop {
            let frame = match std::future::poll_fn(|context| self.poll_frame(context)).await {
                Some(Ok(frame)) => frame,
                Some(Err(refused)) => return Err(refused),
                None => return Ok(None),
            };
            let Ok(data) = frame.into_data() else { continue };
            if let Some(wait) = &mut self.wait {
                wait.last = wait.peer.now();
                wait.received += data.len() as u64;
            }
            return Ok(Some(data));
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Refused>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(_))) => {
                Poll::Ready(Some(Err((StatusCode::BAD_REQUEST, "the body is broken off".into()))))
            }
            Poll::Pending => {
                let wait = self.wait.get_or_insert_with(|| Wait::new(self.peer.borrow()));
                wait.poll(context).map(|()| Some(Err(wait.over())))
            }
        }
    }
}

impl Wait {
    fn new(peer: &Arc<Peer>) -> Wait {
        peer.receiving(true);
        let timer = peer.limits().body.map(|limit| Box::pin(tokio::time::sleep(limit)));
        Wait { timer, began: peer.now(), last: peer.now(), received: 0, peer: Arc::clone(peer) }
    }

    /// Ready when the client took too long. The timer is set anew when it rings, not for each piece.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (Some(timer), Some(limit)) = (&mut self.timer, self.peer.limits().body) else { return Poll::Pending };
        while timer.as_mut().poll(context).is_ready() {
            let all = self.peer.limits().time_for(limit, self.received);
            if self.peer.is_over(self.last, limit) || self.peer.is_over(self.began, all) {
                return Poll::Ready(());
            }
            // The clock may be behind by as long as it takes until it is set again.
            let rest = |since, limit: Duration| limit.saturating_sub(Duration::from_micros(self.peer.now() - since));
            let rest = rest(self.last, limit).min(rest(self.began, all)).max(self.peer.tick());
            timer.as_mut().reset(Instant::now() + rest);
        }
        Poll::Pending
    }

    fn over(&self) -> Refused {
        self.peer.closed(Reason::Body);
        let limit = self.peer.limits().body.unwrap_or_default();
        let flag = if self.peer.is_over(self.last, limit) { "`--bodyTimeout`" } else { "`--minRate`" };
        (StatusCode::REQUEST_TIMEOUT, format!("the rest of the body did not arrive in time (flag {flag})").into())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.peer.receiving(false);
    }
}
