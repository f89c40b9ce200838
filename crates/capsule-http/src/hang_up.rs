//! Clients that hang up: a call of a module with state is not theirs to cancel.
//!
//! The host SDK lets a call that a guest has begun run on by itself. One that still waits for its instance is kept here.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A call that runs on as a task of its own when it is dropped before its end. Must be dropped within a tokio runtime.
pub(crate) struct RunOn<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> RunOn<F> {
    pub(crate) fn new(call: F) -> RunOn<F> {
        RunOn(Some(Box::pin(call)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for RunOn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.0 else { return Poll::Pending };
        let output = std::task::ready!(call.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for RunOn<F> {
    fn drop(&mut self) {
        // Without a runtime the process ends.
        if let (Some(call), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(call);
        }
    }
}
