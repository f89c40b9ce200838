//! A function: a module with its settings, and the way of a call through it.

mod exchange;
mod serving;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capsule_abi::names;
use tokio::time::Instant;

use crate::call::{Answer, Call, Kind};
use crate::capabilities::Capabilities;
use crate::engine::cores;
use crate::error::{BusyReason, CallError, LoadError, LoadErrorKind};
use crate::files::DiskUse;
use crate::host::Extensions;
use crate::instance::Instance;
use crate::instances::{Instances, Slot};
use crate::limits::{Limit, Limits};
use crate::link::Host;
use crate::module::{Module, check_exports};
use crate::output::{Buffering, DirectOutput, Output};
use crate::place::Place;
use crate::reaper::Burial;
use crate::slices::{HangUp, Lane, Running, within};
use crate::stats::Stats;
use crate::template::Template;

pub use self::exchange::Exchange;

/// Instances beyond the first are let go when nobody used them for this long.
const IDLE: Duration = Duration::from_secs(30);
/// `OnStop` may take this long.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Which instances serve the calls of a function, and so what a global variable of the module means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// Up to this many instances, each serving one call at a time; globals persist from call to call in each. With 1, the
    /// default, calls are served in order and globals are the function's.
    Instances(usize),
    /// A new instance for every call: no state outlives a call.
    Fresh,
}

impl Contract {
    /// As many instances as there are cores.
    pub fn auto() -> Contract {
        Contract::Instances(cores())
    }
}

impl Default for Contract {
    fn default() -> Contract {
        Contract::Instances(1)
    }
}

/// The settings of a function.
#[derive(Clone)]
pub struct FunctionConfig {
    /// What it is called in logs and messages.
    pub name: String,
    /// Which instances serve.
    pub contract: Contract,
    /// What calls and instances may use.
    pub limits: Limits,
    /// What the guest may see and reach.
    pub capabilities: Capabilities,
    /// What host functions need for this function: caches, clients.
    pub extensions: Extensions,
    /// Where the guest's output goes.
    pub output: Arc<dyn Output>,
    /// In which portions.
    pub buffering: Buffering,
    /// What its files have grown by so far. A runner that ends a function and makes it again hands the same one in.
    pub disk_use: DiskUse,
}

impl FunctionConfig {
    /// The defaults: contract 1, all limits on, no capabilities, output to the process's own.
    pub fn new(name: impl Into<String>) -> FunctionConfig {
        FunctionConfig {
            name: name.into(),
            contract: Contract::default(),
            limits: Limits::default(),
            capabilities: Capabilities::default(),
            extensions: Extensions::default(),
            output: Arc::new(DirectOutput),
            buffering: Buffering::default(),
            disk_use: DiskUse::default(),
        }
    }
}

/// A module that can be called. Cheap to clone.
#[derive(Clone)]
pub struct Function {
    inner: Arc<Inner>,
}

struct Inner {
    template: Template,
    module: Module,
    contract: Contract,
    takes_requests: bool,
    instances: Arc<Instances>,
    lane: Arc<Lane>,
}

impl Function {
    /// Links `module` with the host functions of `host`. Nothing runs yet: see [`Function::start`]. Must be called within
    /// a tokio runtime, which is where host functions wait.
    ///
    /// # Errors
    /// [`LoadError`] that names every export and import that does not fit.
    pub fn new(host: &Host, module: &Module, config: FunctionConfig) -> Result<Function, LoadError> {
        let of_2022 = if module.exports(names::CALL_HANDLE_HTTP_2022) {
            Some("export `callHandleHttp`".to_owned())
        } else {
            host.import_without_result(module).map(|name| format!("import `{name}` has no result"))
        };
        if let Some(sign) = of_2022 {
            return Err(LoadError::new(
                LoadErrorKind::OtherAbi,
                format!("module `{}` was made for Capsule of 2022 ({sign}), another ABI", module.name()),
            )
            .with_hint("build it with a module SDK of v0.0.6 or later"));
        }
        if module.is_plain_command() {
            return Err(LoadError::new(
                LoadErrorKind::OtherAbi,
                format!(
                    "module `{}` exports none of `callHandle`, `callHandleJSON`, `callHandleHTTP`, `callHandleRequest`, \
                     `callHandleMessage`",
                    module.name()
                ),
            )
            .with_hint("it is a plain WASI command: `capsule` runs it, a server has nothing to call"));
        }
        let mut problems = check_exports(module);
        problems.extend(host.check_imports(module));
        let contract = config.contract;
        let queue = config.limits.queue;
        let most = host.engine().max_instances();
        let slots = match contract {
            Contract::Instances(count) => count.clamp(1, most),
            Contract::Fresh => most,
        };
        let template = Template::new(host, module, config, slots, false, problems)?;
        let counters = Arc::clone(&template.surroundings.counters);
        let instances = Instances::new(slots, queue, counters, template.engine.clone());
        let lane = Arc::new(Lane::new(template.engine.long()));
        let takes_requests = module.exports(names::CALL_HANDLE_REQUEST);
        let inner = Inner { template, module: module.clone(), contract, takes_requests, instances, lane };
        Ok(Function { inner: Arc::new(inner) })
    }

