//! One task for each child: it passes orders on, kills what does not obey, reaps it, and says how it ended.

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The last lines of a child that has ended may take this long. Who holds its pipes open beyond that is not heard.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    code: Option<i32>,
    signal: Option<i32>,
}

impl Exit {
    /// By itself and content.
    pub(crate) fn is_good(self) -> bool {
        self.code == Some(0)
    }

    fn of(status: std::io::Result<std::process::ExitStatus>) -> Exit {
        match status {
            #[cfg(unix)]
            Ok(status) => Exit { code: status.code(), signal: std::os::unix::process::ExitStatusExt::signal(&status) },
            #[cfg(not(unix))]
            Ok(status) => Exit { code: status.code(), signal: None },
            Err(_) => Exit { code: None, signal: None },
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "ended with exit code {code}"),
            (None, Some(signal)) => write!(f, "was ended by signal {signal}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Run,
    Stop(Duration),
    Kill,
}

/// The end of a child in the hands of its server. Dropped, the child is killed.
pub(crate) struct Supervisor {
    orders: watch::Sender<Order>,
    ended: watch::Receiver<Option<Exit>>,
}

impl Supervisor {
    /// Takes charge of a child and of the tasks that read its output.
    pub(crate) fn start(child: Child, pid: u32, output: JoinSet<()>) -> Supervisor {
        let (orders, received) = watch::channel(Order::Run);
        let (end, ended) = watch::channel(None);
        // Before the task is polled: it may be dropped without that.
        let group = Group(pid);
        tokio::spawn(async move {
            let exit = until_ended(child, &group, received).await;
            drop(group);
            last_words(output).await;
            // Nobody may want to know.
            let _ = end.send(Some(exit));
        });
        Supervisor { orders, ended }
    }

    /// SIGTERM, and SIGKILL after this time.
    pub(crate) fn stop(&self, patience: Duration) {
        // An end that was ordered before is not put off.
        self.orders.send_if_modified(|order| {
            let first = matches!(order, Order::Run);
            if first {
                *order = Order::Stop(patience);
            }
            first
        });
    }

    pub(crate) fn kill(&self) {
        self.orders.send_replace(Order::Kill);
    }

    /// Resolves when the child has ended and is reaped.
    pub(crate) fn ended(&self) -> BoxFuture<'static, Exit> {
        let mut ended = self.ended.clone();
        let lost = Exit { code: None, signal: None };
        async move { ended.wait_for(Option::is_some).await.ok().and_then(|exit| *exit).unwrap_or(lost) }.boxed()
    }
}

async fn until_ended(mut child: Child, group: &Group, mut orders: watch::Receiver<Order>) -> Exit {
    let mut deadline: Option<Instant> = None;
    let mut last_order = false;
    loop {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => return Exit::of(status),
            changed = orders.changed(), if !last_order => {
                let order = if changed.is_ok() { *orders.borrow_and_update() } else { Order::Kill };
                match order {
                    Order::Run => {}
                    Order::Stop(patience) => {
                        group.ask_to_end(&mut child);
                        deadline = Some(Instant::now() + patience);
                    }
                    Order::Kill => {
                        last_order = true;
                        group.kill(&mut child);
                    }
                }
            }
            () = late => {
                (deadline, last_order) = (None, true);
                group.kill(&mut child);
            }
        }
    }
}

async fn last_words(mut output: JoinSet<()>) {
    let all = async { while output.join_next().await.is_some() {} };
    // Those that are not done are aborted.
    let _ = timeout(LAST_WORDS, all).await;
}

/// The process group of a child. What is left of it is killed when this is dropped: after the child has ended, or when the
/// runtime ends before.
struct Group(u32);

#[cfg(unix)]
impl Group {
    fn signal(&self, signal: rustix::process::Signal) {
        let group = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            // It may have ended a moment ago.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn ask_to_end(&self, _: &mut Child) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn kill(&self, _: &mut Child) {
        self.signal(rustix::process::Signal::KILL);
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        // The number of a group is not given to another process as long as one of the group lives; when none does, it was
        // free for a moment only.
        self.signal(rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
impl Group {
    fn ask_to_end(&self, child: &mut Child) {
        self.kill(child);
    }

    fn kill(&self, child: &mut Child) {
        // It may have ended a moment ago.
        let _ = child.start_kill();
    }
}
