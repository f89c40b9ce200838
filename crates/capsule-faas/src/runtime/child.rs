//! Functions that run as child processes: those with `path` in their start body.
//!
//! A child is an HTTP server on a port of the loopback interface that the server chooses: `capsule-http`, of this or of
//! another version, or a program that takes the same flags. It gets the environment of its start body, and nothing of the
//! server's but what the operator passes on. It is started, put to sleep, woken and ended as any other function.
//!
//! - `path.rs`: which executables are allowed. `arguments.rs`: the words that they get.
//! - `spawn.rs`: from a command to a process that is tied to the server, see also [`shim`](crate::shim).
//! - `supervise.rs`: one task for each child, which ends it, reaps it, and says how it ended.
//! - `lines.rs`: its output, line by line.
//! - `lives.rs`: from a specification to a child; `calls.rs`, `proxy.rs`: its calls.

mod arguments;
mod calls;
mod lines;
mod lives;
mod path;
mod proxy;
mod spawn;
mod supervise;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capsule_faas_model::names::Key;
use capsule_hdk::{Contract, FunctionConfig};
use futures_util::future::BoxFuture;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::error::{FaasError, FaasErrorKind};
use super::logs::Tee;
use crate::modules::Stored;
pub(crate) use arguments::Arguments;
pub(crate) use path::executable;
pub(crate) use proxy::{Failed, Proxy};
pub(crate) use spawn::Spawner;
use supervise::{Exit, Supervisor};

/// Where children listen, when they let themselves be told.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The first and the longest pause between two attempts to reach a child that is starting.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// Lines of a child's log in the error of a start that failed, and bytes of each.
const LAST_LINES: (usize, usize) = (5, 300);
/// Variables of the server's that programs need, none of which is a secret.
const NEEDED: [&str; 9] =
    ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How a server runs child processes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Children {
    /// The server's own executable: always allowed as `path`. It must call
    /// [`shim::become_child`](crate::shim::become_child) when its first word asks for it.
    pub executable: PathBuf,
    /// Folders whose executables are allowed as `path`, with all that is below them. Default none.
    pub allowed: Vec<PathBuf>,
    /// The address at which children tell the server that they stop, such as `http://127.0.0.1:8080`. Default
    /// `http://127.0.0.1:8080`, as the reference's server.
    pub parent_endpoint: String,
    /// Variables that every child has; those of its start body win. See [`Children::needed`]. Default none.
    pub environment: Vec<(OsString, OsString)>,
    /// How long a child may take until it listens. Default 30 s.
    pub start_timeout: Duration,
    /// How long a child may take to end when it is asked to; then it is killed. Default 7 s: it gives its own calls 5 s.
    pub stop_timeout: Duration,
}

impl Children {
    /// The defaults.
    pub fn new(executable: impl Into<PathBuf>) -> Children {
        Children {
            executable: executable.into(),
            allowed: Vec::new(),
            parent_endpoint: "http://127.0.0.1:8080".into(),
            environment: Vec::new(),
            start_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(7),
        }
    }

    /// What every program needs of the server's environment to find its files, and nothing that is a secret.
    pub fn needed(own: impl Fn(&str) -> Option<OsString>) -> Vec<(OsString, OsString)> {
        NEEDED.iter().filter_map(|name| Some((OsString::from(name), own(name)?))).collect()
    }
}

/// A child that is to be started.
pub(crate) struct Start<'a> {
    pub(crate) children: &'a Children,
    pub(crate) spawner: &'a Spawner,
    /// The name under which it was first started.
    pub(crate) key: &'a Key,
    pub(crate) executable: &'a Path,
    /// It is of the server's own version.
    pub(crate) is_own: bool,
    /// The file of its module.
    pub(crate) module: &'a Path,
    /// Its own words.
    pub(crate) words: Vec<String>,
    /// Words of the operator that its own may replace.
    pub(crate) inherited: Vec<String>,
    pub(crate) redis_prefix: Option<&'a str>,
    pub(crate) sleep_after: Option<Duration>,
    /// Limits, contract and environment, as the platform grants them.
    pub(crate) config: FunctionConfig,
    pub(crate) output: Arc<Tee>,
}

/// A child that listens. Dropped, it is killed.
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) port: u16,
    /// A call that nobody waits for any more may be given up.
    pub(crate) fresh: bool,
    pub(crate) proxy: Proxy,
    supervisor: Supervisor,
    stop_timeout: Duration,
    /// Nobody else gets the port as long as this socket has it.
    _port: Option<TcpSocket>,
    /// There when the modules are in memory.
    _module: Option<tempfile::TempPath>,
}

