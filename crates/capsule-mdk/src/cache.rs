//! The cache: keys and values in the memory of the runner, shared by all instances of this module, lost with the runner.

use crate::backend;
use crate::host::{self, HostError};

/// Stores a value, of any bytes.
///
/// # Errors
/// The host's reason.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), HostError> {
    host::unframe(backend::cache_set(key.as_bytes(), value.as_ref())).map(drop)
}

/// The value of a key.
///
/// # Errors
/// `key not found`.
pub fn get(key: &str) -> Result<Vec<u8>, HostError> {
    host::unframe(backend::cache_get(key.as_bytes()))
}

/// Removes a key; an absent one is no error.
///
/// # Errors
/// The host's reason.
pub fn del(key: &str) -> Result<(), HostError> {
    host::unframe(backend::cache_del(key.as_bytes())).map(drop)
}

/// The keys that match a pattern: `*`, `?`, `[abc]`, `[^a-z]`, `\\` before a letter that means itself.
///
/// # Errors
/// The host's reason.
pub fn keys(pattern: &str) -> Result<Vec<String>, HostError> {
    host::keys(backend::cache_keys(pattern.as_bytes()))
}
