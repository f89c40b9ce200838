//! The flags and variables of `--faas`, and of a child process of such a server.

use std::ffi::OsString;
use std::path::PathBuf;

use capsule_cmd::flags::{Flag, Type};
use capsule_cmd::help::Variable;
use capsule_cmd::parse::Parsed;
use capsule_cmd::usage::{Problem, Problems};

use super::tokens::{TOKEN, TOKEN_FILE, TokenSource};

const GROUP: &str = "Functions as a service";
const CHILD: &str = "Set by a server on its child processes";

const DOMAIN: &str = "CAPSULE_DOMAIN";

const FAAS: Flag = Flag::switch(
    "faas",
    "Host many functions: they are started and called over HTTP, see `capsctl`. The limits of the command line are the \
     defaults of the functions; --wasm is the module for all other paths.",
)
.group(GROUP);
const DATA_DIR: Flag = Flag::value(
    "dataDir",
    "DIR",
    Type::Path,
    "Where functions and their modules are kept. Nobody else may read it: it holds the functions' environments. `none` \
     keeps them in memory.",
)
.default_note("`.capsule/faas-PORT`; in memory when the port is chosen freely")
.group(GROUP);
const FUNCTIONS: Flag = Flag::value(
    "functions",
    "FILE",
    Type::Path,
    "Functions and routes to start with (TOML). It is read again on SIGHUP: what has changed is restarted.",
)
.group(GROUP);
const ALLOW_PATH: Flag = Flag::repeated(
    "allowPath",
    "DIR",
    Type::Path,
    "A folder whose executables functions may name as `path`, to run as child processes. The server's own executable \
     is always allowed.",
)
.group(GROUP);
const METRICS_PORT: Flag =
    Flag::value("metricsPort", "PORT", Type::Port, "A second port for `/metrics` alone, which needs no token there.")
        .group(GROUP);
const PARENT_ENDPOINT: Flag =
    Flag::value("parentEndpoint", "URL", Type::Checked(check_url), "The server to tell when this one stops.")
        .group(CHILD);
const MODULE_NAME: Flag =
    Flag::value("moduleName", "NAME", Type::Text, "The name that the function has there.").group(CHILD);
const MODULE_REVISION: Flag =
    Flag::value("moduleRevision", "REVISION", Type::Text, "Its revision; `REVISION/INDEX` tells which of several.")
        .group(CHILD);

const REDIS_PREFIX: Flag =
    Flag::value("redisPrefix", "TEXT", Type::Text, "What stands in front of the function's keys in Redis.")
        .group(CHILD);

/// The flags of this file, for the program's table.
pub(crate) const FLAGS: &[Flag] =
    &[FAAS, DATA_DIR, FUNCTIONS, ALLOW_PATH, METRICS_PORT, PARENT_ENDPOINT, MODULE_NAME, MODULE_REVISION, REDIS_PREFIX];

/// The variables of this mode.
pub(crate) const VARIABLES: [Variable; 3] = [
    Variable {
        name: TOKEN,
        help: "With --faas: the token of administration, as the header `CAPSULE_FAAS_TOKEN` or `Authorization: Bearer`. \
               Without a token administration is off.",
    },
    Variable {
        name: TOKEN_FILE,
        help: "With --faas: a file with one token a line, all of them valid. It is read again on SIGHUP.",
    },
    Variable {
        name: DOMAIN,
        help: "With --faas: the base address, without port, under which child processes reach this server; \
               http://127.0.0.1.",
    },
];

/// Where functions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DataDir {
    /// Nowhere.
    Memory,
    /// The operator has named it: it has to work.
    Named(PathBuf),
    /// The default: without it, in memory.
    Default(PathBuf),
}

/// What the command line says about this mode.
pub(crate) struct FaasSettings {
    pub(crate) data_dir: DataDir,
    pub(crate) functions: Option<PathBuf>,
    pub(crate) allow_path: Vec<PathBuf>,
    pub(crate) metrics_port: Option<u16>,
    pub(crate) tokens: TokenSource,
    pub(crate) domain: Option<String>,
}

/// Whom a child process tells that it stops.
pub(crate) struct Parent {
    pub(crate) endpoint: String,
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) redis_prefix: String,
}

impl FaasSettings {
    /// Reads the flags; `None` without `--faas`. `port` is the one that is asked for, 0 for a free one.
    pub(crate) fn read(
        parsed: &Parsed,
        port: u16,
        env: impl Fn(&str) -> Option<OsString>,
        problems: &mut Problems,
    ) -> Option<FaasSettings> {
        if !parsed.switch(&FAAS) {
            for flag in [DATA_DIR, FUNCTIONS, ALLOW_PATH, METRICS_PORT] {
                if parsed.is_given(&flag) {
                    problems.push(Problem::new(format!("`--{}` is given without `--faas`", flag.name)));
                }
            }
            return None;
        }
        let data_dir = match parsed.text(&DATA_DIR) {
            Some("none") => DataDir::Memory,
            Some(path) => DataDir::Named(path.into()),
            None if port == 0 => DataDir::Memory,
            None => DataDir::Default(format!(".capsule/faas-{port}").into()),
        };
        let mut text = |name: &str| match env(name).filter(|value| !value.is_empty())?.into_string() {
            Ok(value) => Some(value),
            Err(_) => {
                problems.push(Problem::new(format!("`{name}` is not valid UTF-8")));
                None
            }
        };
        let tokens = TokenSource { value: text(TOKEN), file: text(TOKEN_FILE).map(PathBuf::from) };
        let domain = text(DOMAIN).map(|domain| domain.trim_end_matches('/').to_owned());
        if let Some(Err(problem)) = domain.as_deref().map(check_url) {
            problems.push(Problem::new(format!("`{DOMAIN}`: {problem}")));
        }
        Some(FaasSettings {
            data_dir,
            functions: parsed.text(&FUNCTIONS).map(PathBuf::from),
            allow_path: parsed.texts(&ALLOW_PATH).into_iter().map(PathBuf::from).collect(),
            metrics_port: parsed.port(&METRICS_PORT),
            tokens,
            domain,
        })
    }
}

impl FaasSettings {
    /// Files and folders that hold what is the server's alone: data, tokens, environments of functions.
    pub(crate) fn private(&self) -> impl Iterator<Item = PathBuf> {
        let data = match &self.data_dir {
            DataDir::Memory => None,
            DataDir::Named(path) | DataDir::Default(path) => Some(path.clone()),
        };
        data.into_iter().chain(self.tokens.file.clone()).chain(self.functions.clone())
    }
}

impl Parent {
    /// Reads the flags of a child process.
    pub(crate) fn read(parsed: &Parsed) -> Option<Parent> {
        let endpoint = parsed.text(&PARENT_ENDPOINT)?.trim_end_matches('/').to_owned();
        let name = parsed.text(&MODULE_NAME)?.to_owned();
        let revision = parsed.text(&MODULE_REVISION).unwrap_or("default").to_owned();
        let redis_prefix = parsed.text(&REDIS_PREFIX).unwrap_or_default().to_owned();
        Some(Parent { endpoint, name, revision, redis_prefix })
    }
}

fn check_url(text: &str) -> Result<(), String> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
        _ => Err(format!(
            "expected an address such as `http://localhost:8080`, found `{}`",
            capsule_cmd::redact::url(text)
        )),
    }
}
