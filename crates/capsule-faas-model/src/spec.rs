//! What a process runs: module, arguments, environment, and what it may reach.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

use crate::refusal::{Refusal, quote};

/// The content of a module, as its SHA-256: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ModuleHash(String);

impl ModuleHash {
    /// What every text of a hash begins with.
    pub const PREFIX: &str = "sha256:";

    /// The hash of these 32 bytes.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        let mut text = String::from(Self::PREFIX);
        for byte in digest {
            for half in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(half.into(), 16));
            }
        }
        Self(text)
    }

    /// The text with its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModuleHash {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix(Self::PREFIX) {
            Some(digits) if digits.len() == 64 && digits.bytes().all(lower) => Ok(Self(text.to_owned())),
            _ => Err(Refusal::invalid(format!(
                "expected `{}` and 64 hexadecimal digits in lower case, found {}",
                Self::PREFIX,
                quote(text)
            ))),
        }
    }
}

impl fmt::Display for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ModuleHash {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Environment variables of a function, each `NAME=value`, in the order given. Values are secrets: `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Environment(Vec<String>);

impl Environment {
    /// Checks a list of `NAME=value`.
    ///
    /// # Errors
    /// Which entry is wrong, by its position; the text is not repeated, it may be a secret.
    pub fn new(pairs: Vec<String>) -> Result<Self, Refusal> {
        for (position, pair) in pairs.iter().enumerate() {
            let fault = match pair.split_once('=') {
                _ if pair.contains('\0') => "a text with a zero byte",
                None => "a text without `=`",
                Some(("", _)) => "a text without a name",
                Some(_) => continue,
            };
            return Err(Refusal::invalid(format!("`env[{position}]`: expected `NAME=value`, found {fault}")));
        }
        Ok(Self(pairs))
    }

    /// Reads a JSON array of `NAME=value`, as it is given on a command line; an empty text is an empty list.
    ///
    /// # Errors
    /// Not such an array.
    pub fn from_json(text: &str) -> Result<Self, Refusal> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let pairs = serde_json::from_str(text)
            .map_err(|_| Refusal::invalid("`env`: expected a JSON array such as `[\"NAME=value\"]`"))?;
        Self::new(pairs)
    }

    /// Names and values. Where a name comes twice, the last one holds.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|pair| pair.split_once('='))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for Environment {
    type Error = Refusal;

    fn try_from(pairs: Vec<String>) -> Result<Self, Refusal> {
        Self::new(pairs)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.pairs().map(|(name, _)| name)).finish()
    }
}

/// All that decides what a process does. Two processes of equal specifications are interchangeable: calls without an
/// index are spread over them.
///
/// `Debug` shows neither values of the environment nor arguments: both hold secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The executable of a child process; none to run in the server's own process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The arguments as given. The first stands for the program's name and means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The environment that the function alone has.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub env: Environment,
    /// Hosts that it may reach, beside those that every function may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_hosts: Vec<String>,
    /// What stands in front of each of its Redis keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_prefix: Option<String>,
    /// The bytes of the module. The server sets it when it has read them; none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleHash>,
}

impl Spec {
    /// Whether both were asked for in the same words, whatever bytes the words stood for.
    pub fn same_words(&self, other: &Self) -> bool {
        let Self { path, args, env, allow_hosts, redis_prefix, module: _ } = self;
        *path == other.path
            && *args == other.args
            && *env == other.env
            && *allow_hosts == other.allow_hosts
            && *redis_prefix == other.redis_prefix
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("path", &self.path)
            .field("args", &self.args.len())
            .field("env", &self.env)
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

/// Who started a function, and so who may start it again, change it or take it away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The file of functions.
    File,
    /// A command over HTTP.
    Api,
}

impl Origin {
    /// How messages name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::File => "the file of functions",
            Self::Api => "a command",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_have_one_form() {
        let hash = ModuleHash::from_digest(&[0xAB; 32]);
        assert_eq!(hash.as_str(), format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(hash.as_str().parse::<ModuleHash>().unwrap(), hash);
        for bad in ["", "sha256:", &hash.as_str()[..70], &hash.as_str().to_uppercase(), &format!("{hash}0"), "../x"] {
            assert!(bad.parse::<ModuleHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn environments_keep_their_secrets() {
        let env = Environment::from_json(r#"["A=1","TOKEN=s3cret=","EMPTY="]"#).unwrap();
        assert_eq!(env.pairs().collect::<Vec<_>>(), [("A", "1"), ("TOKEN", "s3cret="), ("EMPTY", "")]);
        let spec = Spec { env, args: vec!["".into(), "-authHeaderValue=s3cret".into()], ..Spec::default() };
        assert!(!format!("{spec:?}").contains("s3cret"), "{spec:?}");
        assert!(format!("{spec:?}").contains("TOKEN"));

        for (text, expected) in [
            (r#"["A=1","s3cret"]"#, "`env[1]`: expected `NAME=value`, found a text without `=`"),
            (r#"["=s3cret"]"#, "`env[0]`: expected `NAME=value`, found a text without a name"),
            (r#"["A=\u0000"]"#, "`env[0]`: expected `NAME=value`, found a text with a zero byte"),
            (r#"{"A":"s3cret"}"#, "`env`: expected a JSON array such as `[\"NAME=value\"]`"),
            ("A=s3cret", "`env`: expected a JSON array such as `[\"NAME=value\"]`"),
        ] {
            assert_eq!(Environment::from_json(text).unwrap_err().to_string(), expected);
        }
        assert!(Environment::from_json(" ").unwrap().is_empty());
    }

    #[test]
    fn words_are_compared_without_bytes() {
        let spec = Spec { args: vec!["".into(), "-wasm=a.wasm".into()], ..Spec::default() };
        let loaded = Spec { module: Some(ModuleHash::from_digest(&[1; 32])), ..spec.clone() };
        assert!(spec.same_words(&loaded) && spec != loaded);
        assert!(!spec.same_words(&Spec { path: Some("x".into()), ..spec.clone() }));
    }
}
