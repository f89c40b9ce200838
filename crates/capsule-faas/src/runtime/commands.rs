//! Commands: start, scale, duplicate, drop, route, rollback, upload, prune, stop.
//!
//! Each runs in a task of its own: a client that hangs up does not leave a command half done.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capsule_faas_model::lifecycle::Lifecycle;
use capsule_faas_model::names::{FunctionName, Index, Key, Revision};
use capsule_faas_model::record::Status;
use capsule_faas_model::registry::{Change, Registry, Reservation, Scale, Write};
use capsule_faas_model::route::Weights;
use capsule_faas_model::spec::{Origin, Spec};
use capsule_faas_model::start::StartBody;
use capsule_faas_model::target::Selector;
use capsule_faas_model::{Refusal, stored};
use capsule_hdk::Module;
use futures_util::Stream;
use futures_util::future::join_all;
use futures_util::stream;
use jiff::Timestamp;

use super::child;
use super::error::{FaasError, FaasErrorKind};
use super::lives::not_stored;
use super::logs::Log;
use super::platform::{self, Source};
use super::process::Process;
use super::{Faas, Inner};
use crate::modules::Digest;
use crate::store::{self, Table};

impl Faas {
    /// Starts a function and answers its key: the bytes of its module are stored, it is loaded, `_start` and `OnStart` run,
    /// and its record is on disk when this returns. After a restart of the server it takes over the lowest restored index
    /// of the revision first.
    ///
    /// # Errors
    /// What is wrong with the body or the module; nothing is registered then.
    ///
    /// # Cancel safety
    /// Dropping the future of this and of all other commands does not undo them.
    pub async fn start(&self, body: StartBody, origin: Origin) -> Result<Key, FaasError> {
        self.command(|inner| async move {
            let (body, _module) = inner.with_module(body).await?;
            inner.start(|registry, now| registry.reserve_start(body, origin, now)).await
        })
        .await
    }

    /// Starts one entry anew with what the body says; the process before takes calls until then. An entry that has not
    /// changed keeps its process.
    ///
    /// # Errors
    /// As [`Faas::start`]; not found when there is no such entry.
    pub async fn restart(&self, key: Key, body: StartBody) -> Result<Key, FaasError> {
        self.command(|inner| async move {
            let (body, _module) = inner.with_module(body).await?;
            inner.start(|registry, now| registry.reserve_restart(&key, body, now)).await
        })
        .await
    }

    /// Has as many indexes of a revision as wanted: all of them, or none is changed.
    ///
    /// # Errors
    /// Not found, invalid for 0, a conflict while one is being started, or why one did not start.
    pub async fn scale(&self, name: FunctionName, revision: Revision, count: Index) -> Result<(), FaasError> {
        self.command(|inner| async move {
            let one = inner.commands.lock().await;
            let scale = inner.write().registry.reserve_scale(&name, &revision, count, Timestamp::now())?;
            match scale {
                Scale::Same => Ok(()),
                Scale::Down(change) => inner.write_down(vec![change], &[]).await,
                Scale::Up(reservations) => {
                    drop(one);
                    inner.start_all(reservations).await
                }
            }
        })
        .await
    }

