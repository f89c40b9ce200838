//! What was seen of a trick, as one line.

use std::fmt;
use std::time::Duration;

use super::memory::{Change, Memory};

/// Memory that has come back by then needs no word.
const SOON: Duration = Duration::from_millis(500);

/// What was seen of a trick that came out as it has to.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What came of it: a status or an exit code, and the text.
    pub outcome: String,
    /// How long that took; the longest of several.
    pub took: Duration,
    /// How much later than its time limit it was, when the limit ended it.
    pub late: Option<Duration>,
    /// What came of the good call after it, and how long that took.
    pub then: Option<(String, Duration)>,
    /// The longest that the neighbour waited for one of this many answers.
    pub neighbour: (Duration, usize),
    /// The server's memory before and after it.
    pub memory: (Memory, Memory),
    /// How long it took until that had come back.
    pub settled: Duration,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "{} after {:.1} ms", self.outcome, ms(self.took))?;
        if let Some(late) = self.late {
            write!(f, " ({:.1} ms late)", ms(late))?;
        }
        if let Some((outcome, took)) = &self.then {
            write!(f, ", then {outcome} after {:.1} ms", ms(*took))?;
        }
        let (longest, calls) = self.neighbour;
        let (before, after) = self.memory;
        write!(f, "; neighbour: {calls} calls, longest {:.1} ms; memory: ", ms(longest))?;
        let peak = Change { from: before.now, to: after.peak };
        write!(f, "{}, at most {peak}", Change { from: before.now, to: after.now })?;
        if self.settled > SOON { write!(f, ", after {:.1} s", self.settled.as_secs_f64()) } else { Ok(()) }
    }
}
