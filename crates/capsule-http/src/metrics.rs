//! The runner's own counters in Prometheus text format 0.0.4.
//!
//! Written by hand: what is counted per request are three additions, and the text stands behind the module's own, which
//! the libraries' encoders do not provide for.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use capsule_hdk::{Ceiling, Limit, Stats};

use crate::connections::{Connections, Reason};

/// Upper bounds of the latency histogram in microseconds.
const BOUNDS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];
/// The content type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Metric names that begin like this are the runner's.
const OWN: &str = "capsule_";

/// What a server counts.
pub(crate) struct Metrics {
    connections: Connections,
    /// Requests by status, 100 to 999.
    statuses: Box<[AtomicU64]>,
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
    /// The memory of the process.
    ceiling: Ceiling,
}

impl Metrics {
    /// `connections` are counted by themselves, and so is the memory below the `ceiling`.
    pub(crate) fn new(connections: &Connections, ceiling: Ceiling) -> Metrics {
        Metrics {
            connections: connections.clone(),
            statuses: (0..1000).map(|_| AtomicU64::new(0)).collect(),
            buckets: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            microseconds: AtomicU64::new(0),
            ceiling,
        }
    }

    /// Counts an answered call.
    pub(crate) fn count(&self, status: u16, took: Duration) {
        if let Some(counter) = self.statuses.get(usize::from(status)) {
            counter.fetch_add(1, Relaxed);
        }
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| microseconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.microseconds.fetch_add(microseconds, Relaxed);
    }

    /// The text: the module's own first (when it has one), then the runner's.
    pub(crate) fn text(&self, module: Option<&str>, stats: &Stats) -> String {
        let mut text = String::with_capacity(4096);
        for line in module.unwrap_or_default().lines().filter(|line| !is_own(line)) {
            text.push_str(line);
            text.push('\n');
        }
        self.write(&mut text, stats);
        text
    }