    /// Gives the processes of a revision a second name.
    ///
    /// # Errors
    /// Not found, or a conflict when that name belongs to another process.
    pub async fn duplicate(&self, name: FunctionName, revision: Revision, new: Revision) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(|registry| registry.duplicate(&name, &revision, &new)).await })
            .await
    }

    /// Forgets what a selector names. Calls that run come to their end; `OnStop` follows when nobody names the process any
    /// more.
    ///
    /// # Errors
    /// Not found, or a conflict when the revision has weight in the route.
    pub async fn drop(&self, selector: Selector) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(|registry| registry.drop(&selector)).await }).await
    }

    /// Splits the calls of a function by weight; none sends all to `default`. No call sees a mixture.
    ///
    /// # Errors
    /// Not found, or invalid when a revision is unknown.
    pub async fn set_route(&self, name: FunctionName, weights: Option<Weights>) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(|registry| registry.set_route(&name, weights)).await }).await
    }

    /// As [`Faas::set_route`] on behalf of the file of functions.
    ///
    /// # Errors
    /// As [`Faas::set_route`].
    pub async fn set_route_by_file(&self, name: FunctionName, weights: Option<Weights>) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(|registry| registry.set_route_by_file(&name, weights)).await })
            .await
    }

    /// Restores the route before the current one.
    ///
    /// # Errors
    /// Not found, or a conflict when there is none or its revisions are gone.
    pub async fn rollback(&self, name: FunctionName) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(|registry| registry.rollback(&name)).await }).await
    }

    /// Stores a module that a client sends and answers its name, for `-wasm=sha256:...`. It is compiled first: what is no
    /// module is not stored.
    ///
    /// # Errors
    /// Too large, broken off, or not a module.
    pub async fn upload<E>(&self, chunks: impl Stream<Item = Result<Bytes, E>>) -> Result<Digest, FaasError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let check = Check::new(&self.inner, "the upload");
        let stored = self.inner.config.modules.put_stream(chunks, self.inner.config.max_module, check.run()).await;
        check.verdict(stored).map(|(digest, _)| digest)
    }

    /// Removes the modules that no record names and that were stored longer ago than this, and answers which.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub async fn prune(&self, older_than: Duration) -> Result<Vec<Digest>, FaasError> {
        self.command(|inner| async move {
            let _one = inner.commands.lock().await;
            let mut used: HashSet<Digest> = inner.compiled.in_use();
            let named = |spec: &Spec| spec.module.as_ref().and_then(|module| module.as_str().parse::<Digest>().ok());
            used.extend(inner.read().registry.iter().filter_map(|found| named(&found.entry.spec)));
            let modules = inner.config.modules.clone();
            let pruned = tokio::task::spawn_blocking(move || modules.prune(&used, older_than)).await;
            Ok(pruned.map_err(|_| lost())??)
        })
        .await
    }

    /// Ends all functions: no new commands and starts, calls that wait are refused, those that run have `patience`, then
    /// `OnStop` runs. The records stay.
    pub async fn stop(&self, patience: Duration) {
        self.inner.stopping.send_replace(true);
        // The command that is being written comes to its end; what has not been written by now will not be.
        let _one = self.inner.commands.lock().await;
        let processes: Vec<Arc<Process>> = self.inner.read().processes.values().cloned().collect();
        let ends = processes.iter().map(|process| async {
            let mut change = pin!(process.change());
            change.as_mut().enable();
            let (effect, starting) = {
                let mut held = process.lock();
                let effect = held.life.retire(self.inner.now());
                (effect, held.life.status() == Status::Waiting)
            };
            if starting {
                // One that is too slow is left behind without `OnStop`.
                let _ = tokio::time::timeout(patience, change).await;
            }
            // Where calls still run, their end would ask for the stop that happens here.
            process.end(patience).await;
            self.inner.carry_out(process, effect);
        });
        join_all(ends).await;
    }

    async fn command<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T, FaasError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, FaasError>> + Send + 'static,
    {
        if self.inner.is_stopping() {
            return Err(FaasError::stopping());
        }
        tokio::spawn(work(Arc::clone(&self.inner))).await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Inner {
    /// The body with the digest of its module, whose bytes are stored now. The module stays compiled as long as the answer is
    /// held.
    async fn with_module(self: &Arc<Self>, mut body: StartBody) -> Result<(StartBody, Option<Arc<Module>>), FaasError> {
        if let Some(path) = &body.spec.path {
            child::executable(self.config.children.as_ref(), path)?;
        }
        let modules = &self.config.modules;
        let read = platform::readable(&*self.config.platform, &body.spec);
        let (digest, module) = match self.config.platform.demands(&read)?.source {
            Source::Stored(digest) if modules.get(&digest).is_some() => (digest, None),
            Source::Stored(digest) => return Err(not_stored(&digest)),
            Source::File(path) => {
                let check = Check::new(self, path.to_string_lossy());
                check.verdict(modules.put_file(&path, self.config.max_module, check.run()).await)?
            }
            Source::Remote => {
                let bytes = self.config.platform.fetch(&read).await?;
                let check = Check::new(self, "the module of `-url`");
                let whole = stream::iter([Ok::<_, std::io::Error>(bytes)]);
                check.verdict(modules.put_stream(whole, self.config.max_module, check.run()).await)?
            }
        };
        body.spec.module = Some(digest.to_string().parse()?);
        Ok((body, module))
    }

    /// Starts what a reservation stands for, then registers it.
    async fn start(
        self: &Arc<Self>,
        reserve: impl FnOnce(&mut Registry, Timestamp) -> Result<Reservation, Refusal>,
    ) -> Result<Key, FaasError> {
        let reservation = {
            let _one = self.commands.lock().await;
            reserve(&mut self.write().registry, Timestamp::now())?
        };
        let key = reservation.key().clone();
        self.start_all(vec![reservation]).await.map(|()| key)
    }

    /// Starts all or, when one fails, none.
    async fn start_all(self: &Arc<Self>, reservations: Vec<Reservation>) -> Result<(), FaasError> {
        let made = join_all(reservations.iter().map(|reservation| self.start_reserved(reservation))).await;
        let mut new = Vec::new();
        let mut failure = None;
        for result in made {
            match result {
                Ok(process) => new.extend(process),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let _one = self.commands.lock().await;
        let result = match failure {
            Some(error) => Err(error),
            None => self.write_down(reservations.iter().map(Reservation::change).collect(), &new).await,
        };
        if result.is_err() {
            let mut state = self.write();
            reservations.into_iter().for_each(|reservation| state.registry.release(reservation));
            drop(state);
            for process in &new {
                let effect = process.lock().life.retire(self.now());
                self.carry_out(process, effect);
            }
        }
        result
    }

    /// The new process of a reservation, started; none when it keeps the one that is there, which is awake then.
    async fn start_reserved(self: &Arc<Self>, reservation: &Reservation) -> Result<Option<Arc<Process>>, FaasError> {
        let entry = reservation.entry();
        if !reservation.is_new() {
            let process = self.read().processes.get(&entry.process).cloned();
            let process = process.ok_or_else(FaasError::stopping)?;
            self.awake(&process).await?;
            return Ok(None);
        }
        let sleep = platform::sleep_of(&*self.config.platform, &entry.spec);
        let log = Log::new(self.config.log_bytes);
        let process = Process::new(reservation.key(), entry, Lifecycle::starting(sleep), sleep, log);
        self.bring_up(&process).await?;
        Ok(Some(process))
    }

    /// Plans a change, writes it and makes it visible.
    async fn change(
        self: &Arc<Self>,
        plan: impl FnOnce(&mut Registry) -> Result<Change, Refusal>,
    ) -> Result<(), FaasError> {
        let _one = self.commands.lock().await;
        let change = plan(&mut self.write().registry)?;
        if change.is_empty() {
            return Ok(());
        }
        self.write_down(vec![change], &[]).await
    }

    /// Writes changes, then shows them to calls together with the new processes. The caller holds the lock of commands.
    async fn write_down(self: &Arc<Self>, changes: Vec<Change>, new: &[Arc<Process>]) -> Result<(), FaasError> {
        if self.is_stopping() {
            return Err(FaasError::stopping());
        }
        let writes = changes.iter().flat_map(Change::writes).map(to_store).collect();
        // On a copy first: what cannot be committed is not written.
        let mut next = self.read().registry.clone();
        let mut ended = Vec::new();
        for change in changes {
            let released = next.commit(change);
            ended.extend(released.map_err(|stale| FaasError::new(FaasErrorKind::Conflict, stale.to_string()))?);
        }
        self.config.store.commit(writes).await?;
        let ended: Vec<Arc<Process>> = {
            let mut state = self.write();
            state.registry = next;
            state.processes.extend(new.iter().map(|process| (process.id, Arc::clone(process))));
            state.count_names();
            ended.iter().filter_map(|id| state.processes.get(id).cloned()).collect()
        };
        // Only now it sees the new ones.
        self.timer.notify_one();
        for process in ended {
            let effect = process.lock().life.retire(self.now());
            self.carry_out(&process, effect);
        }
        Ok(())
    }
}

fn to_store(write: &Write) -> store::Change {
    match write {
        Write::Put { key, entry, .. } => store::Change::put(Table::Functions, key.to_string(), stored::encode(entry)),
        Write::Remove { key, .. } => store::Change::delete(Table::Functions, key.to_string()),
        Write::PutRoute { name, route, .. } => {
            store::Change::put(Table::Routes, name.to_string(), stored::encode(route))
        }
        Write::RemoveRoute { name, .. } => store::Change::delete(Table::Routes, name.to_string()),
    }
}

fn lost() -> FaasError {
    FaasError::new(FaasErrorKind::Runner, "the command was lost; the log says why")
}

type Verdict = Result<Arc<Module>, FaasError>;

/// Compiles bytes on their way into the store.
struct Check {
    inner: Arc<Inner>,
    name: String,
    result: Arc<Mutex<Option<Verdict>>>,
}

impl Check {
    fn new(inner: &Arc<Inner>, name: impl Into<String>) -> Check {
        Check { inner: Arc::clone(inner), name: name.into(), result: Arc::default() }
    }

    /// For the thread that stores.
    fn run(&self) -> impl FnOnce(&[u8]) -> Result<(), String> + Send + 'static {
        let (inner, name, result) = (Arc::clone(&self.inner), self.name.clone(), Arc::clone(&self.result));
        move |bytes| {
            let compile = || Module::from_bytes(inner.config.host.engine(), &name, bytes);
            let compiled = inner.compiled.get(Digest::of(bytes), compile).map_err(FaasError::from);
            let verdict = compiled.as_ref().map(drop).map_err(FaasError::to_string);
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(compiled);
            verdict
        }
    }

    /// What the check found, with more than the store can tell.
    fn verdict(&self, stored: Result<Digest, crate::StoreError>) -> Result<(Digest, Option<Arc<Module>>), FaasError> {
        let compiled = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (stored, compiled) {
            (Ok(digest), Some(Ok(module))) => Ok((digest, Some(module))),
            (_, Some(Err(error))) => Err(error),
            (Ok(digest), None) => Ok((digest, None)),
            (Err(error), _) => Err(error.into()),
        }
    }
}
