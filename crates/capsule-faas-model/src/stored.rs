//! How entries and routes look in a store: JSON with the number of the schema.
//!
//! ```json
//! {"schema":1,"value":{"version":1,"process":3,"cache":4,"description":"","spec":{"args":["","-wasm=hello.wasm"],"env":["A=1"],
//!  "module":"sha256:..."},"origin":"api","createdAt":"2026-11-01T10:00:00Z"}}
//! ```
//!
//! The environment is in it in plain text: the file belongs to its owner alone.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The schema that this version writes, and the newest that it reads. A data folder carries it too.
pub const SCHEMA: u32 = 1;

/// Bytes that are no document of this schema. The text shows no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// Written by a newer version.
    #[error("schema {found} is newer than {SCHEMA}, which this version reads")]
    Newer {
        /// The schema of the document.
        found: u32,
    },
    /// Damaged, or written by something else.
    #[error("a broken document, at column {column}")]
    Broken {
        /// Where, from 1; 0 when the whole does not fit.
        column: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct Document<T> {
    schema: u32,
    value: T,
}

/// The document of an [`Entry`](crate::registry::Entry) or a [`Route`](crate::route::Route).
pub fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&Document { schema: SCHEMA, value }).expect("entries and routes have string keys only")
}

/// Reads a document back.
///
/// # Errors
/// It is of a newer schema, or broken.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoredError> {
    let broken = |error: serde_json::Error| StoredError::Broken { column: error.column() };
    // First the schema alone: a newer document need not fit otherwise.
    let Document { schema, value: IgnoredAny } = serde_json::from_slice(bytes).map_err(broken)?;
    match schema {
        SCHEMA => serde_json::from_slice::<Document<T>>(bytes).map(|document| document.value).map_err(broken),
        found if found > SCHEMA => Err(StoredError::Newer { found }),
        _ => Err(StoredError::Broken { column: 0 }),
    }
}

/// An id or version, with room for all that is counted in a lifetime: none is ever counted past the end.
pub(crate) fn counter<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(from)?;
    if number < 1 << 62 { Ok(number) } else { Err(de::Error::custom("a number that nothing counts up to")) }
}
