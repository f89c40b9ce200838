//! What functions print: passed on to the server's own output with `name/revision/index` in front, and its last lines kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capsule_faas_model::registry::ProcessId;
use capsule_hdk::{Output, Stream};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::broadcast;

/// Lines that a follower may lag behind before it misses some.
const AHEAD: usize = 1024;
/// Bytes of one line that are kept.
const LINE: usize = 8 << 10;

/// A line that a function printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Grows from line to line over all functions.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// `name/revision/index` as it was first started.
    pub function: Arc<str>,
    /// Where to.
    pub stream: Stream,
    /// The line without its end; bytes that are not UTF-8 are U+FFFD.
    pub text: String,
    pub(crate) process: ProcessId,
}

/// Where all lines pass: followers listen here.
pub(crate) struct Feed {
    lines: broadcast::Sender<Arc<LogLine>>,
    number: AtomicU64,
}

impl Feed {
    pub(crate) fn new() -> Arc<Feed> {
        Arc::new(Feed { lines: broadcast::Sender::new(AHEAD), number: AtomicU64::new(0) })
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<LogLine>> {
        self.lines.subscribe()
    }
}

/// The last lines of one process.
pub(crate) struct Log {
    /// Bytes kept, of texts.
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
}

impl Log {
    pub(crate) fn new(limit: usize) -> Arc<Log> {
        Arc::new(Log { limit, kept: Mutex::default() })
    }

    pub(crate) fn lines(&self) -> Vec<Arc<LogLine>> {
        self.lock().lines.iter().cloned().collect()
    }

    /// The number of the last line; 0 when there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().lines.back().map_or(0, |line| line.number)
    }

    fn push(&self, line: Arc<LogLine>) {
        let mut kept = self.lock();
        kept.bytes += cost(&line);
        kept.lines.push_back(line);
        while kept.bytes > self.limit {
            let Some(oldest) = kept.lines.pop_front() else { return };
            kept.bytes -= cost(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An empty line takes room too.
fn cost(line: &LogLine) -> usize {
    line.text.len() + size_of::<LogLine>()
}

/// The output of one process.
pub(crate) struct Tee {
    pub(crate) function: Arc<str>,
    pub(crate) process: ProcessId,
    pub(crate) log: Arc<Log>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) server: Arc<dyn Output>,
}

impl Output for Tee {
    fn try_write(&self, stream: Stream, bytes: &[u8]) -> bool {
        let lines =
            || bytes.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line));
        let mut out = Vec::with_capacity(bytes.len() + 2 * self.function.len());
        for line in lines() {
            out.extend_from_slice(self.function.as_bytes());
            out.push(b' ');
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        if !self.server.try_write(stream, &out) {
            return false;
        }
        for line in lines() {
            let line = Arc::new(LogLine {
                number: self.feed.number.fetch_add(1, Ordering::Relaxed) + 1,
                at: Timestamp::now(),
                function: Arc::clone(&self.function),
                stream,
                text: String::from_utf8_lossy(&line[..line.len().min(LINE)]).into_owned(),
                process: self.process,
            });
            self.log.push(Arc::clone(&line));
            // Nobody listens: that is usual.
            let _ = self.feed.lines.send(line);
        }
        true
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        self.server.ready()
    }
}

#[cfg(test)]
mod tests {
    use capsule_faas_model::registry::Registry;
    use capsule_hdk::MemoryOutput;

    use super::*;

    fn process() -> ProcessId {
        let body = capsule_faas_model::start::StartBody::parse(br#"{"name":"a"}"#).unwrap();
        let origin = capsule_faas_model::spec::Origin::Api;
        Registry::new().reserve_start(body, origin, Timestamp::UNIX_EPOCH).unwrap().entry().process
    }

    #[test]
    fn the_last_lines_are_kept_within_the_limit() {
        let (log, server) = (Log::new(1_000), Arc::new(MemoryOutput::default()));
        let tee = Tee {
            function: "a/default/0".into(),
            process: process(),
            log: Arc::clone(&log),
            feed: Feed::new(),
            server: server.clone(),
        };
        for number in 0..100 {
            assert!(tee.try_write(Stream::Stdout, format!("line {number}\n\n").as_bytes()));
        }
        assert!(tee.try_write(Stream::Stderr, b"last \xff"));
        let lines = log.lines();
        assert!((2..50).contains(&lines.len()), "{}", lines.len());
        assert_eq!(lines.last().unwrap().text, "last \u{fffd}");
        assert_eq!(lines.last().unwrap().number, 201);
        assert!(server.text(Stream::Stdout).starts_with("a/default/0 line 0\na/default/0 \na/default/0 line 1\n"));
        assert!(tee.try_write(Stream::Stdout, &[b'x'; 100_000]));
        assert!(log.lines().is_empty(), "a line above the limit is not kept");
    }
}
