//! Redis, as the runner is configured to reach it. Values have no expiry.

use crate::backend;
use crate::host::{self, HostError};

/// Stores a value, of any bytes.
///
/// # Errors
/// The host's reason; or why Redis cannot be reached.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), HostError> {
    host::unframe(backend::redis_set(key.as_bytes(), value.as_ref())).map(drop)
}

/// The value of a key.
///
/// # Errors
/// `redis: nil` when the key is absent; or why Redis cannot be reached.
pub fn get(key: &str) -> Result<Vec<u8>, HostError> {
    host::unframe(backend::redis_get(key.as_bytes()))
}

/// Removes a key; an absent one is no error.
///
/// # Errors
/// The host's reason; or why Redis cannot be reached.
pub fn del(key: &str) -> Result<(), HostError> {
    host::unframe(backend::redis_del(key.as_bytes())).map(drop)
}

/// The keys that match a pattern: `*`, `?`, `[abc]`, `[^a-z]`, `\\` before a letter that means itself.
///
/// # Errors
/// The host's reason; or why Redis cannot be reached.
pub fn keys(pattern: &str) -> Result<Vec<String>, HostError> {
    host::keys(backend::redis_keys(pattern.as_bytes()))
}
