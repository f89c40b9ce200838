//! What a guest is given of the world outside: folders, environment, arguments, addresses. Nothing by default.

use std::collections::HashSet;
use std::path::PathBuf;

/// What the instances of a function may see and reach.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// Folders, for WASI and for the file host functions alike.
    pub folders: Vec<Folder>,
    /// Why a folder that would have been lent is not; what a guest is told of files in none of its folders.
    pub withheld: Option<String>,
    /// Environment variables, for WASI and `hostGetEnv` alike.
    pub environment: Vec<(String, String)>,
    /// WASI's arguments, the program's name first.
    pub arguments: Vec<String>,
    /// Whether WASI's stdin is the process's.
    pub stdin: bool,
    /// Addresses that host functions may connect to.
    pub network: Network,
}

impl Capabilities {
    /// Leaves of variables with the same name the last one, as all readers of an environment want it.
    pub(crate) fn without_repeated_variables(mut self) -> Capabilities {
        let mut seen = HashSet::new();
        let mut kept: Vec<_> = std::mem::take(&mut self.environment)
            .into_iter()
            .rev()
            .filter(|(name, _)| seen.insert(name.clone()))
            .collect();
        kept.reverse();
        self.environment = kept;
        self
    }

    /// The value of an environment variable; the last one given wins.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A folder of the host as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder on the host, by a path without symbolic links: one is not followed, so that nobody who may write to a folder
    /// around this one can put one there. A runner resolves what its operator names.
    pub host: PathBuf,
    /// Its path in the guest, e.g. `.` or `/data`.
    pub guest: String,
    /// Nothing below it can be changed.
    pub read_only: bool,
}

/// Which addresses host functions may connect to for a guest (outbound HTTP, databases, brokers).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// What is reachable without being named.
    pub reach: Reach,
    /// Hosts named by the operator: `api.example.com`, `*.gitlab.com:443`, `10.0.0.7:6379`. When the list is not empty,
    /// only what it names is reachable.
    pub allowed: Vec<String>,
}

/// How far a guest reaches when no list of hosts is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere.
    #[default]
    Nothing,
    /// Public addresses: no loopback, private, link-local or metadata ones.
    Public,
    /// Everything but link-local and metadata addresses: for a module that its own operator runs.
    Operator,
}