impl Child {
    /// Starts a child and waits until it listens.
    ///
    /// # Errors
    /// Invalid, with the last lines of its log: it ended, or did not listen in time. It is gone then.
    pub(crate) async fn start(start: Start<'_>, module: Option<tempfile::TempPath>) -> Result<Child, FaasError> {
        let (reserved, port) = reserve_port().map_err(|error| runner("no port is free", &error))?;
        let words = arguments::words(&start, port, start.words.clone());
        let command = spawn::command(&start, &words);
        let spawned = start.spawner.spawn(command).await;
        let mut child = spawned.map_err(|error| spawn_failed(start.executable, &error))?;
        let pid = child.id().unwrap_or_default();
        let since = start.output.log.newest();
        let output = lines::pass_on(&mut child, &start.output);
        let supervisor = Supervisor::start(child, pid, output);
        let ready = until_listening(port, &supervisor, start.children.start_timeout).await;
        if let Err(what) = ready {
            supervisor.kill();
            supervisor.ended().await;
            let last = last_lines(&start.output, since);
            return Err(FaasError::new(FaasErrorKind::Invalid, format!("the child process {what}{last}")));
        }
        let proxy = Proxy::new(port, &start.config.limits);
        let fresh = start.config.contract == Contract::Fresh;
        let stop_timeout = start.children.stop_timeout;
        Ok(Child { pid, port, fresh, proxy, supervisor, stop_timeout, _port: reserved, _module: module })
    }

    /// Asks it to end, with what it has started; kills it when it does not. It is reaped when this returns.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.supervisor.stop(patience.min(self.stop_timeout));
        self.supervisor.ended().await;
    }

    /// Its end, whoever has caused it.
    pub(crate) fn ended(&self) -> BoxFuture<'static, Exit> {
        self.supervisor.ended()
    }

    /// It refuses connections, so it is ending or broken: gives it the time to end, then kills it.
    pub(crate) async fn let_end(&self) -> Exit {
        if timeout_at(Instant::now() + self.stop_timeout, self.ended()).await.is_err() {
            self.supervisor.kill();
        }
        self.ended().await
    }
}

/// A file of a module for a program that takes no bytes: the stored one, or a copy of what is in memory only.
pub(crate) fn module_file(stored: &Stored) -> std::io::Result<(PathBuf, Option<tempfile::TempPath>)> {
    match stored {
        Stored::File(path) => Ok((std::path::absolute(path)?, None)),
        Stored::Bytes(bytes) => {
            let mut file = tempfile::Builder::new().prefix("capsule-").suffix(".wasm").tempfile()?;
            std::io::Write::write_all(&mut file, bytes)?;
            let path = file.into_temp_path();
            Ok((path.to_path_buf(), Some(path)))
        }
    }
}

/// A port that is free now. On Linux nobody but a program that asks for this very port gets it as long as the socket is
/// held: it does not listen, and those that do so set `SO_REUSEADDR`, as servers do. Elsewhere that is not so, and the socket
/// is given up.
fn reserve_port() -> std::io::Result<(Option<TcpSocket>, u16)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((HOST, 0).into())?;
    let port = socket.local_addr()?.port();
    Ok((cfg!(target_os = "linux").then_some(socket), port))
}

/// Waits until somebody listens, or says what happened instead.
async fn until_listening(port: u16, supervisor: &Supervisor, limit: Duration) -> Result<(), String> {
    let reached = async {
        let mut pause = PAUSES.0;
        while TcpStream::connect((HOST, port)).await.is_err() {
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    };
    tokio::select! {
        biased;
        exit = supervisor.ended() => Err(format!("{exit} before it listened")),
        () = reached => Ok(()),
        () = sleep(limit) => Err(format!("did not listen on its port within {limit:?}")),
    }
}

/// What a child has said since a line, for people: on one line.
fn last_lines(output: &Tee, since: u64) -> String {
    let lines = output.log.lines();
    let said: Vec<String> = lines
        .iter()
        .filter(|line| line.number > since && !line.text.trim().is_empty())
        .map(|line| line.text.chars().filter(|c| !c.is_control()).take(LAST_LINES.1).collect())
        .collect();
    let last = &said[said.len().saturating_sub(LAST_LINES.0)..];
    if last.is_empty() { String::new() } else { format!("; its last lines: {}", last.join(" | ")) }
}

fn spawn_failed(executable: &Path, error: &std::io::Error) -> FaasError {
    use std::io::ErrorKind::{NotFound, OutOfMemory, PermissionDenied, WouldBlock};
    let message = format!("cannot start `{}`: {error}", executable.display());
    match error.kind() {
        WouldBlock | OutOfMemory => FaasError::unavailable(message, Duration::from_secs(1)),
        NotFound | PermissionDenied => FaasError::new(FaasErrorKind::Invalid, message),
        _ => FaasError::new(FaasErrorKind::Runner, message),
    }
}

fn runner(what: &str, error: &std::io::Error) -> FaasError {
    FaasError::new(FaasErrorKind::Runner, format!("{what}: {error}"))
}
