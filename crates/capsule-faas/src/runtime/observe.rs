//! What is seen from outside: the list of processes, health, logs, counters.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use capsule_faas_model::names::Key;
use capsule_faas_model::record::{Listing, Record, Status};
use capsule_faas_model::registry::{ProcessId, Registry};
use capsule_faas_model::target::Selector;
use capsule_hdk::{BusyReason, Call, CallError, Kind};
use http::Response;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use super::child::{Child, Failed};
use super::error::FaasError;
use super::logs::LogLine;
use super::platform::Flags;
use super::process::{Process, Transport};
use super::stats::ProcessStats;
use super::{Faas, Inner};

/// How long a question for health waits for a busy instance.
const PATIENCE: Duration = Duration::from_secs(1);

/// The health of a function.
#[derive(Debug)]
pub enum Health {
    /// It does not run now; asking does not wake it.
    NotRunning {
        /// How it is.
        status: Status,
        /// Why it failed; none when it did not.
        reason: Option<String>,
    },
    /// It runs, and its module has nothing of its own to say.
    Awake,
    /// It runs, and all its instances are at work.
    Busy,
    /// What its module says: a response document.
    Document(Bytes),
    /// What its child process says.
    Child(Response<Bytes>),
    /// Its module failed to say.
    Failed(CallError),
}

impl Faas {
    /// All records, as they may be shown.
    pub fn processes(&self) -> Listing {
        let state = self.inner.read();
        let flags = Flags(&*self.inner.config.platform);
        let shown = state.registry.iter().filter_map(|found| {
            let process = state.processes.get(&found.entry.process)?;
            let key = found.key();
            let mut record = Record::new(&key, found.entry, &process.lock().life, &flags);
            if found.entry.spec.path.is_none() {
                record.pid = std::process::id();
            }
            Some((key, record))
        });
        shown.collect()
    }

    /// The registry as it is now: a copy, to plan with.
    pub fn registry(&self) -> Registry {
        self.inner.read().registry.clone()
    }

    /// The health of a function, its lowest index when none is named. No call: it neither wakes nor keeps awake.
    ///
    /// # Errors
    /// Not found.
    pub async fn health(&self, selector: &Selector) -> Result<Health, FaasError> {
        let process = {
            let state = self.inner.read();
            let found = state.registry.select(selector)?;
            found.first().and_then(|found| state.processes.get(&found.entry.process).cloned())
        };
        let process = process.ok_or_else(FaasError::stopping)?;
        let transport = {
            let mut held = process.lock();
            held.life.checked(self.inner.now());
            match held.life.status() {
                Status::Started => held.transport.clone(),
                _ => None,
            }
        };
        let Some(transport) = transport else { return Ok(not_running(&process)) };
        let call = Call::new(Kind::Health, Bytes::new()).with_patience(PATIENCE);
        let inside = match &*transport {
            Transport::Inside(inside) => inside,
            Transport::Child(child) => return Ok(child_health(&process, child, &call).await),
        };
        if !inside.function.module().exports(Kind::Health.export()) {
            return Ok(Health::Awake);
        }
        Ok(match inside.function.call(call).await {
            Ok(document) => Health::Document(document),
            Err(CallError::Busy(busy)) if busy.is_load() => Health::Busy,
            Err(CallError::Busy(busy)) if busy.reason == BusyReason::Stopping => not_running(&process),
            Err(error) => Health::Failed(error),
        })
    }

    /// A child process says that it stops. No more than a hint, and anybody may send it: what has really ended is seen by
    /// the server itself, and recorded when it has.
    ///
    /// # Errors
    /// Not found.
    pub fn notified(&self, selector: &Selector) -> Result<(), FaasError> {
        self.inner.selected(selector).map(drop)
    }

    /// The last lines of a function, of all its indexes when none is named, in the order in which they were printed.
    ///
    /// # Errors
    /// Not found.
    pub fn logs(&self, selector: &Selector) -> Result<Vec<Arc<LogLine>>, FaasError> {
        self.inner.logs(selector)
    }

