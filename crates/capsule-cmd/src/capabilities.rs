//! The flags that open something to a module: folders, addresses, environment; and the compile cache.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::flags::{Flag, Scope, Type};
use crate::parse::Parsed;
use crate::usage::{Problem, Problems};

const GROUP: &str = "Capabilities";

/// `--dir`.
pub const DIR: Flag = Flag::repeated(
    "dir",
    "HOST[:GUEST][:ro]",
    Type::Checked(check_dir),
    "A folder that the module may use: the folder here, its name in the module (the same when not given), and `ro` \
     for reading only. `none` gives it no folder at all.",
)
.default(".")
.default_note("the current folder, unless it is the root or holds compiled code, data or keys of the runner")
.scope(Scope::Function)
.group(GROUP);

/// `--allowHosts`.
pub const ALLOW_HOSTS: Flag = Flag::value(
    "allowHosts",
    "A,B",
    Type::Checked(check_hosts),
    "The only hosts that the module may reach over HTTP: names, `*.name`, addresses, networks such as 10.0.0.0/8, \
     each with `:port` if wanted; `*` for every host, `none` for no host.",
)
.default_note("every host but link-local and metadata addresses")
.scope(Scope::Function)
.group(GROUP);

/// `--env`.
pub const ENV: Flag = Flag::repeated(
    "env",
    "NAME=VALUE",
    Type::Checked(check_pair),
    "An environment variable for the module. It wins over --passEnv. Values are never shown in messages and logs.",
)
.secret()
.scope(Scope::Function)
.group(GROUP);

/// `--passEnv`.
pub const PASS_ENV: Flag = Flag::value(
    "passEnv",
    "A,B",
    Type::Checked(check_names),
    "The runner's environment variables that the module may read: names, `*` for all, `none` for none.",
)
.default("*")
.scope(Scope::Function)
.group(GROUP);

/// `--cacheDir`.
pub const CACHE_DIR: Flag = Flag::value(
    "cacheDir",
    "PATH",
    Type::Path,
    "Where compiled modules are kept. Native code is loaded from there: nobody else may write to it. `none` keeps \
     nothing.",
)
.default_note("`capsule` in the user's cache folder")
.group("Runner");

/// All capability flags, for a program's table. [`CACHE_DIR`] is apart: it is the runner's.
pub const FLAGS: &[Flag] = &[DIR, ALLOW_HOSTS, ENV, PASS_ENV];

/// A folder lent to a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder on this machine.
    pub host: PathBuf,
    /// Its name in the module.
    pub guest: String,
    /// No writing.
    pub read_only: bool,
}

/// Which of the runner's environment variables a module may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassEnv {
    /// All. The program still keeps back those of [`crate::flags::Table::secret_variables`].
    All,
    /// These.
    Names(Vec<String>),
}

/// What a module may use.
#[derive(Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Folders, in the order in which they were given.
    pub folders: Vec<Folder>,
    /// Nobody has named a folder: those above are the default.
    pub default_folder: bool,
    /// The only hosts for outbound HTTP, as written; `None` when the program's own rule holds.
    pub allow_hosts: Option<Vec<String>>,
    /// Variables with their values, in order; a later one of the same name wins.
    pub env: Vec<(String, String)>,
    /// The runner's variables.
    pub pass_env: PassEnv,
}

/// Without the values of variables: it may go to a log.
impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Capabilities")
            .field("folders", &self.folders)
            .field("default_folder", &self.default_folder)
            .field("allow_hosts", &self.allow_hosts)
            .field("env", &names)
            .field("pass_env", &self.pass_env)
            .finish()
    }
}

impl Capabilities {
    /// Reads all capabilities; what contradicts itself goes to `problems`.
    pub fn read(parsed: &Parsed, problems: &mut Problems) -> Self {
        let dirs = parsed.texts(&DIR);
        if dirs.len() > 1 && dirs.contains(&"none") {
            problems.push(Problem::new("`--dir=none` is given together with another `--dir`"));
        }
        let folders: Vec<Folder> =
            dirs.into_iter().filter(|text| *text != "none").filter_map(|text| folder(text).ok()).collect();
        for (index, folder) in folders.iter().enumerate() {
            if folders[..index].iter().any(|other| other.guest == folder.guest) {
                let message = format!("two folders have the name `{}` in the module", folder.guest);
                problems.push(Problem::new(message).hint("write `--dir=HOST:GUEST` with another `GUEST`"));
            }
        }
        Self {
            folders,
            default_folder: !parsed.is_given(&DIR),
            allow_hosts: parsed.text(&ALLOW_HOSTS).map(list),
            env: parsed.texts(&ENV).into_iter().filter_map(pair).collect(),
            pass_env: match parsed.text(&PASS_ENV) {
                Some("*") => PassEnv::All,
                text => PassEnv::Names(text.map(list).unwrap_or_default()),
            },
        }
    }
}

/// The folder for compiled modules: `--cacheDir`, or `capsule` in the user's cache folder. `None` when it is switched
/// off, and when the environment names no home (as in an empty container): then nothing is kept.
pub fn cache_dir(parsed: &Parsed, env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    match parsed.text(&CACHE_DIR) {
        Some("none") => return None,
        Some(path) => return Some(PathBuf::from(path)),
        None => {}
    }
    // A relative path in these variables is to be ignored (XDG base directory specification).
    let folder = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Caches"))
    } else {
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    base.map(|base| base.join("capsule"))
}

/// Reads `host[:guest][:ro]`.
fn folder(text: &str) -> Result<Folder, String> {
    let wrong = || format!("expected `host[:guest][:ro]`, found `{text}`");
    // `C:\data` has a colon that separates nothing.
    let drive = usize::from(cfg!(windows) && Path::new(text).is_absolute() && text.as_bytes().get(1) == Some(&b':'));
    let (rest, read_only) = match text.strip_suffix(":ro") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (host, guest) = match rest.match_indices(':').nth(drive) {
        Some((at, _)) => (&rest[..at], &rest[at + 1..]),
        None => (rest, rest),
    };
    if host.is_empty() || guest.is_empty() || (guest.contains(':') && guest != host) {
        return Err(wrong());
    }
    Ok(Folder { host: PathBuf::from(host), guest: guest.to_owned(), read_only })
}

fn check_dir(text: &str) -> Result<(), String> {
    if text == "none" { Ok(()) } else { folder(text).map(drop) }
}

/// Reads `NAME=VALUE`.
fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
    (!text.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
}

fn check_pair(text: &str) -> Result<(), String> {
    pair(text).map(drop).ok_or_else(|| format!("expected `NAME=VALUE`, found `{text}`"))
}

/// The parts of a list with commas; `none` is the empty list.
fn list(text: &str) -> Vec<String> {
    if text == "none" {
        return Vec::new();
    }
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn check_names(text: &str) -> Result<(), String> {
    if text == "*" {
        return Ok(());
    }
    match list(text).iter().find(|name| name.contains(|c: char| c == '=' || c == '*' || c.is_whitespace())) {
        Some(name) => Err(format!("expected names of variables with commas between, found `{name}`")),
        None => Ok(()),
    }
}

fn check_hosts(text: &str) -> Result<(), String> {
    match list(text).iter().find(|host| host.contains("://") || host.contains(|c: char| c.is_whitespace() || c == '@'))
    {
        Some(host) => Err(format!(
            "expected hosts such as `api.example.com` or `10.0.0.0/8`, found `{}`",
            crate::redact::url(host)
        )),
        None => Ok(()),
    }
}
