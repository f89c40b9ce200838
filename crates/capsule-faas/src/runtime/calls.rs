//! Calls: to whom they go, how they wake who sleeps, and how they end.

use std::any::Any;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use capsule_faas_model::lifecycle::{Admission, Effect};
use capsule_faas_model::names::Key;
use capsule_faas_model::target::Selector;
use capsule_hdk::{self as hdk, Call, CallError, Function, Limit};
use futures_util::future::BoxFuture;
use http::Response;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::error::{FaasError, FaasErrorKind};
use super::hops;
use super::lives::late;
use super::platform;
use super::process::{Process, Transport};
use super::{Faas, Inner, State};

/// What became of a call that reached its function.
#[derive(Debug)]
pub struct Answer {
    /// Who answered.
    pub key: Key,
    /// The function's answer, or how the call failed.
    pub result: Result<FunctionReply, CallError>,
}

/// The answer of a function.
#[derive(Debug)]
pub enum FunctionReply {
    /// From the server's own process: what the handler answered; of `callHandleHTTP` a response document.
    Inside(hdk::Answer),
    /// From a child process: its answer over HTTP, without the headers of its connection. Or 502 or 503 with a text, when it
    /// gave none.
    Child(Box<Response<Bytes>>),
}

/// What a program makes of the way of a call, for its host functions.
pub type Trail = Arc<dyn Any + Send + Sync>;

/// A call that has its function, which is awake and waits for it. Dropped without a call, it is as if it had not been.
pub struct Placed {
    running: Running,
    key: Key,
    /// In a box: most calls have none of it.
    way: Option<Box<Way>>,
}

/// What is kept of a call that did not begin here, or goes to a child process.
struct Way {
    /// The way of the call, when it did not begin here.
    hops: Option<String>,
    /// What is asked for again when a child has ended before it received the call.
    again: Option<(Selector, Option<String>)>,
}

/// A call on its way into its function.
pub enum Begun {
    /// To be made with [`Function::exchange`], whose future it is to drop or not; it is counted until it has ended.
    Inside(Function, Box<Call>),
    /// The answer of a child process.
    Child(BoxFuture<'static, Result<Response<Bytes>, CallError>>),
}

/// A call that was let in, or waits for that.
pub enum Placing<'a> {
    /// Its function was awake.
    Now(Placed),
    /// Its function is being woken, or put to sleep. Nothing is lost when the future is dropped; a function that is being woken
    /// goes on with that.
    Later(BoxFuture<'a, Result<Placed, FaasError>>),
}

impl Placed {
    /// Who will answer.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The largest body of a request that it takes, in bytes.
    pub fn body_limit(&self) -> usize {
        self.running.process.habits.body
    }

    /// Counts that a limit was met which the program keeps for the function.
    pub fn hit(&self, limit: Limit) {
        self.running.process.hit(limit);
    }

    /// Whether it is in a child process.
    pub fn is_child(&self) -> bool {
        self.way.as_ref().is_some_and(|way| way.again.is_some())
    }

    /// Whether it takes a [`Call::request`]; else it takes the document of `callHandleHTTP`, as children do.
    pub fn takes_requests(&self) -> bool {
        match self.running.transport.as_deref() {
            Some(Transport::Inside(inside)) => inside.function.takes_requests(),
            _ => false,
        }
    }

    /// The way of the call, this function included: what the requests that it sends have to carry in the header
    /// [`hops::HEADER`].
    pub fn hops(&self) -> &str {
        match self.own_way() {
            Some(hops) => hops,
            None => self.running.process.hop(self.running.inner.server),
        }
    }

    /// The way of a call that did not begin here.
    fn own_way(&self) -> Option<&str> {
        self.way.as_ref()?.hops.as_deref()
    }

    /// What `make` makes of [`Placed::hops`]: once for all calls of the function that began here.
    pub fn trail(&self, make: impl FnOnce(&str) -> Trail) -> Trail {
        match self.own_way() {
            Some(hops) => make(hops),
            None => Arc::clone(self.running.process.trail.get_or_init(|| make(self.hops()))),
        }
    }

