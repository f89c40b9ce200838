//! What a module prints: from the instance through a buffer of whole lines to the runner's own output.
//!
//! Every instance has one [`OutputBuffer`], which WASI's stdout and stderr and the printing host functions write into. It
//! passes on whole lines and is emptied at the end of each call, so that lines of different calls never mix. Lines of a call
//! that takes longer are passed on meanwhile (`overdue`). The runner hands in where they go, an [`Output`]. A reader that
//! is too slow makes calls wait (within their deadline), never a thread. What is passed on goes in steps, between which a call
//! gives way: a module that prints much, or many lines, pays for it with its own time.

mod overdue;
mod process;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;

pub use self::process::ProcessOutput;
use crate::slices;

/// One of the two output streams of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, `hostPrintString` and `hostLogString`.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where the output of modules goes. Implementations never block: they are called on I/O threads.
pub trait Output: Send + Sync + 'static {
    /// Takes `bytes` whole and answers true, or takes nothing and answers false when there is no room now.
    fn try_write(&self, stream: Stream, bytes: &[u8]) -> bool;

    /// Resolves when [`Output::try_write`] is worth another try: something was passed on since it answered false.
    fn ready(&self) -> BoxFuture<'_, ()>;

    /// The same output for one function of several, with a fair part of its room: a flood of one does not keep the others
    /// waiting. `None`, unless said otherwise: there is one room for all.
    fn share(&self) -> Option<Arc<dyn Output>> {
        None
    }
}

/// How the bytes of a module reach the [`Output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Buffering {
    /// Whole lines, passed on at the end of each call and within it after about 100 ms; a last line without newline gets one.
    /// For servers.
    #[default]
    Lines,
    /// Every write at once and unchanged. For a terminal.
    Through,
}

/// Past this many waiting bytes an instance waits for the reader before it prints more. Also the most that is passed on in one
/// step.
const HIGH_WATER: usize = 64 * 1024;
/// The same where many instances share little memory.
const LEAST_HIGH_WATER: usize = 1024;
/// Lines that are passed on in one step at the most: whoever takes them has work with each, however short it is.
const STEP_LINES: usize = 1024;
/// Steps at the most where nobody can give way in between.
const STEPS_AT_ONCE: usize = 16;

/// The output of one instance on its way to the runner's.
pub(crate) struct OutputBuffer {
    buffering: Buffering,
    /// Something was written since everything was last passed on: calls that print nothing need no lock.
    touched: AtomicBool,
    waiting: Arc<Waiting>,
    /// Bytes that may wait.
    room: usize,
}

/// What an instance has printed and the runner's output has not got yet.
struct Waiting {
    sink: Arc<dyn Output>,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// By [`Stream`].
    buffers: [Buffer; 2],
    /// Somebody looks after them when they wait for long.
    watched: bool,
}

/// Bytes that wait. They are taken from the front without moving the others each time.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Bytes at the front that were taken.
    taken: usize,
}

impl Buffer {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        // At least as much was taken as is moved.
        if 2 * self.taken >= self.bytes.len() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
            if self.bytes.capacity() > 2 * HIGH_WATER.max(self.bytes.len()) {
                self.bytes.shrink_to(HIGH_WATER);
            }
        }
    }
}

/// How much of what waits is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Portion {
    /// Whole lines.
    Lines,
    /// Whole lines; of a line without end, what is there.
    Relief,
    /// Everything; a last line gets its newline.
    Closed,
    /// Everything as it is.
    All,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// All of the portion was passed on.
    Last,
    /// There is more of it.
    More,
    /// The sink had no room.
    NoRoom,
}

impl Portion {
    /// How many bytes of those that wait are passed on in one step, and whether that is all of the portion.
    fn step(self, waiting: &[u8]) -> (usize, bool) {
        let window = &waiting[..waiting.len().min(HIGH_WATER)];
        let is_end = |byte: &u8| *byte == b'\n';
        let few = window.len() <= STEP_LINES || window.iter().filter(|byte| is_end(byte)).count() <= STEP_LINES;
        let whole = few && window.len() == waiting.len();
        let lines = if few {
            window.iter().rposition(is_end).map_or(0, |end| end + 1)
        } else {
            window.split_inclusive(is_end).take(STEP_LINES).map(<[u8]>::len).sum()
        };
        let length = match self {
            Portion::Closed | Portion::All if whole => window.len(),
            Portion::Lines if whole => lines,
            // A line that is longer than the window is passed on in pieces.
            _ if lines == 0 => window.len(),
            _ => lines,
        };
        (length, whole)
    }
}

