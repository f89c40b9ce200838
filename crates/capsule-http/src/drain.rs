//! The moment when running calls are given up: the drain time after a request to stop is over.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

/// Tells every call that it is given up. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Drain {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    told: Notify,
}

impl Drain {
    /// Gives up the calls that still run after this time, and does not end. Not before: the result of a call that has ended
    /// is on its way to who waits for it.
    pub(crate) async fn give_up_after(&self, time: Duration) -> Infallible {
        tokio::time::sleep(time).await;
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.told.notify_waiters();
        std::future::pending().await
    }

    /// The output of `call`, or `None` when it is given up first. Costs nothing while the call does not wait.
    pub(crate) fn unless_over<F>(&self, mut call: F) -> impl Future<Output = Option<F::Output>>
    where
        F: Future + Unpin,
    {
        let mut over: Option<Pin<Box<_>>> = None;
        std::future::poll_fn(move |context| {
            if let Poll::Ready(output) = Pin::new(&mut call).poll(context) {
                return Poll::Ready(Some(output));
            }
            let over = over.get_or_insert_with(|| Box::pin(self.over()));
            over.as_mut().poll(context).map(|()| None)
        })
    }

    async fn over(&self) {
        let mut told = pin!(self.shared.told.notified());
        // Registered before the look at the flag: nothing is missed in between.
        told.as_mut().enable();
        if !self.shared.over.load(Ordering::SeqCst) {
            told.await;
        }
    }
}
