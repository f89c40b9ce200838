//! Where a module comes from: `--wasm`, `--url` and the header of that download.

use std::fmt;
use std::path::PathBuf;

use crate::download::AuthHeader;
use crate::flags::{Flag, Scope, Type};
use crate::parse::Parsed;
use crate::redact;
use crate::usage::{Problem, Problems};

const GROUP: &str = "Module";

/// `--wasm`.
pub const WASM: Flag = Flag::value(
    "wasm",
    "PATH",
    Type::Path,
    "Path of the module; the first word that is no flag does the same. With --url, the download is saved here.",
)
.scope(Scope::Function)
.group(GROUP);

/// `--url`.
pub const URL: Flag = Flag::value(
    "url",
    "URL",
    Type::Checked(http_url),
    "Download the module from this address first and save it at --wasm. An older file there is replaced only by a \
     complete module.",
)
.scope(Scope::Function)
.group(GROUP);

/// `--authHeaderName`.
pub const AUTH_HEADER_NAME: Flag = Flag::value(
    "authHeaderName",
    "NAME",
    Type::Checked(header_name),
    "Name of one header for the download, such as PRIVATE-TOKEN. It is not sent on to another host.",
)
.scope(Scope::Function)
.group(GROUP);

/// `--authHeaderValue`. The variable keeps the secret out of the list of processes.
pub const AUTH_HEADER_VALUE: Flag = Flag::value(
    "authHeaderValue",
    "VALUE",
    Type::Checked(header_value),
    "Value of that header. Never shown in messages and logs.",
)
.env("CAPSULE_AUTH_HEADER_VALUE")
.secret()
.scope(Scope::Function)
.group(GROUP);

/// `--registry`.
pub const REGISTRY: Flag =
    Flag::value("registry", "TEXT", Type::Text, "Accepted for compatibility with the reference, and unused.")
        .scope(Scope::Function)
        .group(GROUP);

/// All flags of this file, for a program's table.
pub const FLAGS: &[Flag] = &[WASM, URL, AUTH_HEADER_NAME, AUTH_HEADER_VALUE, REGISTRY];

/// Where the module is, and what to fetch before it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSource {
    /// The module's file.
    pub path: PathBuf,
    /// What to download to `path` first.
    pub download: Option<Remote>,
}

/// An address to download from.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// The address, with its secrets if it has any.
    pub url: String,
    /// One header for it.
    pub auth: Option<AuthHeader>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &redact::url(&self.url)).field("auth", &self.auth).finish()
    }
}

impl ModuleSource {
    /// Reads the source, and gives back the operands that are not it: without `--wasm`, the first one is the path.
    /// `None` when no module is named, or when what is named contradicts itself (then `problems` has more).
    pub fn read<'a>(parsed: &'a Parsed, problems: &mut Problems) -> (Option<Self>, &'a [String]) {
        let operands = parsed.operands();
        let (path, operands) = match (parsed.text(&WASM), operands.split_first()) {
            (Some(path), _) => (Some(path), operands),
            (None, Some((first, others))) => (Some(first.as_str()), others),
            (None, None) => (None, operands),
        };
        let url = parsed.text(&URL);
        let (name, value) = (parsed.text(&AUTH_HEADER_NAME), parsed.text(&AUTH_HEADER_VALUE));
        let auth = match (name, value) {
            (Some(name), Some(value)) => Some(AuthHeader { name: name.to_owned(), value: value.to_owned() }),
            (Some(_), None) if url.is_some() => {
                let problem = Problem::new("`--authHeaderName` is given without `--authHeaderValue`");
                problems.push(problem.hint("the value can also come from `CAPSULE_AUTH_HEADER_VALUE`"));
                None
            }
            (None, Some(_)) if url.is_some() && parsed.is_given(&AUTH_HEADER_VALUE) => {
                let problem = Problem::new("`--authHeaderValue` is given without `--authHeaderName`");
                problems.push(problem.hint("for GitLab's package registry the name is `PRIVATE-TOKEN`"));
                None
            }
            _ => None,
        };
        match (path, url) {
            (Some("-"), _) => {
                let problem = Problem::new("expected the path of a module, found `-`");
                problems.push(problem.hint("a module is not read from standard input; save it to a file"));
                (None, operands)
            }
            (Some(path), url) => {
                let download = url.map(|url| Remote { url: url.to_owned(), auth });
                (Some(Self { path: PathBuf::from(path), download }), operands)
            }
            (None, Some(_)) => {
                let problem = Problem::new("`--url` is given without `--wasm`");
                problems.push(problem.hint("`--wasm=PATH` says where the download is saved"));
                (None, operands)
            }
            (None, None) => (None, operands),
        }
    }
}

fn http_url(text: &str) -> Result<(), String> {
    let wrong = || format!("expected an address such as `https://host/module.wasm`, found `{}`", redact::url(text));
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
        _ => Err(wrong()),
    }
}

fn header_name(text: &str) -> Result<(), String> {
    match reqwest::header::HeaderName::from_bytes(text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("expected the name of an HTTP header, found `{}`", text.escape_debug())),
    }
}

fn header_value(text: &str) -> Result<(), String> {
    match reqwest::header::HeaderValue::from_str(text) {
        Ok(_) => Ok(()),
        Err(_) => Err("expected a value that HTTP allows in a header, found control characters".to_owned()),
    }
}