    /// Makes the first instance, which proves the module: `_initialize` or `_start`, and `OnStart`. Without this call, the
    /// first call does it. With [`Contract::Fresh`] the instance is thrown away again.
    ///
    /// # Errors
    /// [`CallError::Start`] with what went wrong.
    pub async fn start(&self) -> Result<(), CallError> {
        let patience = self.inner.template.surroundings.limits.queue_timeout;
        let acquired = self.inner.instances.acquire().map_err(CallError::Busy)?;
        self.inner.wait(acquired, None, patience).await.map(drop)
    }

    /// Calls the function. The time limit starts when the call gets its instance; waiting for one has its own.
    ///
    /// The guest runs where the future is polled, and a short call is ready at once: a task that calls in a loop lets the others of
    /// its thread run with `tokio::task::yield_now`.
    ///
    /// # Errors
    /// [`CallError`] says what happened and whose fault it is.
    ///
    /// # Cancel safety
    /// Dropping the future ends a call of [`Contract::Fresh`]; one of an instance with state keeps its turn and runs on to its
    /// end or deadline, since an interrupted guest would have to be thrown away with its state.
    pub async fn call(&self, call: Call) -> Result<Bytes, CallError> {
        self.exchange(call).await.map(Answer::into_body)
    }

    /// As [`Function::call`], with the head of the answer when the call is a [`Call::request`].
    ///
    /// # Errors
    /// As [`Function::call`].
    ///
    /// # Cancel safety
    /// As [`Function::call`].
    pub fn exchange(&self, call: impl Into<Box<Call>>) -> Exchange<'_> {
        Exchange::new(&self.inner, call.into())
    }

    /// Which instances serve.
    pub fn contract(&self) -> Contract {
        self.inner.contract
    }

    /// Whether the module has the export `callHandleRequest`, so that a request needs no document.
    pub fn takes_requests(&self) -> bool {
        self.inner.takes_requests
    }

    /// `callHandle` with text or bytes.
    ///
    /// # Errors
    /// As [`Function::call`].
    pub async fn handle(&self, argument: impl Into<Bytes>) -> Result<Bytes, CallError> {
        self.call(Call::new(Kind::Text, argument)).await
    }

    /// `callHandleJSON` with a JSON document.
    ///
    /// # Errors
    /// As [`Function::call`].
    pub async fn handle_json(&self, document: impl Into<Bytes>) -> Result<Bytes, CallError> {
        self.call(Call::new(Kind::Json, document)).await
    }

    /// `callHandleHTTP` with a request document; the answer is a response document.
    ///
    /// # Errors
    /// As [`Function::call`].
    pub async fn handle_http(&self, document: impl Into<Bytes>) -> Result<Bytes, CallError> {
        self.call(Call::new(Kind::Http, document)).await
    }

    /// `OnHealthCheck`: a response document.
    ///
    /// # Errors
    /// As [`Function::call`]; [`CallError::MissingExport`] when the module has none.
    pub async fn health(&self) -> Result<Bytes, CallError> {
        self.call(Call::new(Kind::Health, Bytes::new())).await
    }

    /// `OnMetrics`: a response document.
    ///
    /// # Errors
    /// As [`Function::call`]; [`CallError::MissingExport`] when the module has none.
    pub async fn metrics(&self) -> Result<Bytes, CallError> {
        self.call(Call::new(Kind::Metrics, Bytes::new())).await
    }

    /// Ends the function: calls that wait and new ones are refused, those that run have `patience`, then `OnStop` runs in
    /// every sound instance. Answers how many calls were still running when the patience was over.
    pub async fn stop(&self, patience: Duration) -> usize {
        let inner = &self.inner;
        let idle = inner.instances.close(patience).await;
        let running = inner.instances.slots();
        futures_util::future::join_all(idle.into_iter().map(|instance| inner.end(instance))).await;
        running
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        self.inner.template.surroundings.counters.snapshot()
    }

    /// Counts that a limit was met which is the runner's to keep, such as that of a body, for [`Stats::hits`].
    pub fn hit(&self, limit: Limit) {
        self.inner.template.surroundings.counters.hit(limit);
    }

    /// The module behind it.
    pub fn module(&self) -> &Module {
        &self.inner.module
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.inner.template.surroundings.name
    }
}

