//! An HTTP exchange as bytes: the heads of `callHandleRequest` (docs/abi.md, section 3). Bodies are bytes beside them.
//!
//! A head is a table of 32-bit little-endian numbers and then bytes, without any separator:
//!
//! | head of | numbers | bytes |
//! |---|---|---|
//! | a request | count of fields, count of headers, the length of each field, the lengths of each header's name and value | the fields, then names and values in turn |
//! | a response | status, count of headers, the lengths of each header's name and value | names and values in turn |
//!
//! The fields of a request are, in this order: method, scheme, host, path with query, request id, target (empty unless the
//! runner cut a prefix off the path). More may follow; who does not know them passes over them. Nothing is aligned, nothing is
//! escaped: a head is written and read by copying.

use std::borrow::Cow;

use crate::DocumentError;
use crate::frame::Packed;
use crate::headers::{self, Header};
use crate::request::RequestParts;
use crate::response::STATUSES;

/// Fields of a request that this version knows.
const FIELDS: usize = 6;
/// Bytes of a number.
const WORD: usize = 4;
/// Bytes of the record that a result points to.
pub const RECORD: usize = 4 * WORD;
/// The status of a failure, whose body is its text.
pub const FAILURE: u32 = 0;

/// The head of a request. `headers` gives the same headers each time; names are written as they are given, which is in lower case
/// by runners.
#[must_use]
pub fn request<'a, H>(parts: &RequestParts<'_>, headers: impl Fn() -> H) -> Vec<u8>
where
    H: Iterator<Item = (&'a str, &'a [u8])>,
{
    let (mark, query) = parts.query.map_or(("", ""), |query| ("?", query));
    let target = parts.target.unwrap_or_default();
    let fields = [parts.method, parts.scheme, parts.host, parts.path, mark, query, parts.request_id, target];
    let (mut count, mut length) = (0, fields.iter().map(|field| field.len()).sum::<usize>());
    for (name, value) in headers() {
        count += 1;
        length += name.len() + value.len();
    }
    let numbers = [
        FIELDS,
        count,
        parts.method.len(),
        parts.scheme.len(),
        parts.host.len(),
        parts.path.len() + mark.len() + query.len(),
        parts.request_id.len(),
        target.len(),
    ];
    let mut table = [0; 8 * WORD];
    for (place, number) in table.chunks_exact_mut(WORD).zip(numbers) {
        place.copy_from_slice(&word(number));
    }
    // To the byte: what has no room left is shared as it is.
    let mut out = Vec::with_capacity(table.len() + count * 2 * WORD + length);
    out.extend_from_slice(&table);
    write_lengths(&mut out, headers());
    for field in fields {
        out.extend_from_slice(field.as_bytes());
    }
    write_bytes(&mut out, headers());
    out
}

/// Reads the head of a request; fields and headers borrow from it, and are looked at when they are asked for.
///
/// # Errors
/// When lengths and bytes do not fit each other.
pub fn read_request(head: &[u8]) -> Result<RequestHead<'_>, DocumentError> {
    let mut reader = Reader { what: "request", rest: head };
    let fields = reader.number()? as usize;
    let count = reader.number()? as usize;
    let fields = reader.take(fields.saturating_mul(WORD))?;
    let lengths = reader.take(count.saturating_mul(2 * WORD))?;
    let length = usize::try_from(sum(fields)).unwrap_or(usize::MAX);
    let texts = reader.take(length)?;
    let headers = reader.headers(lengths)?;
    Ok(RequestHead { fields, texts, headers })
}

/// The head of a request. What is not UTF-8 in a field, which runners do not send, becomes U+FFFD.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The length of each field.
    fields: &'a [u8],
    texts: &'a [u8],
    headers: Headers<'a>,
}