    /// Begins the call. Of a function in a child process, the request that the document of `callHandleHTTP` describes is sent
    /// there; it takes no other calls. What may have reached a child is not sent again.
    pub fn begin(self, call: Call) -> (Key, Begun) {
        let Placed { running, key, way } = self;
        let begun = match way.and_then(|way| way.again) {
            None => running.begin(call),
            Some((selector, hops)) => {
                Begun::Child(Box::pin(async move { running.call_child(&selector, hops.as_deref(), call).await }))
            }
        };
        (key, begun)
    }
}

impl Begun {
    /// Calls the function.
    ///
    /// # Errors
    /// How the call failed.
    ///
    /// # Cancel safety
    /// Dropping the future ends a call of a function with contract `fresh`; others run on to their end.
    pub async fn reply(self) -> Result<FunctionReply, CallError> {
        match self {
            Begun::Inside(function, call) => function.exchange(call).await.map(FunctionReply::Inside),
            Begun::Child(answer) => answer.await.map(|answer| FunctionReply::Child(Box::new(answer))),
        }
    }
}

/// Where a call goes, and what it may do there now.
enum Place {
    Go(Running, Key),
    Wait(Arc<Process>),
}

impl Faas {
    /// Calls a function: [`Faas::place`], [`Placed::begin`], [`Begun::reply`].
    ///
    /// # Errors
    /// As [`Faas::place`].
    ///
    /// # Cancel safety
    /// As [`Begun::reply`].
    pub async fn call(&self, selector: &Selector, call: Call) -> Result<Answer, FaasError> {
        let placed = match self.place(selector, None, Instant::now())? {
            Placing::Now(placed) => placed,
            Placing::Later(placed) => placed.await?,
        };
        let (key, begun) = placed.begin(call);
        Ok(Answer { key, result: begun.reply().await })
    }

    /// What asks for the function of this name, if there is one.
    pub fn named(&self, name: &str) -> Option<Selector> {
        let name = self.inner.read().registry.name(name)?.clone();
        Some(Selector { name, revision: None, index: None })
    }

    /// Whether there is somebody for a call, as of now.
    ///
    /// # Errors
    /// Not found.
    pub fn check(&self, selector: &Selector) -> Result<(), FaasError> {
        self.inner.read().registry.resolve(selector, 0)?;
        Ok(())
    }

    /// The largest body that anybody takes to whom a call may go, in bytes; [`Placed::body_limit`] is that of who got it.
    ///
    /// # Errors
    /// Not found.
    pub fn body_limit(&self, selector: &Selector) -> Result<usize, FaasError> {
        let state = self.inner.read();
        let found = state.registry.possible(selector)?;
        let limits = found.iter().filter_map(|found| Some(state.processes.get(&found.entry.process)?.habits.body));
        Ok(limits.max().unwrap_or(usize::MAX))
    }

    /// Counts that a limit was met by a call which has not been placed.
    pub fn hit(&self, selector: &Selector, limit: Limit) {
        let state = self.inner.read();
        let found = state.registry.resolve(selector, 0).ok();
        if let Some(process) = found.and_then(|found| state.processes.get(&found.entry.process)) {
            process.hit(limit);
        }
    }

    /// Finds the function for a call and has it take the call. Without a revision the route chooses one, without an index
    /// one of the equal indexes. A function that sleeps is woken first. `hops` is the way of the call so far. `now` is what the
    /// caller's clock has just said: the call begins there when it does not have to wait.
    ///
    /// # Errors
    /// The call reaches nobody: not found; unavailable when the function could not be started or the server stops; a loop when
    /// the function would wait for itself.
    pub fn place<'a>(
        &'a self,
        selector: &'a Selector,
        hops: Option<&'a str>,
        now: Instant,
    ) -> Result<Placing<'a>, FaasError> {
        let inner = &self.inner;
        let (place, pick) = inner.place_first(selector, hops, now);
        Ok(match place? {
            Place::Go(running, key) => Placing::Now(inner.placed(running, key, selector, hops)),
            Place::Wait(process) => Placing::Later(Box::pin(async move {
                let (running, key) = inner.wait(process, selector, pick, hops).await?;
                Ok(inner.placed(running, key, selector, hops))
            })),
        })
    }
}

