//! Bytes that the server holds for clients: bodies that arrive, documents of calls that wait, answers that are not read.
//!
//! They are counted where they are large or where they wait, and have one limit together: `--maxBuffered`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::peer::Peer;

/// Shorter documents and answers are not counted: they are gone in a moment, and bounded by the number of calls.
pub(crate) const LARGE: usize = 64 << 10;
/// What a request costs whose body is waited for: its head, the tables around it.
pub(crate) const REQUEST: usize = 4 << 10;

/// Bytes that are held because of a connection, until this value is dropped.
pub(crate) struct Hold {
    peer: Arc<Peer>,
    bytes: usize,
}

impl Hold {
    /// Because of whom.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Holds more; `false`, and no more than before, when that is too much.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let shared = &self.peer.shared;
        let before = shared.held.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > shared.limits.buffered {
            shared.held.fetch_sub(bytes, Relaxed);
            shared.is_too_much();
            return false;
        }
        self.peer.held.fetch_add(bytes, Relaxed);
        self.bytes += bytes;
        true
    }

    /// Makes it this many bytes, whether that is too much or not.
    pub(crate) fn set(&mut self, bytes: usize) {
        let shared = &self.peer.shared;
        let held = if bytes >= self.bytes {
            self.peer.held.fetch_add(bytes - self.bytes, Relaxed);
            shared.held.fetch_add(bytes - self.bytes, Relaxed).saturating_add(bytes - self.bytes)
        } else {
            self.peer.held.fetch_sub(self.bytes - bytes, Relaxed);
            shared.held.fetch_sub(self.bytes - bytes, Relaxed)
        };
        self.bytes = bytes;
        if held > shared.limits.buffered {
            shared.is_too_much();
        }
    }

    /// A document that is held until it is dropped; `None` when that is too much.
    pub(crate) fn keep(mut self, document: Vec<u8>) -> Option<Bytes> {
        match document.len().checked_sub(self.bytes) {
            Some(more) if !self.grow(more) => return None,
            Some(_) => {}
            None => self.set(document.len()),
        }
        Some(Bytes::from_owner(Kept { bytes: document, _hold: self }))
    }

    /// A body that is held already, and is until it is dropped.
    pub(crate) fn keep_body(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes: body, _hold: self })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.peer.held.fetch_sub(self.bytes, Relaxed);
        self.peer.shared.held.fetch_sub(self.bytes, Relaxed);
    }
}

struct Kept<B> {
    bytes: B,
    _hold: Hold,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Kept<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl Peer {
    /// Holds nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        Hold { peer: Arc::clone(self), bytes: 0 }
    }

    /// True when this many bytes more are too much beside what is held for others; of a connection with `many` requests, which
    /// are each other's others, beside all that is held.
    pub(crate) fn has_no_room(&self, bytes: usize, many: bool) -> bool {
        let own = if many { 0 } else { self.held.load(Relaxed) };
        let others = self.shared.held.load(Relaxed).saturating_sub(own);
        let is_too_much = others > 0 && others.saturating_add(bytes) > self.shared.limits.buffered;
        if is_too_much {
            self.shared.is_too_much();
        }
        is_too_much
    }

    /// True when no more may be held: what is done now could only add to it.
    pub(crate) fn is_server_full(&self) -> bool {
        let is_full = self.shared.held.load(Relaxed) >= self.shared.limits.buffered;
        if is_full {
            self.shared.is_too_much();
        }
        is_full
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::of_tests;
    use super::super::peer::Phase;
    use super::super::{Connections, Open};
    use super::*;

    #[test]
    fn all_that_is_held_has_one_limit() {
        let connections = Connections::new(of_tests());
        let limit = of_tests().buffered;
        let [one, two] = [1, 2].map(|port| Open(connections.open(([127, 0, 0, 1], port).into(), Phase::New)));
        let (mut first, mut second) = (one.0.hold(), two.0.hold());
        assert!(first.grow(limit - 10));
        assert!(!second.grow(11) && second.grow(9), "one byte is left");
        assert!(!two.0.is_server_full());
        // What is made already is held in any case.
        second.set(10);
        assert_eq!((connections.held(), two.0.is_server_full()), (limit, true));
        assert!(second.keep(vec![0; 11]).is_none());
        assert_eq!(connections.held(), limit - 10, "and it is gone");
        assert!(two.0.has_no_room(11, false) && !two.0.has_no_room(10, false));
        assert!(one.0.has_no_room(11, true) && !one.0.has_no_room(limit, false), "nothing is held for others");
        let document = two.0.hold().keep(vec![0; 10]).unwrap();
        assert_eq!(connections.held(), limit);
        assert!(two.0.has_no_room(11, false) && !two.0.has_no_room(10, false), "its own does not count");
        assert!(two.0.has_no_room(1, true));
        let slice = document.slice(..5);
        drop(document);
        assert_eq!(connections.held(), limit, "a part of it lives");
        drop(slice);
        let document = first.keep(vec![0; 5]).unwrap();
        assert_eq!(connections.held(), 5, "a body may be longer than its document");
        drop(document);
        assert_eq!((connections.held(), one.0.held.load(Relaxed), two.0.held.load(Relaxed)), (0, 0, 0));
    }
}
