//! Calls: to whom they go, how they wake who sleeps, and how they end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use capsule_faas_model::lifecycle::{Admission, Effect};
use capsule_faas_model::names::Key;
use capsule_faas_model::target::Selector;
use capsule_hdk::{Call, CallError};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::error::FaasError;
use super::lives::late;
use super::process::{Process, Transport};
use super::{Faas, Inner};

/// What became of a call that reached its function.
#[derive(Debug)]
pub struct Answer {
    /// Who answered.
    pub key: Key,
    /// The function's answer, or how the call failed.
    pub result: Result<Bytes, CallError>,
}

/// Where a call goes, and what it may do there now.
enum Placed {
    Go(Running, Key),
    Wait(Arc<Process>),
}

impl Faas {
    /// Calls a function. Without a revision the route chooses one, without an index one of the equal indexes. A function
    /// that sleeps is woken first.
    ///
    /// # Errors
    /// The call reached nobody: not found, or unavailable when the function could not be started or the server stops.
    ///
    /// # Cancel safety
    /// Dropping the future ends a call of a function with contract `fresh`; others run on to their end.
    pub async fn call(&self, selector: &Selector, call: Call) -> Result<Answer, FaasError> {
        let (running, key) = self.inner.admit(selector).await?;
        Ok(Answer { key, result: running.call(call).await })
    }
}

impl Inner {
    /// Waits until the call is let in.
    async fn admit(self: &Arc<Self>, selector: &Selector) -> Result<(Running, Key), FaasError> {
        let pick = self.pick(selector);
        let mut process = match self.place(selector, pick)? {
            Placed::Go(running, key) => return Ok((running, key)),
            Placed::Wait(process) => process,
        };
        let deadline = Instant::now() + self.config.patience;
        let mut stop = self.stopping.subscribe();
        loop {
            let next = {
                let mut change = pin!(process.change());
                change.as_mut().enable();
                // Asked again: it may have changed before anybody listened.
                match self.place(selector, pick)? {
                    Placed::Go(running, key) => return Ok((running, key)),
                    Placed::Wait(next) if !Arc::ptr_eq(&next, &process) => next,
                    Placed::Wait(same) => {
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

    /// The number of this call among those of its function, which spreads them.
    fn pick(&self, selector: &Selector) -> u64 {
        self.read().picks.get(&selector.name).map_or(0, |count| count.fetch_add(1, Ordering::Relaxed))
    }

    /// Resolves and admits at one moment: who is named takes calls.
    fn place(self: &Arc<Self>, selector: &Selector, pick: u64) -> Result<Placed, FaasError> {
        let state = self.read();
        if self.is_stopping() {
            return Err(FaasError::stopping());
        }
        let found = state.registry.resolve(selector, pick)?;
        let process = state.processes.get(&found.entry.process).ok_or_else(FaasError::stopping)?;
        let key = found.key();
        let mut held = process.lock();
        match held.life.call(self.now()) {
            Admission::Go => {
                let transport = held.transport.clone();
                drop(held);
                let running = Running { inner: Arc::clone(self), process: Arc::clone(process), transport };
                Ok(Placed::Go(running, key))
            }
            Admission::Start => {
                drop(held);
                self.carry_out(process, Some(Effect::Start));
                Ok(Placed::Wait(Arc::clone(process)))
            }
            Admission::Wait => Ok(Placed::Wait(Arc::clone(process))),
            Admission::Later(wait) => {
                let reason = held.life.reason().unwrap_or("its last start failed");
                Err(FaasError::unavailable(format!("`{key}` could not be started: {reason}"), wait))
            }
            Admission::Gone => Err(FaasError::stopping()),
        }
    }
}

/// A call that was let in; dropped when it is over.
struct Running {
    inner: Arc<Inner>,
    process: Arc<Process>,
    /// There when a call is let in.
    transport: Option<Arc<Transport>>,
}

impl Running {
    async fn call(self, call: Call) -> Result<Bytes, CallError> {
        let Some(transport) = self.transport.clone() else {
            return Err(CallError::Runner("a started function has nothing to run on".into()));
        };
        if transport.is_fresh() {
            return self.run(&transport, call).await;
        }
        let handle = self.inner.runtime.clone();
        RunOn { future: Some(Box::pin(async move { self.run(&transport, call).await })), handle }.await
    }

    async fn run(&self, transport: &Transport, call: Call) -> Result<Bytes, CallError> {
        let began = Instant::now();
        let result = transport.call(call).await;
        self.process.latency.observe(began.elapsed());
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.transport = None;
        let effect = self.process.lock().life.call_ended(self.inner.now());
        self.inner.carry_out(&self.process, effect);
    }
}

/// A future that goes on in a task of its own when it is dropped before its end.
struct RunOn<F: Future<Output: Send> + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    handle: Handle,
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
