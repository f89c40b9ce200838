//! The body of an answer on its way to the client. It is the end of a request: with it goes the request's place among those of
//! its connection.
//!
//! A large answer is handed to hyper piece by piece: over HTTP/1, hyper copies what it is given into a buffer that it never
//! makes smaller. What clients do not take is counted: over HTTP/1 the stream of the connection sees that, over HTTP/2 each
//! piece says when it is gone.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};

use crate::answer;
use crate::connections::hold::{Hold, LARGE, REQUEST};
use crate::connections::peer::Peer;
use crate::listener::InFlight;
use crate::receiving;

/// Bytes of a piece over HTTP/1: hyper's buffer takes one or two of them.
const PIECE: usize = 64 << 10;
/// Over HTTP/2, whose streams each have a buffer: a frame.
const FRAME: usize = 16 << 10;

/// A body that is being sent, and the request that it answers.
pub(crate) struct Sending<B> {
    /// The answer's, or a line of text in its place.
    body: Either<B, Full<Bytes>>,
    /// Only where the client may be waited for.
    watched: Option<Box<Watched>>,
    /// Last, so that the request ends when all else of it is gone.
    request: InFlight,
}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>> Sending<B> {
    /// An answer with its body on its way. A large one for which there is no room beside those that wait for other clients is
    /// dropped, and answered 503: so many requests may have been let in before the first of their answers was there.
    pub(crate) fn answer(answer: Response<B>, request: InFlight) -> Response<Sending<B>> {
        let length = answer.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
        if length.is_some_and(|length| length > LARGE && request.peer().has_no_room(length, request.is_one_of_many())) {
            let refusal = answer::refused(receiving::full());
            return refusal.map(|text| Sending::new(Either::Right(text), request));
        }
        answer.map(|body| Sending::new(Either::Left(body), request))
    }

    fn new(body: Either<B, Full<Bytes>>, request: InFlight) -> Sending<B> {
        let length = body.size_hint().exact();
        let is_small = length.is_some_and(|length| length <= LARGE as u64);
        let watched = if is_small && !request.is_one_of_many() {
            None
        } else {
            Some(Box::new(Watched::new(request.peer(), length, request.is_one_of_many())))
        };
        Sending { body, watched, request }
    }
}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin> Body for Sending<B> {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(watched) = &mut this.watched else {
            return Pin::new(&mut this.body).poll_frame(context).map_err(Into::into);
        };
        let peer = this.request.peer();
        if watched.is_too_slow(peer) {
            return Poll::Ready(Some(Err("the client reads more slowly than `--minRate` allows".into())));
        }
        if watched.rest.is_empty() {
            let polled = Pin::new(&mut this.body).poll_frame(context).map_err(Into::into);
            let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
            match frame.into_data() {
                Ok(data) => watched.take(data, peer),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(watched.hand_out(peer)))))
    }

    fn is_end_stream(&self) -> bool {
        self.watched.as_ref().is_none_or(|watched| watched.rest.is_empty()) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Sending<B> {
    fn drop(&mut self) {
        if self.watched.is_some() {
            self.request.peer().answer_waits(false);
        }
    }
}

/// An answer that the client may take slowly.
struct Watched {
    /// For what was not handed out yet.
    hold: Hold,
    is_http2: bool,
    rest: Bytes,
    /// When `rest` began to be handed out, and how much was.
    began: u64,
    sent: u64,
}

impl Watched {
    fn new(peer: &Arc<Peer>, length: Option<u64>, is_http2: bool) -> Watched {
        let mut hold = peer.hold();
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        hold.set(length.saturating_add(REQUEST));
        if !is_http2 {
            peer.is_large();
        }
        peer.answer_waits(true);
        Watched { hold, is_http2, rest: Bytes::new(), began: 0, sent: 0 }
    }

    /// More is asked for. True when the client took too long for what it got. Lines that come slowly are not its fault: only
    /// what was there already counts.
    fn is_too_slow(&self, peer: &Peer) -> bool {
        let limits = peer.limits();
        let (Some(limit), Some(_), false) = (limits.write, limits.rate, self.rest.is_empty()) else { return false };
        peer.is_over(self.began, limits.time_for(limit, self.sent))
    }

    fn take(&mut self, data: Bytes, peer: &Peer) {
        self.rest = data;
        self.began = peer.now();
        self.sent = 0;
    }

    fn hand_out(&mut self, peer: &Arc<Peer>) -> Bytes {
        let most = if self.is_http2 { FRAME } else { PIECE };
        let bytes = self.rest.split_to(self.rest.len().min(most));
        self.sent += bytes.len() as u64;
        if self.is_http2 { Piece::of(bytes, peer, &mut self.hold, self.rest.len()) } else { bytes }
    }
}

/// Bytes of an answer that hyper has and HTTP/2 has not sent.
struct Piece {
    bytes: Bytes,
    hold: Hold,
}

impl Piece {
    fn of(bytes: Bytes, peer: &Arc<Peer>, whole: &mut Hold, rest: usize) -> Bytes {
        let mut hold = peer.hold();
        hold.set(bytes.len());
        whole.set(rest + REQUEST);
        peer.handed();
        Bytes::from_owner(Piece { bytes, hold })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.hold.peer().taken();
    }
}
