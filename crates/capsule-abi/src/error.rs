//! Why a document was refused.

use std::fmt;

/// A document that does not follow docs/abi.md. Always the fault of the side that wrote it.
///
/// `Display` is one line without a final dot, made for an answer or a log; there is no deeper cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError(String);

impl DocumentError {
    /// An error with its reason.
    pub(crate) fn new(reason: impl Into<String>) -> DocumentError {
        DocumentError(reason.into())
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DocumentError {}
