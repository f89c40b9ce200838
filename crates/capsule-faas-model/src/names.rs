//! Names of functions and revisions, indexes, and the keys made of them.
//!
//! A value of these types has been checked: it fits into a path of a URL, a file name and a label of a metric as it is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, de};

use crate::refusal::{Refusal, quote};

/// The revision that is meant when none is named.
pub const DEFAULT_REVISION: &str = "default";

/// The function that answers paths that belong to nobody.
pub const INDEX_PAGE: &str = "index.page";

/// The longest name or revision, in bytes. Keys stay far below the 255 bytes of a file name.
pub const MAX_LENGTH: usize = 64;

/// The words of the administrative routes: `/functions/drop/hello` cannot also call the function `drop`.
pub const RESERVED: [&str; 11] =
    ["start", "processes", "duplicate", "drop", "health", "logs", "route", "rollback", "scale", "modules", "prune"];

/// A name, revision, index or key that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty, too long, or with a character that is not allowed; `.` and `..` too.
    #[error("{what}: expected 1 to {MAX_LENGTH} of the characters A-Z a-z 0-9 . _ -, found {found}")]
    Form {
        /// `name` or `revision`.
        what: &'static str,
        /// The beginning of the text, printable, in backticks.
        found: String,
    },
    /// A word of the administrative routes.
    #[error("{what}: `{found}` is reserved for a route of the server")]
    Reserved {
        /// `name` or `revision`.
        what: &'static str,
        /// Which word.
        found: &'static str,
    },
    /// Not a decimal number within the bounds of an [`Index`].
    #[error("index: expected a number from 0 to {}, found {found}", Index::MAX.get())]
    Index {
        /// The beginning of the text, printable, in backticks.
        found: String,
    },
    /// Not three parts between slashes.
    #[error("key: expected `name/revision/index`, found {found}")]
    Key {
        /// The beginning of the text, printable, in backticks.
        found: String,
    },
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=MAX_LENGTH).contains(&text.len()) || !text.bytes().all(allowed) || matches!(text, "." | "..") {
        return Err(NameError::Form { what, found: quote(text) });
    }
    match RESERVED.into_iter().find(|word| *word == text) {
        Some(found) => Err(NameError::Reserved { what, found }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a text.
            ///
            /// # Errors
            /// What was expected and what was found.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($what, text).map(|()| Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(from)?).map_err(de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a function. Cheap to clone.
    FunctionName, "name"
}
name! {
    /// The revision of a function. Cheap to clone.
    Revision, "revision"
}

impl Default for Revision {
    /// `default`.
    fn default() -> Self {
        Self(DEFAULT_REVISION.into())
    }
}

/// The number of one of several equal processes of a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Index(u32);

impl Index {
    /// The index of the first process.
    pub const FIRST: Self = Self(0);
    /// The highest index: nine digits, so that every text of nine digits is one.
    pub const MAX: Self = Self(999_999_999);

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index after this one; none after [`Index::MAX`].
    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then_some(Self(self.0 + 1))
    }
}

impl TryFrom<u32> for Index {
    type Error = NameError;

    fn try_from(number: u32) -> Result<Self, NameError> {
        if number <= Self::MAX.0 { Ok(Self(number)) } else { Err(NameError::Index { found: format!("`{number}`") }) }
    }
}

impl FromStr for Index {
    type Err = NameError;

    /// Reads decimal digits: no sign, no space, no zero in front of another digit, so that each index has one text.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::Index { found: quote(text) };
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if !canonical {
            return Err(wrong());
        }
        text.parse().ok().filter(|number| *number <= Self::MAX.0).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a record is listed and stored under: `name/revision/index`. Ordered by name, then revision, then number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The function.
    pub name: FunctionName,
    /// Its revision.
    pub revision: Revision,
    /// Which of the revision's processes.
    pub index: Index,
}

impl Key {
    /// A key of these parts.
    pub fn new(name: FunctionName, revision: Revision, index: Index) -> Self {
        Self { name, revision, index }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.name, self.revision, self.index)
    }
}

impl FromStr for Key {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(revision), Some(index), None) => {
                Ok(Self::new(name.parse()?, revision.parse()?, index.parse()?))
            }
            _ => Err(NameError::Key { found: quote(text) }),
        }
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_paths() {
        let longest = "n".repeat(MAX_LENGTH);
        for good in ["hello", "index.page", "A", "-", "_", "...", "a..b", "0", "Start", "starts", &longest] {
            assert_eq!(FunctionName::new(good).unwrap().as_str(), good);
            assert_eq!(Revision::new(good).unwrap().to_string(), good);
        }
        let too_long = "n".repeat(MAX_LENGTH + 1);
        for bad in ["", ".", "..", "a/b", "a b", "a%2Fb", "a\0", "h\u{e9}", "a\n", "a\\b", "a?b", &too_long] {
            assert!(matches!(FunctionName::new(bad), Err(NameError::Form { what: "name", .. })), "{bad:?}");
            assert!(matches!(Revision::new(bad), Err(NameError::Form { what: "revision", .. })), "{bad:?}");
        }
        for word in RESERVED {
            assert_eq!(FunctionName::new(word), Err(NameError::Reserved { what: "name", found: word }));
            assert!(Revision::new(word).is_err());
        }
    }

    #[test]
    fn errors_are_short_and_say_what_was_expected() {
        let error = FunctionName::new(&"x/".repeat(5_000)).unwrap_err().to_string();
        assert!(
            error.starts_with("name: expected 1 to 64 of the characters A-Z a-z 0-9 . _ -, found `x/x/"),
            "{error}"
        );
        assert!(error.len() < 200, "{error}");
        let reserved = Refusal::from(Revision::new("drop").unwrap_err());
        assert_eq!(reserved.to_string(), "revision: `drop` is reserved for a route of the server");
        assert_eq!(reserved.status(), 422);
    }

    #[test]
    fn indexes_are_decimal() {
        for (text, number) in [("0", 0), ("7", 7), ("10", 10), ("999999999", 999_999_999)] {
            assert_eq!(text.parse::<Index>().unwrap().get(), number);
        }
        for bad in [
            "",
            "+1",
            "-1",
            "01",
            "00",
            "1 ",
            " 1",
            "1.0",
            "0x1",
            "1e3",
            "1000000000",
            "99999999999999999999",
            "\u{661}",
        ] {
            assert!(bad.parse::<Index>().is_err(), "{bad:?}");
        }
        assert_eq!(Index::FIRST.next().unwrap().get(), 1);
        assert_eq!(Index::MAX.next(), None);
        assert_eq!(
            "+1".parse::<Index>().unwrap_err().to_string(),
            "index: expected a number from 0 to 999999999, found `+1`"
        );
    }

    #[test]
    fn keys_sort_by_number() {
        let mut keys: Vec<Key> =
            ["b/a/0", "a/b/10", "a/b/9", "a/a/3"].iter().map(|text| text.parse().unwrap()).collect();
        keys.sort();
        let texts: Vec<String> = keys.iter().map(Key::to_string).collect();
        assert_eq!(texts, ["a/a/3", "a/b/9", "a/b/10", "b/a/0"]);
        for bad in ["", "a", "a/b", "a/b/c", "a/b/0/", "/a/b/0", "a//0", "a/b/0/1"] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
    }
}
