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
    static PROCESS: OnceLock<[u8; 19]> = OnceLock::new();
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let mut id = *PROCESS.get_or_init(|| {
        let mut id = *b"00000000-0000000000";
        let process = RandomState::new().hash_one(std::process::id()) as u32;
        hexadecimal(&process.to_be_bytes(), &mut id[..8]);
        id
    });
    let [_, _, _, count @ ..] = COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    hexadecimal(&count, &mut id[9..]);
    HeaderValue::from_bytes(&id).expect("hexadecimal digits are a header value")
}

/// The two digits of each byte.
const DIGITS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut all = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    all
};

/// Writes `bytes` as `digits`; formatting takes several times longer, and every request has an id.
fn hexadecimal(bytes: &[u8], digits: &mut [u8]) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&DIGITS[usize::from(*byte)]);
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
