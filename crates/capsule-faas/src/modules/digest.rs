//! The name of a module: `sha256:` and the SHA-256 of its bytes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256:";
/// Bytes of a SHA-256.
const LENGTH: usize = 32;

/// The SHA-256 of a module's bytes, written `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; LENGTH]);

/// A text that is no [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadDigest;

impl Digest {
    /// The name of a module with these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    pub(super) fn new(hash: [u8; LENGTH]) -> Digest {
        Digest(hash)
    }

    /// Colons are not for file names everywhere.
    pub(super) fn file_name(&self) -> String {
        format!("sha256-{}.wasm", Hex(&self.0))
    }

    pub(super) fn from_file_name(name: &str) -> Option<Digest> {
        parse_hex(name.strip_prefix("sha256-")?.strip_suffix(".wasm")?)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", Hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    /// Takes what `Display` writes and nothing else.
    fn from_str(text: &str) -> Result<Digest, BadDigest> {
        text.strip_prefix(PREFIX).and_then(parse_hex).ok_or(BadDigest)
    }
}

impl fmt::Display for BadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected `{PREFIX}` and {} lower-case hex digits", 2 * LENGTH)
    }
}

impl std::error::Error for BadDigest {}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn parse_hex(text: &str) -> Option<Digest> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * LENGTH {
        return None;
    }
    let mut hash = [0; LENGTH];
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(Digest(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_is_read() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(digest.to_string(), format!("sha256:{hex}"));
        assert_eq!(digest.file_name(), format!("sha256-{hex}.wasm"));
        assert_eq!(Digest::from_file_name(&digest.file_name()), Some(digest));

        let wrong = [
            String::new(),
            "sha256:".into(),
            hex.into(),
            format!("sha256-{hex}"),
            format!("SHA256:{hex}"),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256: {}", &hex[1..]),
            format!("sha256:{hex}\n"),
            format!("sha256:{}g", &hex[1..]),
            format!("sha256:+{}", &hex[1..]),
            // 64 bytes, but not 64 digits.
            format!("sha256:{}é", &hex[2..]),
            format!("sha256:../{}", &hex[3..]),
        ];
        for text in wrong {
            assert_eq!(text.parse::<Digest>(), Err(BadDigest), "{text:?}");
        }
        for name in [format!("sha256-{hex}"), format!("sha256-{hex}.wasm.part"), format!("sha256:{hex}.wasm")] {
            assert_eq!(Digest::from_file_name(&name), None, "{name}");
        }
    }
}