    fn write(&self, text: &mut String, stats: &Stats) {
        head(text, "capsule_http_requests_total", "counter", "Calls of the module by status of the answer.");
        for (status, counter) in self.statuses.iter().enumerate() {
            let count = counter.load(Relaxed);
            if count > 0 {
                let _ = writeln!(text, "capsule_http_requests_total{{status=\"{status}\"}} {count}");
            }
        }
        head(text, "capsule_http_request_duration_seconds", "histogram", "Time from a request's head to its answer.");
        let mut total = 0;
        for (index, counter) in self.buckets.iter().enumerate() {
            total += counter.load(Relaxed);
            let bound = BOUNDS.get(index).map_or("+Inf".into(), |bound| seconds(*bound));
            let _ = writeln!(text, "capsule_http_request_duration_seconds_bucket{{le=\"{bound}\"}} {total}");
        }
        let sum = seconds(self.microseconds.load(Relaxed));
        let _ = writeln!(text, "capsule_http_request_duration_seconds_sum {sum}");
        let _ = writeln!(text, "capsule_http_request_duration_seconds_count {total}");
        for (name, kind, help, value) in [
            ("capsule_traps_total", "counter", "Calls that ended in a trap.", stats.trapped),
            ("capsule_failures_total", "counter", "Calls that the module failed.", stats.failed),
            ("capsule_timeouts_total", "counter", "Calls that exceeded their time limit.", stats.timed_out),
            ("capsule_refused_total", "counter", "Calls that found no instance.", stats.refused),
            ("capsule_instances_started_total", "counter", "Instances started.", stats.started),
            (
                "capsule_instances_recycled_total",
                "counter",
                "Instances replaced after as many calls as they may serve.",
                stats.recycled,
            ),
            ("capsule_instances", "gauge", "Instances that exist.", stats.instances as u64),
            ("capsule_waiting_calls", "gauge", "Calls that wait for an instance.", stats.waiting as u64),
            ("capsule_memory_bytes", "gauge", "Linear memory of all instances.", stats.memory as u64),
        ] {
            head(text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        head(text, "capsule_limit_hits_total", "counter", "How often a limit was met, by its flag.");
        for limit in Limit::ALL {
            let _ = writeln!(text, "capsule_limit_hits_total{{limit=\"{}\"}} {}", limit.name(), stats.hits(limit));
        }
        self.write_ceiling(text);
        self.write_connections(text);
    }

    fn write_connections(&self, text: &mut String) {
        let connections = &self.connections;
        head(text, "capsule_connections", "gauge", "Connections that are open.");
        let _ = writeln!(text, "capsule_connections {}", connections.count());
        head(text, "capsule_connections_closed_total", "counter", "Connections that the server closed, by reason.");
        for (reason, name) in Reason::ALL {
            let _ =
                writeln!(text, "capsule_connections_closed_total{{reason=\"{name}\"}} {}", connections.closed(reason));
        }
        head(text, "capsule_buffered_bytes", "gauge", "What is held for clients: bodies, requests that wait, answers.");
        let _ = writeln!(text, "capsule_buffered_bytes {}", connections.held());
    }

    fn write_ceiling(&self, text: &mut String) {
        let limit = self.ceiling.limit().map_or("+Inf".into(), |limit| limit.to_string());
        let [held, idle] = [self.ceiling.held(), self.ceiling.idle()].map(|bytes| bytes.to_string());
        let refused = self.ceiling.refused().to_string();
        for (name, kind, help, value) in [
            ("capsule_memory_ceiling_bytes", "gauge", "The limit of the memory for modules in this process.", limit),
            ("capsule_memory_accounted_bytes", "gauge", "Of it, what is taken.", held),
            ("capsule_memory_idle_stack_bytes", "gauge", "And what is kept of it for stacks.", idle),
            ("capsule_memory_refusals_total", "counter", "How often memory was refused at that limit.", refused),
        ] {
            head(text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Microseconds as seconds, without a float's noise.
fn seconds(microseconds: u64) -> String {
    let fraction = format!("{:06}", microseconds % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    let whole = microseconds / 1_000_000;
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

/// True for a line of the module that would clash with the runner's metrics.
fn is_own(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let name = match words.next() {
        Some("#") => words.nth(1),
        first => first,
    };
    name.is_some_and(|name| name.starts_with(OWN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::limits::of_tests;

    #[test]
    fn the_modules_text_comes_first_and_cannot_clash() {
        let ceiling = Ceiling::new(1000);
        let held = ceiling.reserve(600).unwrap();
        assert!(ceiling.reserve(401).is_err());
        let metrics = Metrics::new(&Connections::new(of_tests()), ceiling);
        metrics.count(200, Duration::from_micros(60));
        let text = metrics.text(
            Some("# HELP call counter\ncall_counter 3\n#  TYPE capsule_instances gauge\n capsule_instances 9"),
            &Stats::default(),
        );
        assert!(text.starts_with("# HELP call counter\ncall_counter 3\n# HELP capsule_http_requests_total"), "{text}");
        assert!(!text.contains("capsule_instances 9"));
        assert!(text.contains("capsule_http_requests_total{status=\"200\"} 1\n"));
        assert!(text.contains("capsule_http_request_duration_seconds_bucket{le=\"0.00005\"} 0\n"));
        assert!(text.contains("capsule_http_request_duration_seconds_bucket{le=\"0.0001\"} 1\n"));
        assert!(text.contains("capsule_http_request_duration_seconds_bucket{le=\"+Inf\"} 1\n"));
        assert!(text.contains("capsule_http_request_duration_seconds_sum 0.00006\n"));
        assert!(text.contains("\ncapsule_memory_ceiling_bytes 1000\n"));
        assert!(text.contains("\ncapsule_memory_accounted_bytes 600\n"));
        assert!(text.contains("\ncapsule_memory_idle_stack_bytes 0\n"));
        assert!(text.contains("\ncapsule_memory_refusals_total 1\n"));
        drop(held);
        let text = Metrics::new(&Connections::new(of_tests()), Ceiling::default()).text(None, &Stats::default());
        assert!(text.contains("\ncapsule_memory_ceiling_bytes +Inf\n"));
    }
}
