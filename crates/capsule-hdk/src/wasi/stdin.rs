//! The process's standard input, for guests that were given it.
//!
//! A thread of its own reads it, and only when a guest has asked: who else is in the process finds there what no guest wants.
//! Guests wait for the thread and are not threads themselves, so one that is given up leaves nothing behind; what was read for
//! it waits for the next. The thread may be within a read when the process ends: nobody waits for it.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that are read at once at most.
const PIECE: usize = 64 << 10;

/// A source that blocks, read by a thread.
pub(super) struct Stdin {
    state: Mutex<State>,
    wanted: Condvar,
    read: Notify,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// As many bytes at most.
    Wanted(usize),
    /// Never empty.
    Read(Bytes),
    /// Told once, and then there is no more.
    Failed(io::Error),
    End,
}

impl Stdin {
    /// The process's. There is one: who of several guests gets what is a race between them.
    pub(super) fn of_process() -> &'static Stdin {
        static STDIN: OnceLock<Arc<Stdin>> = OnceLock::new();
        STDIN.get_or_init(|| Stdin::start(io::stdin()))
    }

    fn start(source: impl Read + Send + 'static) -> Arc<Stdin> {
        let stdin = Arc::new(Stdin { state: Mutex::default(), wanted: Condvar::new(), read: Notify::new() });
        let served = Arc::clone(&stdin);
        let thread = std::thread::Builder::new().name("capsule-stdin".into()).spawn(move || served.serve(source));
        if let Err(error) = thread {
            *stdin.lock() = State::Failed(error);
        }
        stdin
    }

    /// What the thread does.
    fn serve(&self, mut source: impl Read) {
        loop {
            let waiting = self.wanted.wait_while(self.lock(), |state| !matches!(state, State::Wanted(_)));
            let wanted = match *waiting.unwrap_or_else(PoisonError::into_inner) {
                State::Wanted(wanted) => wanted.clamp(1, PIECE),
                _ => continue,
            };
            let mut bytes = vec![0; wanted];
            let (state, last) = match source.read(&mut bytes) {
                Ok(0) => (State::End, true),
                Ok(read) => {
                    bytes.truncate(read);
                    (State::Read(bytes.into()), false)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => (State::Failed(error), true),
            };
            *self.lock() = state;
            self.read.notify_waiters();
            if last {
                return;
            }
        }
    }

    /// Waits until there are bytes, or there is an end or an error to tell.
    pub(super) async fn ready(&self) {
        let read = {
            let mut state = self.lock();
            match *state {
                State::Idle => {
                    *state = State::Wanted(PIECE);
                    self.wanted.notify_one();
                }
                State::Wanted(_) => {}
                State::Read(_) | State::Failed(_) | State::End => return,
            }
            // Made under the lock: what happens from now on is told to it.
            self.read.notified()
        };
        read.await;
    }

    /// Waits for bytes and takes some of them; none at the end.
    pub(super) async fn read(&self, most: usize) -> io::Result<Bytes> {
        loop {
            self.ready().await;
            // Another guest may have been faster.
            if let Some(bytes) = self.take(most)? {
                return Ok(bytes);
            }
        }
    }

    fn take(&self, most: usize) -> io::Result<Option<Bytes>> {
        let mut state = self.lock();
        match mem::take(&mut *state) {
            State::Read(mut bytes) => {
                let taken = bytes.split_to(bytes.len().min(most));
                if !bytes.is_empty() {
                    *state = State::Read(bytes);
                }
                Ok(Some(taken))
            }
            State::Failed(error) => {
                *state = State::End;
                if error.kind() == ErrorKind::BrokenPipe { Ok(Some(Bytes::new())) } else { Err(error) }
            }
            State::End => {
                *state = State::End;
                Ok(Some(Bytes::new()))
            }
            before => {
                *state = before;
                Ok(None)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_there_and_then_the_end() {
        let (source, mut writer) = io::pipe().unwrap();
        let stdin = Stdin::start(source);
        writer.write_all(b"hello").unwrap();
        assert_eq!(stdin.read(2).await.unwrap(), "he");
        stdin.ready().await;
        assert_eq!(stdin.read(100).await.unwrap(), "llo");
        writer.write_all(b"!").unwrap();
        drop(writer);
        assert_eq!(stdin.read(100).await.unwrap(), "!");
        for _ in 0..2 {
            assert_eq!(stdin.read(100).await.unwrap(), "");
            stdin.ready().await;
        }
    }

    #[tokio::test]
    async fn bytes_for_one_that_was_given_up_are_for_the_next() {
        let (source, mut writer) = io::pipe().unwrap();
        let stdin = Stdin::start(source);
        assert!(stdin.read(5).now_or_never().is_none());
        assert!(tokio::time::timeout(Duration::from_millis(1), stdin.read(1)).await.is_err());
        writer.write_all(b"late").unwrap();
        assert_eq!(stdin.read(100).await.unwrap(), "late");
        // Nothing was asked for, nothing is read.
        assert!(matches!(*stdin.lock(), State::Idle));
    }

    #[tokio::test]
    async fn several_readers_share() {
        let (source, mut writer) = io::pipe().unwrap();
        let stdin = Stdin::start(source);
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let stdin = Arc::clone(&stdin);
                tokio::spawn(async move {
                    let mut sum = 0;
                    loop {
                        let bytes = stdin.read(7).await.unwrap();
                        if bytes.is_empty() {
                            return sum;
                        }
                        sum += bytes.len();
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            writer.write_all(&[0; 1000]).unwrap();
            tokio::task::yield_now().await;
        }
        drop(writer);
        let mut sum = 0;
        for reader in readers {
            sum += reader.await.unwrap();
        }
        assert_eq!(sum, 100_000);
    }

    /// Fails, in this way.
    struct Broken(ErrorKind);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }

    #[tokio::test]
    async fn an_error_is_told_once() {
        let stdin = Stdin::start(Broken(ErrorKind::IsADirectory));
        stdin.ready().await;
        assert_eq!(stdin.read(10).await.unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(stdin.read(10).await.unwrap(), "");
        assert_eq!(Stdin::start(Broken(ErrorKind::BrokenPipe)).read(10).await.unwrap(), "");
    }
}
