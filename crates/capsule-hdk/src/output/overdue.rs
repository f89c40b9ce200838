//! Lines of calls that take long: a thread passes them on, so that a reader sees them while the call still runs.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::{Portion, Step, Waiting, lock};

/// How long a whole line waits for the end of its call.
const PATIENCE: Duration = Duration::from_millis(100);

/// Passes on the whole lines that still wait in a moment. Costs next to nothing: an instance is watched once for all that it
/// prints meanwhile.
pub(super) fn watch(waiting: &Arc<Waiting>) {
    static WATCH: OnceLock<Option<Sender<Weak<Waiting>>>> = OnceLock::new();
    let started = WATCH.get_or_init(|| {
        start().inspect_err(|error| tracing::warn!("lines are shown at the end of their calls: {error}")).ok()
    });
    if let Some(watch) = started {
        // The thread never ends.
        let _ = watch.send(Arc::downgrade(waiting));
    }
}

/// Starts the thread. It sleeps until somebody prints.
fn start() -> std::io::Result<Sender<Weak<Waiting>>> {
    let (watch, watched) = channel::<Weak<Waiting>>();
    let again = watch.clone();
    std::thread::Builder::new().name("capsule-lines".into()).spawn(move || {
        while let Ok(first) = watched.recv() {
            std::thread::sleep(PATIENCE);
            let due: Vec<_> = std::iter::once(first).chain(watched.try_iter()).collect();
            for weak in due {
                if weak.upgrade().is_some_and(|waiting| !waiting.pass_on()) {
                    // Nobody reads now, or there is more: tried again.
                    let _ = again.send(weak);
                }
            }
        }
    })?;
    Ok(watch)
}

impl Waiting {
    /// Passes whole lines on. False when they have to wait further.
    fn pass_on(&self) -> bool {
        if self.push_some(Portion::Lines) != Step::Last {
            return false;
        }
        // What was written meanwhile is looked after too.
        let mut lines = lock(&self.lines);
        let done = self.push_locked(&mut lines, Portion::Lines) == Step::Last;
        lines.watched = !done;
        done
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Buffering, MemoryOutput, Output, OutputBuffer, Stream};
    use super::*;

    #[test]
    fn whole_lines_appear_before_the_call_ends() {
        let sink = Arc::new(MemoryOutput::default());
        let buffer = OutputBuffer::new(Arc::clone(&sink) as Arc<dyn Output>, Buffering::Lines, 1 << 16);
        // More than once: an instance is watched again.
        for line in ["one\n", "two\n"] {
            buffer.write(Stream::Stdout, &[line.as_bytes(), b"ha"]);
            let deadline = Instant::now() + Duration::from_secs(60);
            while !sink.text(Stream::Stdout).ends_with(line) {
                assert!(Instant::now() < deadline, "{:?}", sink.text(Stream::Stdout));
                std::thread::yield_now();
            }
            buffer.write(Stream::Stdout, &[b"lf\n"]);
        }
        buffer.finish_now();
        assert_eq!(sink.text(Stream::Stdout), "one\nhalf\ntwo\nhalf\n");
    }
}
