//! Frames, packed results, heads and records of exchanges: whatever bytes come, nothing panics, and what decodes encodes to the
//! same.

#![no_main]

use std::borrow::Cow;

use capsule_abi::exchange::{self, RECORD, RequestHead, read_request, read_response};
use capsule_abi::frame::{self, FrameError, Packed};
use capsule_abi::headers::canonical;
use capsule_abi::request::RequestParts;
use capsule_abi::response::STATUSES;
use libfuzzer_sys::fuzz_target;

/// Fields of a request's head that are known.
const FIELDS: u32 = 6;

fuzz_target!(|bytes: &[u8]| {
    frames(bytes);
    records(bytes);
    requests(bytes);
    responses(bytes);
});

fn frames(bytes: &[u8]) {
    match frame::decode(bytes) {
        Ok(result) => assert_eq!(frame::encode(result), bytes),
        Err(FrameError::Empty) => assert!(bytes.is_empty()),
        Err(error @ FrameError::UnknownByte(byte)) => {
            assert_eq!(bytes[0], byte);
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}

fn records(bytes: &[u8]) {
    let Some(record) = bytes.first_chunk::<RECORD>() else { return };
    let parts = exchange::read_record(record);
    assert_eq!(&exchange::write_record(parts), record);
    for part in parts {
        assert_eq!(Packed::from_u64(part.to_u64()), part);
        for size in [0, bytes.len(), 1 << 16, 1 << 32] {
            let Some(range) = part.range(size) else { continue };
            assert!(range.end <= size && range.len() == part.length as usize);
        }
    }
}

fn requests(bytes: &[u8]) {
    let Ok(head) = read_request(bytes) else { return };
    exact(bytes, |head| read_request(head).is_ok());
    let (count, most) = head.headers().size_hint();
    assert!(head.headers().count() == count && most == Some(count));
    let shown = head.canonical_headers();
    assert_eq!(shown.len(), count);
    assert!(shown.iter().all(|(name, _)| canonical(name) == **name));
    assert_eq!(head.uri(), format!("{}://{}{}", head.scheme(), head.host(), head.path()));
    // Names are text for who writes a head.
    let Some(written) = write(&head) else { return };
    let again = read_request(&written).expect("what is written is read");
    assert!(again.headers().eq(head.headers()));
    assert_eq!(fields(&again), fields(&head));
    assert_eq!(write(&again).as_ref(), Some(&written));
    // Bytes that are no text have become U+FFFD.
    let exact = fields(&head).iter().all(|field| !field.contains('\u{fffd}'));
    if bytes.starts_with(&FIELDS.to_le_bytes()) && exact {
        assert_eq!(written, bytes);
    }
}

fn fields<'a>(head: &RequestHead<'a>) -> [Cow<'a, str>; FIELDS as usize] {
    [head.method(), head.scheme(), head.host(), head.path(), head.request_id(), head.target()]
}

fn write(head: &RequestHead<'_>) -> Option<Vec<u8>> {
    let pairs = head.headers().map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
    let pairs = pairs.collect::<Option<Vec<_>>>()?;
    let [method, scheme, host, path, request_id, target] = &fields(head);
    let parts = RequestParts { method, scheme, host, path, query: None, request_id, target: Some(target), body: b"" };
    Some(exchange::request(&parts, || pairs.iter().copied()))
}

fn responses(bytes: &[u8]) {
    let Ok(head) = read_response(bytes) else { return };
    assert!(STATUSES.contains(&head.status) && !exchange::is_failure(bytes));
    assert_eq!(head.identity, &bytes[4..]);
    exact(bytes, |head| read_response(head).is_ok());
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let Some(pairs) = head.headers.map(|(name, value)| Some((text(name)?, text(value)?))).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let mut out = Vec::new();
    exchange::write_response(&mut out, head.status, pairs.into_iter());
    assert_eq!(out, bytes);
}

/// A head that is read is not read when it is a byte shorter or longer.
fn exact(head: &[u8], reads: impl Fn(&[u8]) -> bool) {
    assert!(!reads(&head[..head.len() - 1]));
    assert!(!reads(&[head, b"x"].concat()));
}