impl<'a> RequestHead<'a> {
    /// `GET`, `POST`, ...
    #[must_use]
    pub fn method(&self) -> Cow<'a, str> {
        self.field(0)
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> Cow<'a, str> {
        self.field(1)
    }

    /// Host, and port unless it is the scheme's own.
    #[must_use]
    pub fn host(&self) -> Cow<'a, str> {
        self.field(2)
    }

    /// Path, and query behind `?` when there is one, raw.
    #[must_use]
    pub fn path(&self) -> Cow<'a, str> {
        self.field(3)
    }

    /// Id of the call.
    #[must_use]
    pub fn request_id(&self) -> Cow<'a, str> {
        self.field(4)
    }

    /// Path and query that the client asked for, when the runner cut a prefix off; else empty.
    #[must_use]
    pub fn target(&self) -> Cow<'a, str> {
        self.field(5)
    }

    /// Every header for itself, in order.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The field at this place; empty when there are fewer.
    fn field(&self, index: usize) -> Cow<'a, str> {
        let (before, rest) = self.fields.split_at_checked(index * WORD).unwrap_or((self.fields, &[]));
        // All lengths together are within `texts`.
        let start = sum(before) as usize;
        let length = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        String::from_utf8_lossy(self.texts.get(start..start + length).unwrap_or_default())
    }

    /// The absolute URI.
    #[must_use]
    pub fn uri(&self) -> String {
        [&*self.scheme(), "://", &*self.host(), &*self.path()].concat()
    }

    /// The headers with canonical names; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn canonical_headers(&self) -> Vec<Header<'a>> {
        let name = |name| Cow::Owned(headers::canonical(&String::from_utf8_lossy(name)));
        self.headers.map(|(key, value)| (name(key), String::from_utf8_lossy(value))).collect()
    }
}

/// Appends the head of a response.
pub fn write_response<'a>(out: &mut Vec<u8>, status: u16, headers: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
    let headers = headers.map(|(name, value)| (name, value.as_bytes()));
    push(out, usize::from(status));
    push(out, headers.clone().count());
    write_lengths(out, headers.clone());
    write_bytes(out, headers);
}

/// Appends the head of a failure. Its body is its text.
pub fn write_failure(out: &mut Vec<u8>) {
    push(out, FAILURE as usize);
    push(out, 0);
}

/// Whether this is the head of a failure.
#[must_use]
pub fn is_failure(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|status| u32::from_le_bytes(*status) == FAILURE)
}

/// The head of a response, read.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'a> {
    /// One of [`STATUSES`].
    pub status: u16,
    /// The table and bytes of the headers: equal ones have equal headers.
    pub identity: &'a [u8],
    /// The headers in the module's order and case; not yet checked whether HTTP allows them.
    pub headers: Headers<'a>,
}

/// Reads the head of a response that is no failure.
///
/// # Errors
/// When lengths and bytes do not fit each other, or the status is outside [`STATUSES`].
pub fn read_response(head: &[u8]) -> Result<ResponseHead<'_>, DocumentError> {
    let mut reader = Reader { what: "response", rest: head };
    let status = reader.number()?;
    let identity = reader.rest;
    let count = reader.number()?;
    let lengths = reader.take((count as usize).saturating_mul(2 * WORD))?;
    let headers = reader.headers(lengths)?;
    let status = u16::try_from(status)
        .ok()
        .filter(|status| STATUSES.contains(status))
        .ok_or_else(|| DocumentError::new(format!("the status is {status}, expected 200 to 999")))?;
    Ok(ResponseHead { status, identity, headers })
}

/// Where head and body of an answer lie in the module's memory: what the result of `callHandleRequest` points to.
#[must_use]
pub fn read_record(record: &[u8; RECORD]) -> [Packed; 2] {
    let mut numbers = numbers(record);
    std::array::from_fn(|_| Packed {
        pointer: numbers.next().unwrap_or_default(),
        length: numbers.next().unwrap_or_default(),
    })
}

