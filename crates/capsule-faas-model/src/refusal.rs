//! Why a command is refused, as the client hears it.

/// Whose fault it is, and so the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// There is no such function, revision or index: 404.
    NotFound,
    /// It contradicts what is there now: 409.
    Conflict,
    /// It can never be done as it was asked: 422.
    Invalid,
}

impl RefusalKind {
    /// The HTTP status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Invalid => 422,
        }
    }
}

/// A command that is not carried out. Nothing has changed.
///
/// The text says what was expected and what was found, in one line, without secrets and at a bounded length: it may be
/// sent to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    kind: RefusalKind,
    message: String,
}

impl Refusal {
    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::NotFound, message: message.into() }
    }

    /// It contradicts what is there now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Conflict, message: message.into() }
    }

    /// It can never be done as it was asked.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Invalid, message: message.into() }
    }

    /// What kind of refusal it is.
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        self.kind.status()
    }
}

/// The most characters of a client's text that a message repeats.
const SHOWN: usize = 64;

/// A client's text for a message: in backticks, without control characters, cut when it is long.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("`");
    for (index, c) in text.chars().enumerate() {
        if index == SHOWN {
            out.push_str("...");
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push('`');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_clients_stay_short_and_printable() {
        assert_eq!(quote("a\r\nb\u{1b}"), "`a\\r\\nb\\u{1b}`");
        assert_eq!(quote(&"x".repeat(10_000)).len(), SHOWN + 5);
        assert_eq!(quote("\u{e9}"), "`\u{e9}`");
    }

    #[test]
    fn kinds_have_a_status() {
        assert_eq!(Refusal::not_found("x").status(), 404);
        assert_eq!(Refusal::conflict("x").status(), 409);
        assert_eq!(Refusal::invalid("x").status(), 422);
        assert_eq!(Refusal::invalid("why").to_string(), "why");
    }
}
