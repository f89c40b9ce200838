//! Work that blocks, off the threads that serve: each function has a share of the threads for it.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Threads that one function may hold at once, of the runtime's 512: a disk or a resolver that hangs stops the function
/// that waits for it, not its neighbours.
const SHARE: usize = 32;

/// A function's share of the threads for work that blocks. Clones are the same share.
#[derive(Clone)]
pub struct Blocking {
    permits: Arc<Semaphore>,
    /// For what computes rather than waits: one at a time.
    alone: Arc<Semaphore>,
    runtime: Handle,
}

impl Blocking {
    /// A share of the threads of `runtime`.
    pub fn new(runtime: Handle) -> Blocking {
        Blocking { permits: Arc::new(Semaphore::new(SHARE)), alone: Arc::new(Semaphore::new(1)), runtime }
    }

    /// Runs `work` on a thread where it may block, when the function has one left; until then it waits.
    ///
    /// # Errors
    /// A text when the runner is being stopped.
    ///
    /// # Cancel safety
    /// Work that has begun goes on to its end, and holds its thread until then.
    pub async fn run<T, W>(&self, work: W) -> Result<T, String>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.turn().await?.run(work).await
    }

    /// Waits for a thread, for work whose inputs take memory: they are made when there is one.
    ///
    /// # Errors
    /// As [`Blocking::run`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn turn(&self) -> Result<Turn, String> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| stopping())?;
        Ok(Turn { permit, alone: None, runtime: self.runtime.clone() })
    }

    /// As [`Blocking::turn`] for work that keeps a processor busy: a function has one such at a time, no more than a guest that
    /// computes.
    pub(crate) async fn turn_alone(&self) -> Result<Turn, String> {
        let alone = Arc::clone(&self.alone).acquire_owned().await.map_err(|_| stopping())?;
        Ok(Turn { alone: Some(alone), ..self.turn().await? })
    }

    /// Runs `work` in its turn, and nobody waits for it.
    pub(crate) fn later(&self, work: impl FnOnce() + Send + 'static) {
        let blocking = self.clone();
        self.runtime.spawn(async move {
            // When the runner is being stopped, what belongs to the work is dropped where it is.
            let _ = blocking.run(work).await;
        });
    }
}

fn stopping() -> String {
    "the runner is being stopped".to_owned()
}

/// A thread of a function's share.
pub(crate) struct Turn {
    permit: OwnedSemaphorePermit,
    alone: Option<OwnedSemaphorePermit>,
    runtime: Handle,
}

impl Turn {
    /// As [`Blocking::run`].
    pub(crate) async fn run<T, W>(self, work: W) -> Result<T, String>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let Turn { permit, alone, runtime } = self;
        let task = runtime.spawn_blocking(move || {
            let result = work();
            drop((permit, alone));
            result
        });
        task.await.map_err(|_| stopping())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_computes_does_so_alone() {
        let blocking = Blocking::new(Handle::current());
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let first = blocking.clone();
        let first = tokio::spawn(async move {
            let work = move || {
                begun.send(()).unwrap();
                released.recv()
            };
            first.turn_alone().await?.run(work).await
        });
        begins.await.unwrap();
        let mut second = Box::pin(async { blocking.turn_alone().await?.run(|| 2).await });
        let waits = std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context).is_pending()));
        assert!(waits.await && blocking.alone.available_permits() == 0);
        assert_eq!(blocking.run(|| 3).await, Ok(3), "what waits for a disk goes on");
        drop(release);
        assert!(first.await.unwrap().is_ok());
        assert_eq!(second.await, Ok(2));
    }

    #[tokio::test]
    async fn a_function_holds_no_more_than_its_share() {
        let (greedy, other) = (Blocking::new(Handle::current()), Blocking::new(Handle::current()));
        let mut releases = Vec::new();
        for _ in 0..SHARE + 1 {
            let (release, released) = mpsc::channel::<()>();
            let greedy = greedy.clone();
            tokio::spawn(async move { greedy.run(move || released.recv()).await });
            releases.push(release);
        }
        while greedy.permits.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        // The one too many waits; its neighbour does not.
        assert_eq!(other.run(|| 7).await, Ok(7));
        let mut next = Box::pin(greedy.run(|| 8));
        let waits = std::future::poll_fn(|context| std::task::Poll::Ready(next.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        drop(releases);
        assert_eq!(next.await, Ok(8));
    }
}
