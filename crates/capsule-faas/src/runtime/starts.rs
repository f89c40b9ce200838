//! From a start body to a process that is registered: its module is stored, it is started, then written down.

use std::sync::{Arc, Mutex, PoisonError};

use capsule_faas_model::Refusal;
use capsule_faas_model::lifecycle::Lifecycle;
use capsule_faas_model::names::{FunctionName, Key};
use capsule_faas_model::registry::{Registry, Reservation};
use capsule_faas_model::start::StartBody;
use capsule_hdk::Module;
use futures_util::future::join_all;
use futures_util::stream;
use jiff::Timestamp;

use super::error::FaasError;
use super::lives::not_stored;
use super::logs::Log;
use super::platform::{self, Source};
use super::process::Process;
use super::{Inner, child};
use crate::error::StoreError;
use crate::modules::Digest;

impl Inner {
    /// The body with the digest of its module, whose bytes are stored now. The module stays compiled as long as the answer is
    /// held.
    pub(super) async fn with_module(
        self: &Arc<Self>,
        mut body: StartBody,
    ) -> Result<(StartBody, Option<Arc<Module>>), FaasError> {
        if let Some(path) = &body.spec.path {
            child::executable(self.config.children.as_ref(), path)?;
        }
        let modules = &self.config.modules;
        let read = platform::readable(&*self.config.platform, &body.spec);
        let (digest, module) = match self.config.platform.demands(&read)?.source {
            Source::Stored(digest) if modules.get(&digest).is_some() => (digest, None),
            Source::Stored(digest) => return Err(not_stored(&digest)),
            Source::File(path) => {
                let _turn = self.compiling.acquire().await;
                let check = Check::new(self, path.to_string_lossy());
                check.verdict(modules.put_file(&path, self.config.max_module, check.run()).await)?
            }
            Source::Remote => {
                // A server that does not answer keeps other downloads waiting at the most, and nobody's start.
                let bytes = {
                    let _turn = self.downloading.acquire().await;
                    self.config.platform.fetch(&read).await?
                };
                let _turn = self.compiling.acquire().await;
                let check = Check::new(self, "the module of `-url`");
                let whole = stream::iter([Ok::<_, std::io::Error>(bytes)]);
                check.verdict(modules.put_stream(whole, self.config.max_module, check.run()).await)?
            }
        };
        body.spec.module = Some(digest.to_string().parse()?);
        Ok((body, module))
    }

    /// Starts what a reservation stands for, then registers it.
    pub(super) async fn start(
        self: &Arc<Self>,
        name: &FunctionName,
        reserve: impl FnOnce(&mut Registry, Timestamp) -> Result<Reservation, Refusal>,
    ) -> Result<Key, FaasError> {
        let reservation = {
            let _one = self.commands.of(name).await;
            reserve(&mut self.write().registry, Timestamp::now())?
        };
        let key = reservation.key().clone();
        self.start_all(name, vec![reservation]).await.map(|()| key)
    }

    /// Starts all of a function or, when one fails, none.
    pub(super) async fn start_all(
        self: &Arc<Self>,
        name: &FunctionName,
        reservations: Vec<Reservation>,
    ) -> Result<(), FaasError> {
        let made = join_all(reservations.iter().map(|reservation| self.start_reserved(reservation))).await;
        let mut new = Vec::new();
        let mut failure = None;
        for result in made {
            match result {
                Ok(process) => new.extend(process),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let _one = self.commands.of(name).await;
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
        let habits = platform::habits_of(&*self.config.platform, &entry.spec);
        let log = Log::new(self.config.log_bytes);
        let process = Process::new(reservation.key(), entry, Lifecycle::starting(habits.sleep), habits, log);
        self.bring_up(&process).await?;
        Ok(Some(process))
    }
}

type Verdict = Result<Arc<Module>, FaasError>;

/// Compiles bytes on their way into the store.
pub(super) struct Check {
    inner: Arc<Inner>,
    name: String,
    result: Arc<Mutex<Option<Verdict>>>,
}

impl Check {
    pub(super) fn new(inner: &Arc<Inner>, name: impl Into<String>) -> Check {
        Check { inner: Arc::clone(inner), name: name.into(), result: Arc::default() }
    }

    /// For the thread that stores.
    pub(super) fn run(&self) -> impl FnOnce(&[u8]) -> Result<(), String> + Send + 'static {
        let (inner, name, result) = (Arc::clone(&self.inner), self.name.clone(), Arc::clone(&self.result));
        move |bytes| {
            let compile = || Module::from_bytes(inner.config.host.engine(), &name, bytes);
            let compiled = inner.compiled.get(Digest::of(bytes), || inner.with_room(compile)).map_err(FaasError::from);
            let verdict = compiled.as_ref().map(drop).map_err(FaasError::to_string);
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(compiled);
            verdict
        }
    }

    /// What the check found, with more than the store can tell.
    pub(super) fn verdict(
        &self,
        stored: Result<Digest, StoreError>,
    ) -> Result<(Digest, Option<Arc<Module>>), FaasError> {
        let compiled = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (stored, compiled) {
            (Ok(digest), Some(Ok(module))) => Ok((digest, Some(module))),
            (_, Some(Err(error))) => Err(error),
            (Ok(digest), None) => Ok((digest, None)),
            (Err(error), _) => Err(error.into()),
        }
    }
}
