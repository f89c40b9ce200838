//! What the server counted, against what the clients counted.

use std::sync::atomic::Ordering;

use anyhow::{Result, bail, ensure};

use super::load::Load;
use super::stage::{SLEEPERS, Stage};

/// What, how many there are without any load, and where they are counted.
const SEEN: [(&str, f64, &str, &[&str]); 5] = [
    ("starts of functions that slept", SLEEPERS as f64, "capsule_function_cold_start_seconds_count", &[SLEEPER]),
    ("calls that were routed to another revision", 0.0, CALLS, &[r#"function="hello",revision="green""#]),
    ("failures without Redis", 0.0, CALLS, &[r#"function="redis""#, r#"outcome="failure""#]),
    ("instances replaced in good order", 0.0, "capsule_function_instances_recycled_total", &[]),
    ("calls whose client had gone", 0.0, CALLS, &[r#"function="left"#]),
];
const SLEEPER: &str = r#"function="sleeper-"#;
const CALLS: &str = "capsule_function_calls_total";

/// Every kind of call whose outcome is counted exactly: the others are of functions that come and go, or of clients that do not wait
/// for an answer.
pub(super) fn compared(stage: &Stage, load: &Load) -> Result<String> {
    let text = stage.client()?.admin("GET", "/metrics", b"")?;
    let (mut same, mut different) = (Vec::new(), Vec::new());
    for (kind, tally) in &load.kinds {
        let Some(counted) = &kind.counted else { continue };
        let expected = tally.count.load(Ordering::Relaxed) * counted.each;
        let found = sum(&text, counted.metric, counted.labels);
        if found == expected as f64 {
            same.push(kind.name);
        } else {
            different.push(format!("{}: {found} instead of {expected}", kind.name));
        }
    }
    if different.is_empty() {
        Ok(format!("as many as the clients counted: {}", same.join(", ")))
    } else {
        bail!("the server counted {}", different.join(", "))
    }
}

/// What the server has to have done: without it the load would have shown less than it seems to.
pub(super) fn seen(stage: &Stage) -> Result<String> {
    let text = stage.client()?.admin("GET", "/metrics", b"")?;
    let mut seen = Vec::new();
    for (what, without, metric, labels) in SEEN {
        let count = sum(&text, metric, labels) - without;
        ensure!(count > 0.0, "none of these: {what}");
        seen.push(format!("{count} {what}"));
    }
    Ok(seen.join(", "))
}

/// The sum of the lines of a metric that have all of these in their labels.
fn sum(text: &str, metric: &str, labels: &[&str]) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} "));
    let lines = lines.filter(|(all, _)| labels.iter().all(|label| all.contains(label)));
    lines.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_all_labels_are_summed() {
        let text = "# HELP a b\na{x=\"1\",y=\"1\"} 2\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"1\"} 5\nab{x=\"1\"} 7\na 9\n";
        for (labels, expected) in
            [(&["x=\"1\""][..], 5.0), (&["x=\"1\"", "y=\"2\""], 3.0), (&["x=\""], 10.0), (&["z"], 0.0)]
        {
            assert_eq!(sum(text, "a", labels), expected, "{labels:?}");
        }
    }
}