impl OutputBuffer {
    /// With `room` for bytes that wait.
    pub(crate) fn new(sink: Arc<dyn Output>, buffering: Buffering, room: usize) -> OutputBuffer {
        let waiting = Arc::new(Waiting { sink, lines: Mutex::default() });
        OutputBuffer { buffering, touched: AtomicBool::new(false), waiting, room }
    }

    /// The room of each of so many instances that have `memory` bytes together: half of it.
    pub(crate) fn room_for(instances: usize, memory: usize) -> usize {
        (memory / 2 / instances.max(1)).clamp(LEAST_HIGH_WATER, HIGH_WATER)
    }

    /// Appends parts of one write. Never blocks; ask [`OutputBuffer::relieve`] afterwards.
    pub(crate) fn write(&self, stream: Stream, parts: &[&[u8]]) {
        self.touched.store(true, Relaxed);
        let mut lines = lock(&self.waiting.lines);
        let buffer = &mut lines.buffers[stream as usize];
        for part in parts {
            buffer.bytes.extend_from_slice(part);
        }
        match self.buffering {
            Buffering::Through => {
                if self.waiting.sink.try_write(stream, buffer.waiting()) {
                    buffer.take(buffer.waiting().len());
                }
            }
            Buffering::Lines => {
                if !std::mem::replace(&mut lines.watched, true) {
                    drop(lines);
                    overdue::watch(&self.waiting);
                }
            }
        }
    }

    /// Bytes that may be written before the writer should wait.
    pub(crate) fn room(&self) -> usize {
        let lines = lock(&self.waiting.lines);
        let [one, other] = lines.buffers.each_ref().map(|buffer| buffer.waiting().len());
        self.room.saturating_sub(one + other)
    }

    /// Waits until what is buffered is below the high-water mark. Returns at once in the usual case.
    pub(crate) async fn relieve(&self) {
        while self.room() == 0 {
            self.step(Portion::Relief).await;
        }
    }

    /// Whether there is nothing to [finish](OutputBuffer::finish). Asked by who runs the instance, which alone writes.
    pub(crate) fn is_finished(&self) -> bool {
        !self.touched.load(Relaxed)
    }

    /// Passes everything on, a last line without newline included: the end of a call.
    pub(crate) async fn finish(&self) {
        while !self.step(self.rest()).await {}
        self.touched.store(false, Relaxed);
    }

    /// One step, and the time for others that it costs. True when it was the last one.
    async fn step(&self, portion: Portion) -> bool {
        match self.waiting.push(portion) {
            Step::Last => return true,
            Step::More => slices::give_way(1).await,
            Step::NoRoom => self.waiting.sink.ready().await,
        }
        false
    }

    /// As [`OutputBuffer::finish`] without waiting; what finds no room, or is too much for that, is lost. For instances that end.
    pub(crate) fn finish_now(&self) {
        if self.waiting.push_some(self.rest()) != Step::Last {
            tracing::warn!("output of a module was lost: it is too much, or nobody reads it");
        }
    }

    fn rest(&self) -> Portion {
        match self.buffering {
            Buffering::Lines => Portion::Closed,
            Buffering::Through => Portion::All,
        }
    }
}

impl Waiting {
    /// Passes one step of a portion on.
    fn push(&self, portion: Portion) -> Step {
        self.push_locked(&mut lock(&self.lines), portion)
    }

    /// Passes some steps on at once, each for itself.
    fn push_some(&self, portion: Portion) -> Step {
        let steps = (0..STEPS_AT_ONCE).map(|_| self.push(portion));
        steps.into_iter().find(|step| *step != Step::More).unwrap_or(Step::More)
    }

