//! Commands: start, scale, duplicate, drop, route, rollback, upload, prune, stop.
//!
//! Each runs in a task of its own: a client that hangs up does not leave a command half done.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capsule_faas_model::names::{FunctionName, Index, Key, Revision};
use capsule_faas_model::record::Status;
use capsule_faas_model::registry::Scale;
use capsule_faas_model::route::Weights;
use capsule_faas_model::spec::{Origin, Spec};
use capsule_faas_model::start::StartBody;
use capsule_faas_model::target::Selector;
use futures_util::Stream;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::error::{FaasError, FaasErrorKind};
use super::process::Process;
use super::starts::Check;
use super::{Faas, Inner};
use crate::modules::Digest;

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
            let name = body.name.clone();
            inner.start(&name, |registry, now| registry.reserve_start(body, origin, now)).await
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
            inner.start(&key.name, |registry, now| registry.reserve_restart(&key, body, now)).await
        })
        .await
    }

    /// Has as many indexes of a revision as wanted: all of them, or none is changed.
    ///
    /// # Errors
    /// Not found, invalid for 0, a conflict while one is being started, or why one did not start.
    pub async fn scale(&self, name: FunctionName, revision: Revision, count: Index) -> Result<(), FaasError> {
        self.command(|inner| async move {
            let one = inner.commands.of(&name).await;
            let scale = inner.write().registry.reserve_scale(&name, &revision, count, Timestamp::now())?;
            match scale {
                Scale::Same => Ok(()),
                Scale::Down(change) => inner.write_down(vec![change], &[]).await,
                Scale::Up(reservations) => {
                    drop(one);
                    inner.start_all(&name, reservations).await
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
        self.command(
            |inner| async move { inner.change(&name, |registry| registry.duplicate(&name, &revision, &new)).await },
        )
        .await
    }

    /// Forgets what a selector names. Calls that run come to their end; `OnStop` follows when nobody names the process any
    /// more.
    ///
    /// # Errors
    /// Not found, or a conflict when the revision has weight in the route.
    pub async fn drop(&self, selector: Selector) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(&selector.name, |registry| registry.drop(&selector)).await })
            .await
    }

    /// Splits the calls of a function by weight; none sends all to `default`. No call sees a mixture.
    ///
    /// # Errors
    /// Not found, or invalid when a revision is unknown.
    pub async fn set_route(&self, name: FunctionName, weights: Option<Weights>) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(&name, |registry| registry.set_route(&name, weights)).await })
            .await
    }

    /// As [`Faas::set_route`] on behalf of the file of functions.
    ///
    /// # Errors
    /// As [`Faas::set_route`].
    pub async fn set_route_by_file(&self, name: FunctionName, weights: Option<Weights>) -> Result<(), FaasError> {
        self.command(
            |inner| async move { inner.change(&name, |registry| registry.set_route_by_file(&name, weights)).await },
        )
        .await
    }

    /// Restores the route before the current one.
    ///
    /// # Errors
    /// Not found, or a conflict when there is none or its revisions are gone.
    pub async fn rollback(&self, name: FunctionName) -> Result<(), FaasError> {
        self.command(|inner| async move { inner.change(&name, |registry| registry.rollback(&name)).await }).await
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
            let _none = inner.commands.none().await;
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
        self.inner.write().is_stopping = true;
        self.inner.stopping.send_replace(true);
        // The commands that are being written come to their end; what has not been written by now will not be.
        let _none = self.inner.commands.none().await;
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

fn lost() -> FaasError {
    FaasError::new(FaasErrorKind::Runner, "the command was lost; the log says why")
}