impl Inner {
    /// What a call with a vacant slot runs in: a place for a new instance, or an instance that came free while it waited for one.
    async fn settle(&self, slot: Slot, patience: Duration) -> Result<(Slot, Option<Place>), CallError> {
        if let Some(place) = self.template.place_now() {
            return Ok((slot, Some(place)));
        }
        let mut place = pin!(self.template.place(patience));
        if let Some(turn) = self.instances.join().map_err(CallError::Busy)? {
            tokio::select! {
                biased;
                place = &mut place => return Ok((slot, Some(place?))),
                free = turn.wait(patience) => match free {
                    Ok(free) if !free.is_vacant() => return Ok((free, None)),
                    Err(busy) if busy.reason == BusyReason::Stopping => return Err(CallError::Busy(busy)),
                    // None came free; the memory may.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok((slot, Some(place.await?)))
    }

    /// The slot with a new instance in it.
    async fn furnish(&self, mut slot: Slot, place: Place, deadline: Option<Instant>) -> Result<Slot, CallError> {
        slot.begin();
        match self.template.make_in_time(deadline, place).await {
            Ok(instance) => {
                slot.fill(instance);
                Ok(slot)
            }
            Err(error) => {
                slot.fail();
                Err(CallError::Start(Box::new(error)))
            }
        }
    }

    /// Ends the instance of a fresh call; `OnStop` does not keep the answer waiting. The slot is taken until then: whoever
    /// stops the function waits for it.
    fn retire(self: &Arc<Self>, mut slot: Slot) {
        let Some(instance) = slot.take_instance() else { return };
        if instance.has_on_stop() {
            let inner = Arc::clone(self);
            self.template.surroundings.io.spawn(async move {
                inner.end(instance).await;
                drop(slot);
            });
        } else {
            self.template.engine.bury(instance);
        }
    }

    /// Ends an instance that has served as many calls as it may, and puts a new one in its place, which was the old one's: it need
    /// not be waited for. One after the other, so that the new one finds what `OnStop` leaves for it; calls that come
    /// meanwhile wait in the queue.
    fn renew(self: &Arc<Self>, mut slot: Slot) {
        let Some(mut instance) = slot.take_instance() else { return };
        let inner = Arc::clone(self);
        self.template.surroundings.io.spawn(async move {
            let place = instance.give_up_place(&inner.template.needs);
            inner.template.surroundings.counters.recycle();
            // Until the old one is gone the pool has no room for a new one, whatever the place says.
            inner.end(instance).await.gone().await;
            let Some(place) = place.filter(|_| !inner.instances.is_stopping()) else { return };
            let deadline = inner.template.surroundings.limits.call_timeout.map(|limit| Instant::now() + limit);
            let future = Box::pin({
                let inner = Arc::clone(&inner);
                async move {
                    let _active = inner.template.engine.ticker().activate();
                    match inner.furnish(slot, place, deadline).await {
                        Ok(slot) => slot.give_back(),
                        Err(error) => {
                            let function = &*inner.template.surroundings.name;
                            tracing::warn!(function, "no instance in the place of one that served its calls: {error}");
                        }
                    }
                }
            });
            // What becomes of it is in the slot.
            let _ = Running::new(&inner.lane, HangUp::RunOn, deadline, future).await;
        });
    }

    /// `OnStop` with its own limit, then the end.
    async fn end(&self, mut instance: Box<Instance>) -> Burial {
        let name = self.template.surroundings.name.clone();
        let engine = self.template.engine.clone();
        let deadline = Instant::now() + STOP_LIMIT;
        let (mourner, burial) = Burial::announce();
        let future = Box::pin(async move {
            let _active = engine.ticker().activate();
            match within(Some(deadline), pin!(instance.stop(deadline))).await {
                Some(Ok(())) => {}
                Some(Err(CallError::Deadline(_))) | None => {
                    tracing::warn!(function = name, "OnStop exceeded its limit of {STOP_LIMIT:?}");
                }
                Some(Err(error)) => tracing::warn!(function = name, "OnStop: {error}"),
            }
            instance.output().finish_now();
            engine.bury_for(instance, mourner);
        });
        // It notices its deadline by itself, except when it waits for its turn behind other guests.
        let last = Some(deadline + STOP_LIMIT);
        let running = Running::new(&self.lane, HangUp::RunOn, last, future);
        if running.await.is_err() {
            tracing::warn!(function = self.template.surroundings.name, "OnStop was given up: it found no turn to run");
        }
        burial
    }

    /// Sees to it that instances which nobody uses are let go.
    fn trim_later(self: &Arc<Self>) {
        if !self.instances.begin_trimming() {
            return;
        }
        let inner = Arc::downgrade(self);
        self.template.surroundings.io.spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 4).await;
                let Some(inner) = inner.upgrade() else { return };
                for mut slot in inner.instances.take_aged(IDLE) {
                    if let Some(instance) = slot.take_instance() {
                        inner.end(instance).await;
                    }
                }
                if inner.instances.end_trimming() {
                    return;
                }
            }
        });
    }
}