/// The record that says where head and body of an answer lie.
#[must_use]
pub fn write_record(parts: [Packed; 2]) -> [u8; RECORD] {
    let [head, body] = parts;
    let mut record = [0; RECORD];
    for (place, number) in record.chunks_exact_mut(WORD).zip([head.pointer, head.length, body.pointer, body.length]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    record
}

/// Headers of a head: an iterator of names and values as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    lengths: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut text = || {
            let (length, lengths) = self.lengths.split_first_chunk()?;
            let (text, bytes) = self.bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            (self.lengths, self.bytes) = (lengths, bytes);
            Some(text)
        };
        Some((text()?, text()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.lengths.len() / (2 * WORD);
        (count, Some(count))
    }
}

/// Lengths of more than 4 GiB do not occur: a module's memory ends there.
fn word(number: usize) -> [u8; WORD] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

fn push(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&word(number));
}

fn write_lengths<'a>(out: &mut Vec<u8>, headers: impl Iterator<Item = (&'a str, &'a [u8])>) {
    for (name, value) in headers {
        push(out, name.len());
        push(out, value.len());
    }
}

fn write_bytes<'a>(out: &mut Vec<u8>, headers: impl Iterator<Item = (&'a str, &'a [u8])>) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    }
}

fn numbers(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let (word, rest) = bytes.split_first_chunk()?;
        bytes = rest;
        Some(u32::from_le_bytes(*word))
    })
}

fn sum(lengths: &[u8]) -> u64 {
    numbers(lengths).map(u64::from).sum()
}