impl Inner {
    fn placed(&self, running: Running, key: Key, selector: &Selector, hops: Option<&str>) -> Placed {
        let is_child = running.process.spec.path.is_some();
        let way = (is_child || hops.is_some()).then(|| {
            let again = is_child.then(|| (selector.clone(), hops.map(str::to_owned)));
            let hops = hops.map(|_| hops::extended(hops, self.server, running.process.id));
            Box::new(Way { hops, again })
        });
        Placed { running, key, way }
    }

    /// Waits until the call is let in.
    pub(super) async fn admit(
        self: &Arc<Self>,
        selector: &Selector,
        hops: Option<&str>,
        now: Instant,
    ) -> Result<(Running, Key), FaasError> {
        let (place, pick) = self.place_first(selector, hops, now);
        match place? {
            Place::Go(running, key) => Ok((running, key)),
            Place::Wait(process) => self.wait(process, selector, pick, hops).await,
        }
    }

    /// Waits for who is being started, or put to sleep.
    async fn wait(
        self: &Arc<Self>,
        mut process: Arc<Process>,
        selector: &Selector,
        pick: u64,
        hops: Option<&str>,
    ) -> Result<(Running, Key), FaasError> {
        let mut waiting = Caller::of(&process);
        let deadline = Instant::now() + self.config.patience;
        let mut stop = self.stopping.subscribe();
        loop {
            let next = {
                let mut change = pin!(process.change());
                change.as_mut().enable();
                // Asked again: it may have changed before anybody listened.
                match self.place_again(selector, pick, hops)? {
                    Place::Go(running, key) => return Ok((running, key)),
                    Place::Wait(next) if !Arc::ptr_eq(&next, &process) => {
                        drop(std::mem::replace(&mut waiting, Caller::of(&next)));
                        next
                    }
                    Place::Wait(same) => {
                        tokio::select! {
                            waited = timeout_at(deadline, change) => waited.map_err(|_| late(&same))?,
                            _ = stop.wait_for(|stopping| *stopping) => return Err(FaasError::stopping()),
                        }
                        same
                    }
                }
            };
            process = next;
        }
    }

    /// [`Inner::place`], with the number of this call among those of its function, which spreads them.
    fn place_first(
        self: &Arc<Self>,
        selector: &Selector,
        hops: Option<&str>,
        now: Instant,
    ) -> (Result<Place, FaasError>, u64) {
        let state = self.read();
        let mut pick = None;
        let next = || state.picks.get(&selector.name).map_or(0, |count| count.fetch_add(1, Ordering::Relaxed));
        let place = self.place(&state, selector, || *pick.get_or_insert_with(next), hops, now);
        (place, pick.unwrap_or_default())
    }

    fn place_again(self: &Arc<Self>, selector: &Selector, pick: u64, hops: Option<&str>) -> Result<Place, FaasError> {
        self.place(&self.read(), selector, || pick, hops, Instant::now())
    }