    fn push_locked(&self, lines: &mut Lines, portion: Portion) -> Step {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let buffer = &mut lines.buffers[stream as usize];
            if buffer.waiting().is_empty() {
                continue;
            }
            if portion == Portion::Closed && buffer.bytes.last() != Some(&b'\n') {
                buffer.bytes.push(b'\n');
            }
            let (length, last) = portion.step(buffer.waiting());
            if length > 0 {
                if !self.sink.try_write(stream, &buffer.waiting()[..length]) {
                    return Step::NoRoom;
                }
                buffer.take(length);
            }
            if !last {
                return Step::More;
            }
        }
        Step::Last
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's own stdout and stderr, written at once by whoever prints. For programs that run one module and then end.
#[derive(Debug, Default)]
pub struct DirectOutput;

impl Output for DirectOutput {
    fn try_write(&self, stream: Stream, bytes: &[u8]) -> bool {
        let _ = match stream {
            Stream::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Stream::Stderr => std::io::stderr().lock().write_all(bytes),
        };
        true
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Keeps everything in memory: for tests of modules and runners.
#[derive(Debug, Default)]
pub struct MemoryOutput {
    written: Mutex<[Vec<u8>; 2]>,
}

impl MemoryOutput {
    /// Everything written to `stream` so far, as text.
    pub fn text(&self, stream: Stream) -> String {
        String::from_utf8_lossy(&lock(&self.written)[stream as usize]).into_owned()
    }
}

impl Output for MemoryOutput {
    fn try_write(&self, stream: Stream, bytes: &[u8]) -> bool {
        lock(&self.written)[stream as usize].extend_from_slice(bytes);
        true
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_passed_on_whole_and_the_last_one_gets_its_newline() {
        let sink = Arc::new(MemoryOutput::default());
        let buffer = OutputBuffer::new(Arc::clone(&sink) as Arc<dyn Output>, Buffering::Lines, HIGH_WATER);
        buffer.write(Stream::Stdout, &[b"one\ntwo"]);
        assert_eq!(buffer.waiting.push(Portion::Lines), Step::Last);
        assert_eq!(sink.text(Stream::Stdout), "one\n");
        assert_eq!(buffer.waiting.push(Portion::Lines), Step::Last);
        assert_eq!(sink.text(Stream::Stdout), "one\n");
        buffer.finish_now();
        assert_eq!(sink.text(Stream::Stdout), "one\ntwo\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_on_in_pieces() {
        let sink = Arc::new(MemoryOutput::default());
        let buffer = OutputBuffer::new(Arc::clone(&sink) as Arc<dyn Output>, Buffering::Lines, HIGH_WATER);
        buffer.write(Stream::Stderr, &[b"half of"]);
        assert_eq!(buffer.waiting.push(Portion::Relief), Step::Last);
        buffer.write(Stream::Stderr, &[b" a line\nand"]);
        assert_eq!(buffer.waiting.push(Portion::Relief), Step::Last);
        assert_eq!(sink.text(Stream::Stderr), "half of a line\n");
    }

    #[test]
    fn much_output_is_passed_on_in_steps() {
        for (portion, waiting, expected) in [
            (Portion::Closed, "a\nb\n".to_owned(), (4, true)),
            (Portion::Lines, "a\nb".to_owned(), (2, true)),
            (Portion::Relief, "ab".to_owned(), (2, true)),
            (Portion::Closed, "\n".repeat(STEP_LINES), (STEP_LINES, true)),
            (Portion::Closed, "\n".repeat(STEP_LINES + 1), (STEP_LINES, false)),
            (Portion::Lines, "ab\n".repeat(STEP_LINES + 1), (3 * STEP_LINES, false)),
            (Portion::All, "x".repeat(HIGH_WATER), (HIGH_WATER, true)),
            (Portion::All, "x".repeat(HIGH_WATER + 1), (HIGH_WATER, false)),
            (Portion::Lines, "x".repeat(HIGH_WATER + 1), (HIGH_WATER, false)),
            (Portion::Closed, format!("a\n{}", "x".repeat(HIGH_WATER)), (2, false)),
        ] {
            assert_eq!(portion.step(waiting.as_bytes()), expected, "{portion:?} of {} bytes", waiting.len());
        }
    }

    #[test]
    fn no_byte_is_lost_between_steps() {
        let sink = Arc::new(MemoryOutput::default());
        let buffer = OutputBuffer::new(Arc::clone(&sink) as Arc<dyn Output>, Buffering::Lines, HIGH_WATER);
        let text: String = (0..40_000).map(|number| format!("{number}\n")).collect();
        for part in text.as_bytes().chunks(50_000) {
            buffer.write(Stream::Stdout, &[part]);
            buffer.waiting.push(Portion::Relief);
        }
        while buffer.waiting.push(Portion::Closed) == Step::More {}
        assert_eq!(sink.text(Stream::Stdout), text);
        assert_eq!(buffer.room(), HIGH_WATER);
    }

    #[test]
    fn a_terminal_sees_the_bytes_unchanged() {
        let sink = Arc::new(MemoryOutput::default());
        let buffer = OutputBuffer::new(Arc::clone(&sink) as Arc<dyn Output>, Buffering::Through, HIGH_WATER);
        buffer.write(Stream::Stdout, &[b"> ", b"prompt"]);
        buffer.finish_now();
        assert_eq!(sink.text(Stream::Stdout), "> prompt");
    }
}
