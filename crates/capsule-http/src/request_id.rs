//! The id of a request: the client's `X-Request-Id` when it is sane, else a new one.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The header in requests and answers.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids of clients are replaced: they end up in logs.
const MAX_LENGTH: usize = 128;

/// The id for a request with these headers.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.iter().find(|(name, _)| *name == HEADER).map(|(_, value)| value) {
        Some(value) if is_sane(value.as_bytes()) => value.clone(),
        _ => new(),
    }
}

fn is_sane(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= MAX_LENGTH && value.iter().all(u8::is_ascii_graphic)
}

/// Unlike those of other processes by its first half, counted within this one by its second.
fn new() -> HeaderValue {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()) as u32);
    let mut id = *b"00000000-0000000000";
    hexadecimal(u64::from(*process), &mut id[..8]);
    hexadecimal(COUNTER.fetch_add(1, Ordering::Relaxed), &mut id[9..]);
    HeaderValue::from_bytes(&id).expect("hexadecimal digits are a header value")
}

/// Fills `digits` from the right; formatting takes several times longer, and every request has an id.
fn hexadecimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, kept: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(given.as_bytes()).unwrap());
        assert_eq!(of(&headers) == given, kept, "{given}");
    }

    #[test]
    fn sane_ids_are_kept() {
        check("abc-123", true);
        check("", false);
        check("two words", false);
        check("é", false);
        check(&"x".repeat(129), false);
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
