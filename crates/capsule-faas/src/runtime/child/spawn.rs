//! From a command to a process that ends with the server.

use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Start;
use crate::shim;

/// Starts children, all from one thread that lives as long as this does: to the system their parent is that thread, and
/// they are killed when it ends.
pub(crate) struct Spawner {
    requests: mpsc::Sender<Request>,
}

struct Request {
    command: Command,
    answer: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread. Children are reaped by this runtime.
    pub(crate) fn start(runtime: Handle) -> io::Result<Spawner> {
        let (requests, received) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("capsule-spawn".into()).spawn(move || {
            let _runtime = runtime.enter();
            for Request { command, answer } in received {
                let mut command = tokio::process::Command::from(command);
                // Nobody who waits for it any more: the child is killed when the answer is dropped.
                let _ = answer.send(command.kill_on_drop(true).spawn());
            }
        })?;
        Ok(Spawner { requests })
    }

    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.requests.send(Request { command, answer }).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The command of a child: its output goes to the server, its environment is its own, and it leads a process group.
pub(crate) fn command(start: &Start<'_>, words: &[String]) -> Command {
    let mut command = if cfg!(target_os = "linux") {
        let mut command = Command::new(&start.children.executable);
        command.arg(shim::WORD).arg(std::process::id().to_string()).arg(start.executable);
        command
    } else {
        Command::new(start.executable)
    };
    command
        .args(words)
        .env_clear()
        .envs(start.children.environment.iter().map(|(name, value)| (name, value)))
        .envs(start.config.capabilities.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}