/// Reads a head from front to back.
struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    fn number(&mut self) -> Result<u32, DocumentError> {
        let (word, rest) = self.rest.split_first_chunk().ok_or_else(|| self.wrong("a number"))?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*word))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], DocumentError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.wrong("as many bytes as it says"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// What is left, as the headers with these lengths.
    fn headers(&self, lengths: &'a [u8]) -> Result<Headers<'a>, DocumentError> {
        if sum(lengths) != self.rest.len() as u64 {
            return Err(self.wrong("headers of the lengths that it says"));
        }
        Ok(Headers { lengths, bytes: self.rest })
    }

    #[cold]
    fn wrong(&self, expected: &str) -> DocumentError {
        DocumentError::new(format!("the head of the {} is not valid: expected {expected}", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARTS: RequestParts<'static> = RequestParts {
        method: "POST",
        scheme: "http",
        host: "h:1",
        path: "/a",
        query: Some("b=1"),
        request_id: "r1",
        target: None,
        body: b"",
    };

    fn head(headers: &[(&str, &str)]) -> Vec<u8> {
        request(&PARTS, || headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn a_request_is_lengths_and_then_bytes() {
        let head = head(&[("host", "h:1"), ("a", "")]);
        let numbers: Vec<_> = numbers(&head[..12 * WORD]).collect();
        assert_eq!(numbers, [6u32, 2, 4, 4, 3, 6, 2, 0, 4, 3, 1, 0]);
        assert_eq!(&head[12 * WORD..], b"POSThttph:1/a?b=1r1hosth:1a");
        let request = read_request(&head).unwrap();
        assert_eq!((&*request.uri(), &*request.path(), &*request.target()), ("http://h:1/a?b=1", "/a?b=1", ""));
        assert_eq!(request.canonical_headers(), [("Host".into(), "h:1".into()), ("A".into(), "".into())]);
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        let mut longer = head(&[("a", "b")]);
        longer[0] = 7;
        longer.splice(8 * WORD..8 * WORD, 3u32.to_le_bytes());
        let end = longer.len() - 2;
        longer.splice(end..end, *b"new");
        let read = read_request(&longer).unwrap();
        assert_eq!((&*read.request_id(), read.headers().collect::<Vec<_>>()), ("r1", vec![(&b"a"[..], &b"b"[..])]));
    }

    #[test]
    fn fewer_fields_are_empty() {
        let mut head = Vec::new();
        [1, 0, 3].into_iter().for_each(|number| push(&mut head, number));
        head.extend_from_slice(b"GET");
        let read = read_request(&head).unwrap();
        assert_eq!((&*read.method(), &*read.path()), ("GET", ""));
    }

    #[test]
    fn a_response_is_read_as_written() {
        let mut out = Vec::new();
        write_response(&mut out, 201, [("A", "b"), ("A", "c")].into_iter());
        let read = read_response(&out).unwrap();
        assert_eq!(read.status, 201);
        assert_eq!(read.headers.collect::<Vec<_>>(), [(&b"A"[..], &b"b"[..]), (b"A", b"c")]);
        assert_eq!(read.identity, &out[WORD..]);
        assert!(!is_failure(&out));
        let mut failure = Vec::new();
        write_failure(&mut failure);
        assert!(is_failure(&failure) && !is_failure(b"\0\0"));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        for (bytes, expected) in [
            (words(&[]), "the head of the response is not valid: expected a number"),
            (words(&[200]), "the head of the response is not valid: expected a number"),
            (words(&[200, 1]), "the head of the response is not valid: expected as many bytes as it says"),
            (words(&[200, u32::MAX]), "the head of the response is not valid: expected as many bytes as it says"),
            (
                words(&[200, 0, 0]),
                "the head of the response is not valid: expected headers of the lengths that it says",
            ),
            (
                words(&[200, 1, u32::MAX, u32::MAX]),
                "the head of the response is not valid: expected headers of the lengths that it says",
            ),
            (words(&[199, 0]), "the status is 199, expected 200 to 999"),
            (words(&[1000, 0]), "the status is 1000, expected 200 to 999"),
        ] {
            assert_eq!(read_response(&bytes).unwrap_err().to_string(), expected);
        }
        let mut request = head(&[]);
        request[8 * WORD] = 0xff;
        assert_eq!(read_request(&request).unwrap().method(), "\u{fffd}OST");
        request.pop();
        assert_eq!(
            read_request(&request).unwrap_err().to_string(),
            "the head of the request is not valid: expected as many bytes as it says"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_read_without_panic(bytes: Vec<u8>, fields in 0u32..9, count in 0u32..9, rest: Vec<u8>) {
            for head in [bytes, [&fields.to_le_bytes()[..], &count.to_le_bytes(), &rest].concat()] {
                if let Ok(read) = read_request(&head) {
                    let _ = (read.uri(), read.request_id(), read.target(), read.method(), read.canonical_headers());
                }
                if let Ok(read) = read_response(&head) {
                    let _ = read.headers.count();
                }
            }
        }

        #[test]
        fn what_is_written_reads_as_itself(
            method: String, host: String, path: String, query: Option<String>, id: String, target: Option<String>,
            headers in prop::collection::vec(("[!-~]{0,9}", any::<Vec<u8>>()), 0..5), status in STATUSES,
        ) {
            let parts = RequestParts {
                method: &method, scheme: "https", host: &host, path: &path, query: query.as_deref(), request_id: &id,
                target: target.as_deref(), body: b"",
            };
            let pairs = headers.iter().map(|(name, value)| (&**name, &**value));
            let out = request(&parts, || pairs.clone());
            prop_assert_eq!(out.capacity(), out.len());
            let read = read_request(&out).unwrap();
            prop_assert_eq!((&*read.method(), &*read.host(), &*read.request_id()), (&*method, &*host, &*id));
            prop_assert_eq!(read.target(), target.unwrap_or_default());
            prop_assert!(read.headers().eq(pairs.map(|(name, value)| (name.as_bytes(), value))));
            prop_assert_eq!(&*read.path(), query.map_or(path.clone(), |query| format!("{path}?{query}")));
            let mut out = Vec::new();
            let texts = headers.iter().map(|(name, _)| (&**name, &**name));
            write_response(&mut out, status, texts.clone());
            let read = read_response(&out).unwrap();
            prop_assert_eq!(read.status, status);
            prop_assert!(read.headers.eq(texts.map(|(name, value)| (name.as_bytes(), value.as_bytes()))));
        }

        #[test]
        fn a_record_reads_as_itself(numbers: [u32; 4]) {
            let [a, b, c, d] = numbers;
            let parts = [Packed { pointer: a, length: b }, Packed { pointer: c, length: d }];
            prop_assert_eq!(read_record(&write_record(parts)), parts);
        }
    }
}