    /// Resolves and admits at one moment: who is named takes calls.
    fn place(
        self: &Arc<Self>,
        state: &State,
        selector: &Selector,
        pick: impl FnMut() -> u64,
        hops: Option<&str>,
        now: Instant,
    ) -> Result<Place, FaasError> {
        if state.is_stopping {
            return Err(FaasError::stopping());
        }
        let found = state.registry.resolve_with(selector, pick)?;
        let process = state.processes.get(&found.entry.process).ok_or_else(FaasError::stopping)?;
        let key = found.key();
        if let Some(hops) = hops {
            self.refuse_loop(process, &key, hops)?;
        }
        let mut held = process.lock();
        let most = self.config.max_calls;
        if held.life.running_calls() as usize >= most || process.callers.load(Ordering::Relaxed) > most {
            process.hit(Limit::Connections);
            let message = format!(
                "`{key}` has {most} calls at once, its share of what the server can hold (flag `--maxConnections`)"
            );
            return Err(FaasError::unavailable(message, Duration::from_secs(1)));
        }
        let admission = if held.life.enter() { Admission::Go } else { held.life.call(self.now()) };
        match admission {
            Admission::Go => {
                let transport = held.transport.clone();
                drop(held);
                let (inner, process) = (Arc::clone(self), Arc::clone(process));
                Ok(Place::Go(Running { inner, process, transport, began: now }, key))
            }
            Admission::Start => {
                drop(held);
                self.carry_out(process, Some(Effect::Start));
                Ok(Place::Wait(Arc::clone(process)))
            }
            Admission::Wait => Ok(Place::Wait(Arc::clone(process))),
            Admission::Later(wait) => {
                let reason = held.life.reason().unwrap_or("its last start failed");
                Err(FaasError::unavailable(format!("`{key}` could not be started: {reason}"), wait))
            }
            Admission::Gone => Err(FaasError::stopping()),
        }
    }

    /// Refuses a call that would wait for itself: as many calls of the function as it has instances are waiting for this one.
    fn refuse_loop(&self, process: &Process, key: &Key, hops: &str) -> Result<(), FaasError> {
        let visits = hops::visits(hops, self.server, process.id);
        if visits == 0 && !hops::is_endless(hops) {
            return Ok(());
        }
        let platform = &*self.config.platform;
        let instances = match platform.demands(&platform::readable(platform, &process.spec)) {
            Ok(demands) => demands.instances,
            Err(_) => Some(1),
        };
        if instances.is_none_or(|instances| visits < instances) && !hops::is_endless(hops) {
            return Ok(());
        }
        let message = format!("`{key}` calls itself, directly or through others, and would wait for itself");
        Err(FaasError::new(FaasErrorKind::Loop, message).with_hint(
            "a function with one instance can serve only one call: give it more with `-instances`, or share the code",
        ))
    }
}

/// A caller that waits until a process has woken; dropped when it does not wait any more.
struct Caller(Arc<Process>);

impl Caller {
    fn of(process: &Arc<Process>) -> Caller {
        let callers: &AtomicUsize = &process.callers;
        callers.fetch_add(1, Ordering::Relaxed);
        Caller(Arc::clone(process))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that was let in; dropped when it is over.
pub(super) struct Running {
    pub(super) inner: Arc<Inner>,
    pub(super) process: Arc<Process>,
    /// There when a call is let in.
    pub(super) transport: Option<Arc<Transport>>,
    /// When it was let in.
    began: Instant,
}

impl Running {
    /// The call of a function in the server's own process.
    fn begin(self, call: Call) -> Begun {
        let Some(Transport::Inside(inside)) = self.transport.as_deref() else {
            let lost = CallError::Runner("a started function has nothing to run on".into());
            return Begun::Child(Box::pin(std::future::ready(Err(lost))));
        };
        let function = inside.function.clone();
        let call = call.with_now(self.began).with_guard(Arc::new(self));
        Begun::Inside(function, Box::new(call))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let transport = self.transport.take();
        let now = Instant::now();
        if let Some(Transport::Inside(_)) = transport.as_deref() {
            self.process.latency.observe(now.duration_since(self.began));
        }
        drop(transport);
        let effect = self.process.lock().life.call_ended(now.duration_since(self.inner.origin));
        self.inner.carry_out(&self.process, effect);
    }
}

/// A future that goes on in a task of its own when it is dropped before its end.
pub(super) struct RunOn<F: Future<Output: Send> + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    handle: Handle,
}

impl<F: Future<Output: Send> + Send + 'static> RunOn<F> {
    pub(super) fn new(future: F, handle: Handle) -> RunOn<F> {
        RunOn { future: Some(Box::pin(future)), handle }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for RunOn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for RunOn<F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.handle.spawn(async move {
                // Its caller is gone.
                let _ = future.await;
            });
        }
    }
}