    /// As [`Faas::logs`], and what is printed from then on.
    ///
    /// # Errors
    /// Not found.
    pub fn follow(&self, selector: &Selector) -> Result<(Vec<Arc<LogLine>>, Follow), FaasError> {
        let lines = self.inner.feed.subscribe();
        let changed = self.inner.changed.subscribe();
        let processes = self.inner.selected(selector)?;
        let kept = self.inner.logs(selector)?;
        let seen = kept.last().map_or(0, |line| line.number);
        let inner = Arc::downgrade(&self.inner);
        let stopping = self.inner.stopping.subscribe();
        Ok((kept, Follow { inner, selector: selector.clone(), processes, lines, changed, stopping, seen }))
    }

    /// The counters of all processes, in the order of their keys; each process once.
    pub fn stats(&self) -> Vec<ProcessStats> {
        let state = self.inner.read();
        let mut seen = HashSet::new();
        let new = state.registry.iter().filter(|found| seen.insert(found.entry.process));
        let counted = new.filter_map(|found| {
            let process = state.processes.get(&found.entry.process)?;
            let status = process.lock().life.status();
            Some(process_stats(found.key(), status, process))
        });
        counted.collect()
    }
}

fn process_stats(key: Key, status: Status, process: &Process) -> ProcessStats {
    let (latency, cold_starts) = (process.latency.snapshot(), process.cold_starts.snapshot());
    ProcessStats { key, status, calls: process.stats(), latency, cold_starts }
}

async fn child_health(process: &Process, child: &Child, call: &Call) -> Health {
    match timeout(PATIENCE, child.proxy.call(call)).await {
        Ok(Ok(answer)) => Health::Child(answer),
        Err(_) => Health::Busy,
        Ok(Err(Failed::Call(CallError::Busy(_)))) => Health::Busy,
        Ok(Err(Failed::Refused(_))) => not_running(process),
        Ok(Err(Failed::Call(error))) => Health::Failed(error),
        Ok(Err(Failed::Broken(what) | Failed::NotSent(what))) => {
            Health::Failed(CallError::Protocol(format!("the child process {what}")))
        }
    }
}

fn not_running(process: &Process) -> Health {
    let held = process.lock();
    Health::NotRunning { status: held.life.status(), reason: held.life.reason().map(str::to_owned) }
}

impl Inner {
    fn selected(&self, selector: &Selector) -> Result<Vec<ProcessId>, FaasError> {
        Ok(self.read().registry.select(selector)?.iter().map(|found| found.entry.process).collect())
    }

    fn logs(&self, selector: &Selector) -> Result<Vec<Arc<LogLine>>, FaasError> {
        let ids = self.selected(selector)?;
        let processes: Vec<Arc<Process>> = {
            let state = self.read();
            ids.iter().filter_map(|id| state.processes.get(id).cloned()).collect()
        };
        let mut lines: Vec<Arc<LogLine>> = processes.iter().flat_map(|process| process.log.lines()).collect();
        lines.sort_unstable_by_key(|line| line.number);
        Ok(lines)
    }
}

/// The lines of a function as they come.
pub struct Follow {
    inner: Weak<Inner>,
    selector: Selector,
    /// Whose lines are wanted, until the registry changes.
    processes: Vec<ProcessId>,
    lines: broadcast::Receiver<Arc<LogLine>>,
    changed: watch::Receiver<()>,
    stopping: watch::Receiver<bool>,
    /// Lines up to this number were in the answer.
    seen: u64,
}

impl Follow {
    /// The next line; none when the function is dropped or the server stops. A reader that is too slow misses lines.
    ///
    /// # Cancel safety
    /// Dropping the future loses no line.
    pub async fn next(&mut self) -> Option<Arc<LogLine>> {
        loop {
            let received = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                changed = self.changed.changed() => {
                    changed.ok()?;
                    self.processes = self.inner.upgrade()?.selected(&self.selector).ok()?;
                    continue;
                }
                received = self.lines.recv() => received,
            };
            let line = match received {
                Ok(line) => line,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return None,
            };
            if line.number > self.seen && self.processes.contains(&line.process) {
                return Some(line);
            }
        }
    }
}
