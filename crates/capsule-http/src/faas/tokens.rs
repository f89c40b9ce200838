//! Who may administer: the tokens of the server, in the header `CAPSULE_FAAS_TOKEN` or as `Authorization: Bearer`.
//!
//! Several are valid at the same time, so that one can be replaced without a moment in which neither works. They are kept as
//! hashes, which are compared in constant time. No function ever sees one.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use anyhow::{Context as _, bail};
use blake3::Hash;
use capsule_cmd::message::HintExt as _;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, Entry, HeaderName, HeaderValue};

/// The header of the reference, and the variable with the token.
pub(crate) const TOKEN: &str = "CAPSULE_FAAS_TOKEN";
/// The variable with the path of a file of tokens.
pub(crate) const TOKEN_FILE: &str = "CAPSULE_FAAS_TOKEN_FILE";

const HEADER: HeaderName = HeaderName::from_static("capsule_faas_token");
/// A larger file is something else.
const MAX_FILE: usize = 64 << 10;

/// Where tokens come from. Both may be there.
#[derive(Clone, Default)]
pub(crate) struct TokenSource {
    /// The value of [`TOKEN`].
    pub(crate) value: Option<String>,
    /// A file with one token a line.
    pub(crate) file: Option<PathBuf>,
}

/// Why a request may not administer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The server has no token.
    Off,
    /// The request has none.
    Missing,
    /// The request has another one.
    Wrong,
}

/// The tokens that are valid now.
pub(super) struct Tokens {
    source: TokenSource,
    hashes: RwLock<Vec<Hash>>,
}

impl Tokens {
    /// Reads them.
    ///
    /// # Errors
    /// The file cannot be read or has no token, or a token is one that HTTP does not allow in a header.
    pub(super) fn read(source: TokenSource) -> anyhow::Result<Tokens> {
        let hashes = hashes(&source)?;
        Ok(Tokens { source, hashes: RwLock::new(hashes) })
    }

    /// Reads them again; answers how many there are.
    ///
    /// # Errors
    /// As [`Tokens::read`]; those of before stay valid.
    pub(super) fn reload(&self) -> anyhow::Result<usize> {
        let hashes = hashes(&self.source)?;
        let count = hashes.len();
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = hashes;
        Ok(count)
    }

    /// Whether nobody can administer.
    pub(super) fn is_off(&self) -> bool {
        self.read_hashes().is_empty()
    }

    /// Whether a request with these headers may administer.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        if self.is_off() {
            return Err(Denied::Off);
        }
        let mut given = headers
            .get_all(HEADER)
            .iter()
            .map(HeaderValue::as_bytes)
            .chain(headers.get_all(AUTHORIZATION).iter().filter_map(bearer))
            .peekable();
        if given.peek().is_none() {
            return Err(Denied::Missing);
        }
        if given.any(|token| self.is_valid(token)) { Ok(()) } else { Err(Denied::Wrong) }
    }

    /// Takes what is not for functions out of a request: the header with the token always, `Authorization` when it has one.
    pub(super) fn remove(&self, headers: &mut HeaderMap) {
        // A look at every name takes less time than to find two by their hashes.
        if !headers.keys().any(|name| *name == HEADER || *name == AUTHORIZATION) {
            return;
        }
        headers.remove(HEADER);
        if let Entry::Occupied(found) = headers.entry(AUTHORIZATION)
            && found.iter().filter_map(bearer).any(|token| self.is_valid(token))
        {
            found.remove_entry_mult();
        }
    }

    fn is_valid(&self, token: &[u8]) -> bool {
        let hash = blake3::hash(token);
        // All of them: the time does not tell which one it was. The comparison of hashes takes constant time.
        self.read_hashes().iter().fold(false, |valid, known| valid | (*known == hash))
    }

    fn read_hashes(&self) -> std::sync::RwLockReadGuard<'_, Vec<Hash>> {
        self.hashes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn hashes(source: &TokenSource) -> anyhow::Result<Vec<Hash>> {
    let mut hashes = Vec::new();
    if let Some(token) = source.value.as_deref().map(str::trim).filter(|token| !token.is_empty()) {
        hashes.push(hash(token).with_context(|| format!("cannot use `{TOKEN}`"))?);
    }
    if let Some(path) = &source.file {
        let shown = path.display();
        let text = read(path).with_context(|| format!("cannot read the tokens in `{shown}`"))?;
        let before = hashes.len();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            hashes.push(hash(line.trim()).with_context(|| format!("cannot use line {} of `{shown}`", index + 1))?);
        }
        if hashes.len() == before {
            let error = anyhow::anyhow!("`{shown}` has no token");
            return Err(error.hint(format!("`{TOKEN_FILE}` names a file with one token a line")));
        }
    }
    Ok(hashes)
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_FILE {
        bail!("expected at most {MAX_FILE} bytes, found more");
    }
    Ok(text)
}

fn hash(token: &str) -> anyhow::Result<Hash> {
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("a token has visible ASCII characters only, and no space");
    }
    Ok(blake3::hash(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn either_header_with_either_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "new-token\n\n  old-token \n").unwrap();
        let source = TokenSource { value: Some("third".into()), file: Some(file.path().to_owned()) };
        let tokens = Tokens::read(source).unwrap();
        let check = |list: &[(&str, &str)], expected| assert_eq!(tokens.check(&headers(list)), expected, "{list:?}");
        for token in ["new-token", "old-token", "third"] {
            check(&[("CAPSULE_FAAS_TOKEN", token)], Ok(()));
            check(&[("Authorization", &format!("bearer  {token}"))], Ok(()));
        }
        check(&[("CAPSULE_FAAS_TOKEN", "x"), ("Authorization", "Bearer third")], Ok(()));
        check(&[], Err(Denied::Missing));
        check(&[("Authorization", "Basic third")], Err(Denied::Missing));
        for wrong in ["", "thir", "third2", "new-token old-token", "THIRD"] {
            check(&[("CAPSULE_FAAS_TOKEN", wrong)], Err(Denied::Wrong));
        }
        std::fs::write(file.path(), "").unwrap();
        assert!(tokens.reload().unwrap_err().to_string().contains("has no token"));
        check(&[("CAPSULE_FAAS_TOKEN", "old-token")], Ok(()));
        std::fs::write(file.path(), "newest").unwrap();
        assert_eq!(tokens.reload().unwrap(), 2);
        check(&[("CAPSULE_FAAS_TOKEN", "old-token")], Err(Denied::Wrong));
    }

    #[test]
    fn no_function_sees_a_token() {
        let tokens = Tokens::read(TokenSource { value: Some("third".into()), file: None }).unwrap();
        let left = |list: &[(&str, &str)]| {
            let mut headers = headers(list);
            tokens.remove(&mut headers);
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(left(&[("CAPSULE_FAAS_TOKEN", "any"), ("x", "y")]), ["x: y"]);
        assert_eq!(left(&[("Authorization", "Bearer third"), ("Authorization", "Basic a")]), [""; 0]);
        assert_eq!(left(&[("Authorization", "Bearer of-the-function")]), ["authorization: Bearer of-the-function"]);
    }

    #[test]
    fn without_a_token_administration_is_off() {
        let tokens = Tokens::read(TokenSource { value: Some(String::new()), file: None }).unwrap();
        assert_eq!(tokens.check(&headers(&[("CAPSULE_FAAS_TOKEN", "")])), Err(Denied::Off));
        let bad = TokenSource { value: Some("two words".into()), file: None };
        assert!(!format!("{:#}", Tokens::read(bad).err().unwrap()).contains("two words"));
    }
}
