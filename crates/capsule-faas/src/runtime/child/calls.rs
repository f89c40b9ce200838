//! Calls of functions in child processes: sent again as long as no child has received them, and never after that.

use std::sync::Arc;

use bytes::Bytes;
use capsule_faas_model::target::Selector;
use capsule_hdk::{Call, CallError};
use http::Response;
use tokio::time::Instant;

use super::proxy::{self, Failed};
use crate::runtime::Inner;
use crate::runtime::calls::{RunOn, Running};
use crate::runtime::process::{Process, Transport};

/// How often a call is sent to a child that has not received it before.
const TRIES: usize = 3;

impl Running {
    /// Calls a child. A request that it has not received goes to the next one that runs: one that refuses connections is
    /// ending, or is ended here.
    pub(in crate::runtime) async fn call_child(
        self,
        selector: &Selector,
        hops: Option<&str>,
        call: Call,
    ) -> Result<Response<Bytes>, CallError> {
        let inner = Arc::clone(&self.inner);
        let mut running = self;
        for tries in 1.. {
            let (process, transport) = (Arc::clone(&running.process), running.transport.clone());
            let what = match running.forward(call.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Call(error)) => return Err(error),
                Err(Failed::Refused(_)) if tries < TRIES => {
                    inner.replace(&process, transport).await;
                    None
                }
                Err(Failed::NotSent(_)) if tries < TRIES => None,
                Err(Failed::NotSent(what) | Failed::Refused(what)) => Some(format!("takes no calls: {what}")),
                Err(Failed::Broken(what)) => Some(what),
            };
            if let Some(what) = what {
                tracing::warn!(function = &*process.label, "the child process {what}");
                return Ok(proxy::bad_gateway(&what));
            }
            running = match inner.admit(selector, hops, Instant::now()).await {
                Ok((running, _)) => running,
                Err(error) => return Ok(proxy::not_placed(&error)),
            };
        }
        Err(CallError::Runner("a call was neither sent nor given up".into()))
    }

    /// The call of a child. Like one in the server's process it goes on when nobody waits for it any more.
    async fn forward(self, call: Call) -> Result<Response<Bytes>, Failed> {
        let Some(transport) = self.transport.clone() else {
            return Err(Failed::NotSent("it has ended".into()));
        };
        let (fresh, handle) = (transport.is_fresh(), self.inner.runtime.clone());
        let exchange = async move {
            let Transport::Child(child) = &*transport else {
                return Err(Failed::NotSent("it is none".into()));
            };
            let began = Instant::now();
            let result = child.proxy.call(&call).await;
            self.process.latency.observe(began.elapsed());
            result
        };
        if fresh { exchange.await } else { RunOn::new(exchange, handle).await }
    }
}

impl Inner {
    /// Waits until a child that refuses connections has ended.
    async fn replace(self: &Arc<Self>, process: &Arc<Process>, transport: Option<Arc<Transport>>) {
        let Some(transport) = transport else { return };
        let Transport::Child(child) = &*transport else { return };
        let exit = child.let_end().await;
        let effect = process.died(self.now(), &transport, exit.is_good(), &format!("the child process {exit}"));
        self.carry_out(process, effect);
    }
}
