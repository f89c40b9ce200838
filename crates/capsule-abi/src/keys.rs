//! The answer of `hostCacheKeys` and `hostRedisKeys`: `{"keys":["k1","k2"]}`.

use crate::DocumentError;
use crate::json;
use crate::reader::Reader;

/// Appends the document. Bytes of a key that are not UTF-8 become U+FFFD.
pub fn write<'a>(out: &mut Vec<u8>, keys: impl IntoIterator<Item = &'a [u8]>) {
    let _ = write_within(out, keys, usize::MAX);
}

/// As [`write`](fn@write), as long as `out` has no more than `limit` bytes: a key can be six times as long in the document. False when there is
/// more; `out` ends in the middle then.
#[must_use]
pub fn write_within<'a>(out: &mut Vec<u8>, keys: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> bool {
    out.extend_from_slice(b"{\"keys\":[");
    for (index, key) in keys.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::write_lossy_string(out, key);
        if out.len() > limit {
            return false;
        }
    }
    out.extend_from_slice(b"]}");
    out.len() <= limit
}

/// Reads the document.
///
/// # Errors
/// When it is not an object with a list of texts.
pub fn parse(document: &[u8]) -> Result<Vec<String>, DocumentError> {
    let mut keys = Vec::new();
    Reader::new("keys", document)?.document(|reader, name| match &*name {
        "keys" => reader.list(|reader| {
            keys.push(reader.string()?.into_owned());
            Ok(())
        }),
        _ => reader.raw().map(drop),
    })?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_document_is_that_of_the_reference() {
        let mut out = Vec::new();
        write(&mut out, [&b"k1"[..], b"k\"2"]);
        assert_eq!(out, br#"{"keys":["k1","k\"2"]}"#);
        assert_eq!(parse(b"[]x").unwrap_err().to_string().lines().count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_written_reads_as_itself(keys: Vec<String>) {
            let mut out = Vec::new();
            write(&mut out, keys.iter().map(|key| key.as_bytes()));
            prop_assert_eq!(parse(&out).unwrap(), keys);
        }
    }
}
