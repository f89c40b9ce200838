//! What is printed: a line a minute, and at the end a line for each thing that was looked at.

use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::load::{Load, Sum};
use super::usage::Usage;

pub(super) struct Report {
    /// One object a line instead of text.
    json: bool,
    failed: usize,
}

impl Report {
    pub(super) fn new(json: bool) -> Report {
        Report { json, failed: 0 }
    }

    /// Something that cannot fail.
    pub(super) fn note(&self, text: &str) {
        self.print(text, &json!({"note": text}));
    }

    pub(super) fn progress(&self, minute: u32, sum: &Sum, usage: &Usage) {
        let Sum { count, wrong, failed } = sum;
        self.print(
            &format!("minute {minute}: {count} calls, {wrong} wrong, {failed} failed; {usage}"),
            &json!({"minute": minute, "calls": count, "wrong": wrong, "failed": failed, "usage": usage.to_string()}),
        );
    }

    /// A line for each kind of call.
    pub(super) fn load(&mut self, load: &Load) {
        for (kind, tally) in &load.kinds {
            let (wrong, failed) = (tally.wrong.count(), tally.failed.count());
            let counts = format!("{}, {wrong} wrong, {failed} failed", tally.count.load(Ordering::Relaxed));
            let first: Vec<_> = [&tally.wrong, &tally.failed].map(|failures| failures.first()).into();
            let first = first.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
            self.line(
                kind.name,
                if wrong + failed == 0 { Ok(counts) } else { Err(anyhow::anyhow!("{counts}: {first}")) },
            );
        }
    }

    /// Something that was looked at, and what was seen or is wrong with it.
    pub(super) fn line(&mut self, name: &str, outcome: Result<String>) {
        match outcome {
            Ok(seen) => self.print(&format!("{name}: {seen}"), &json!({"name": name, "passed": true, "seen": seen})),
            Err(error) => {
                self.failed += 1;
                let error = format!("{error:#}");
                self.print(&format!("{name}: FAILED: {error}"), &json!({"name": name, "passed": false, "seen": error}));
            }
        }
    }

    /// The last line.
    pub(super) fn finish(self, load: &Load) -> Result<()> {
        let Sum { count, wrong, failed } = load.sum();
        self.print(
            &format!("soak: {count} calls, {wrong} wrong, {failed} failed"),
            &json!({"calls": count, "wrong": wrong, "failed": failed}),
        );
        if self.failed > 0 { bail!("the soak found something: lines that failed: {}", self.failed) } else { Ok(()) }
    }

    fn print(&self, text: &str, json: &Value) {
        if self.json {
            println!("{json}");
        } else {
            println!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_failed_fails_all() {
        let load = Load::new(Vec::new());
        let mut report = Report::new(false);
        report.line("a", Ok("seen".to_owned()));
        assert!(Report { json: true, ..report }.finish(&load).is_ok());
        let mut report = Report::new(true);
        report.line("b", Err(anyhow::anyhow!("leaks")));
        assert_eq!(report.finish(&load).unwrap_err().to_string(), "the soak found something: lines that failed: 1");
    }
}
