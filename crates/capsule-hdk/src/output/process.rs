//! The process's own output, which the functions of a server share: a queue, and the thread that writes what is in it.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{Output, Stream, lock};

/// The process's own stdout and stderr, written by a thread of their own: a reader that stops reading blocks that thread
/// alone.
pub struct ProcessOutput {
    shared: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
    emptied: Notify,
    drained: Condvar,
}

#[derive(Default)]
struct QueueState {
    chunks: VecDeque<Chunk>,
    /// Bytes in `chunks` and in the hands of the writing thread.
    bytes: usize,
    /// The writing thread has nothing to do, and looks for more only when it is told to.
    is_idle: bool,
}

struct Chunk {
    stream: Stream,
    bytes: Vec<u8>,
    /// What has its own part of the room: bytes that wait for it.
    of: Option<Arc<AtomicUsize>>,
}

/// The pause of the writing thread after a write, when little waits: to wake it for every line takes longer than to print the line.
const PAUSE: Duration = Duration::from_millis(1);
/// Bytes that are written without a pause.
const MUCH: usize = 64 << 10;

/// Bytes that wait for the process's output at most, of all functions together.
const QUEUE_LIMIT: usize = 8 * 1024 * 1024;

impl ProcessOutput {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start() -> std::io::Result<ProcessOutput> {
        let shared = Arc::new(Queue::default());
        let queue = Arc::clone(&shared);
        std::thread::Builder::new().name("capsule-output".into()).spawn(move || queue.write_for_ever())?;
        Ok(ProcessOutput { shared })
    }

    /// Waits until everything is written, at most `limit`. Call it before the process ends.
    pub fn drain(&self, limit: Duration) {
        let state = lock(&self.shared.state);
        let _ = self.shared.drained.wait_timeout_while(state, limit, |state| state.bytes > 0);
    }
}

impl Queue {
    fn write_for_ever(&self) {
        loop {
            let mut state = lock(&self.state);
            state.is_idle = state.chunks.is_empty();
            while state.chunks.is_empty() {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let chunks = std::mem::take(&mut state.chunks);
            drop(state);
            let mut written = 0;
            for Chunk { stream, bytes, of } in chunks {
                written += bytes.len();
                // A closed pipe is the reader's wish to see no more.
                let _ = match stream {
                    Stream::Stdout => std::io::stdout().lock().write_all(&bytes),
                    Stream::Stderr => std::io::stderr().lock().write_all(&bytes),
                };
                if let Some(of) = of {
                    of.fetch_sub(bytes.len(), Relaxed);
                }
            }
            let _ = std::io::stdout().lock().flush();
            let left = {
                let mut state = lock(&self.state);
                state.bytes -= written;
                state.bytes
            };
            self.emptied.notify_waiters();
            self.drained.notify_all();
            if left < MUCH {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Takes bytes; of one that shares, when they do not exceed what is left for the others.
    fn try_write(&self, stream: Stream, bytes: &[u8], of: Option<&Arc<AtomicUsize>>) -> bool {
        let mut state = lock(&self.state);
        let own = of.map_or(0, |of| of.load(Relaxed));
        let left = QUEUE_LIMIT.saturating_sub(state.bytes);
        // Whatever it is, it is taken when nothing else waits.
        if state.bytes > 0 && own + bytes.len() > left {
            return false;
        }
        state.bytes += bytes.len();
        if let Some(of) = of {
            of.fetch_add(bytes.len(), Relaxed);
        }
        match state.chunks.back_mut() {
            Some(last) if last.stream == stream && same(last.of.as_ref(), of) => last.bytes.extend_from_slice(bytes),
            _ => state.chunks.push_back(Chunk { stream, bytes: bytes.to_vec(), of: of.cloned() }),
        }
        let wakes = std::mem::take(&mut state.is_idle);
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        true
    }

    /// Waits until something has been written, unless nothing waits to be.
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            // Registered before the look at the state: a wake-up in between is not missed. As long as bytes wait, there is
            // one to come.
            emptied.as_mut().enable();
            if lock(&self.state).bytes > 0 {
                emptied.await;
            }
        })
    }
}

fn same(one: Option<&Arc<AtomicUsize>>, other: Option<&Arc<AtomicUsize>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl Output for ProcessOutput {
    fn try_write(&self, stream: Stream, bytes: &[u8]) -> bool {
        self.shared.try_write(stream, bytes, None)
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.shared.ready()
    }

    fn share(&self) -> Option<Arc<dyn Output>> {
        Some(Arc::new(Part { shared: Arc::clone(&self.shared), own: Arc::default() }))
    }
}

/// The part of one function in the process's output.
struct Part {
    shared: Arc<Queue>,
    /// Its bytes that wait.
    own: Arc<AtomicUsize>,
}

impl Output for Part {
    fn try_write(&self, stream: Stream, bytes: &[u8]) -> bool {
        self.shared.try_write(stream, bytes, Some(&self.own))
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.shared.ready()
    }
}

#[cfg(test)]
mod tests {
    use super::super::HIGH_WATER;
    use super::*;

    /// A queue whose thread was never started: nobody reads.
    fn stuck() -> ProcessOutput {
        ProcessOutput { shared: Arc::default() }
    }

    #[test]
    fn a_flood_of_one_leaves_room_for_the_others() {
        let output = stuck();
        let (greedy, neighbour) = (output.share().unwrap(), output.share().unwrap());
        let piece = vec![b'x'; HIGH_WATER];
        let mut taken = 0;
        while greedy.try_write(Stream::Stdout, &piece) {
            taken += piece.len();
        }
        assert_eq!(taken, QUEUE_LIMIT / 2);
        assert!(neighbour.try_write(Stream::Stderr, &piece) && neighbour.try_write(Stream::Stdout, b"line\n"));
        assert!(!greedy.try_write(Stream::Stdout, b"x"));
        // Without parts, all is for whoever comes.
        let output = stuck();
        while output.try_write(Stream::Stdout, &piece) {}
        assert_eq!(lock(&output.shared.state).bytes, QUEUE_LIMIT);
    }

    /// Asked again and again it would hold its thread.
    #[tokio::test]
    async fn who_finds_no_room_waits_until_something_was_written() {
        let output = stuck();
        assert!(output.try_write(Stream::Stdout, b"waits"));
        assert!(!output.try_write(Stream::Stdout, &vec![b'x'; QUEUE_LIMIT]));
        let mut ready = output.ready();
        let waits = std::future::poll_fn(|context| std::task::Poll::Ready(ready.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        output.shared.emptied.notify_waiters();
        ready.await;
    }
}
