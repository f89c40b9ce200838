//! Counters with the names of functions, in Prometheus text format: those of a revision's processes together.
//!
//! How many revisions are told apart is bounded; the others are counted together as `*`, which no function can be called.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use capsule_faas::runtime::{BUCKETS, Histogram, ProcessStats};
use capsule_faas_model::record::Status;
use capsule_hdk::{Limit, Stats};

/// Revisions with a name of their own: each has some forty lines.
const MAX_REVISIONS: usize = 1000;

/// What is counted of a revision.
#[derive(Default)]
struct Counted {
    calls: Stats,
    processes: u64,
    awake: u64,
    latency: Histogram,
    cold_starts: Histogram,
}

/// Name, help, and where the numbers are.
type HistogramFamily = (&'static str, &'static str, fn(&Counted) -> &Histogram);
type GaugeFamily = (&'static str, &'static str, fn(&Counted) -> u64);
type CounterFamily = (&'static str, &'static str, fn(&Stats) -> u64);

/// What is counted of instances.
const INSTANCES: [CounterFamily; 2] = [
    ("capsule_function_instances_started_total", "Instances of the module that were started.", |calls| calls.started),
    (
        "capsule_function_instances_recycled_total",
        "Instances replaced after as many calls as they may serve.",
        |calls| calls.recycled,
    ),
];

/// The counters of all functions together, for the server's own lines.
pub(super) fn sum(processes: &[ProcessStats]) -> Stats {
    let mut sum = Stats::default();
    for process in processes {
        sum += &process.calls;
    }
    sum
}

/// The text for all functions.
pub(super) fn text(processes: &[ProcessStats]) -> String {
    let mut revisions: BTreeMap<(&str, &str), Counted> = BTreeMap::new();
    for process in processes {
        let mut name = (process.key.name.as_str(), process.key.revision.as_str());
        if revisions.len() >= MAX_REVISIONS && !revisions.contains_key(&name) {
            name = ("*", "*");
        }
        let counted = revisions.entry(name).or_default();
        counted.calls += &process.calls;
        counted.processes += 1;
        counted.awake += u64::from(process.status == Status::Started);
        merge(&mut counted.latency, &process.latency);
        merge(&mut counted.cold_starts, &process.cold_starts);
    }
    let labelled: Vec<(String, Counted)> = revisions
        .into_iter()
        .map(|((function, revision), counted)| (format!("function=\"{function}\",revision=\"{revision}\""), counted))
        .collect();
    let mut text = String::with_capacity(labelled.len() * 4096);
    calls(&mut text, &labelled);
    let histograms: [HistogramFamily; 2] = [
        (
            "capsule_function_call_duration_seconds",
            "Time of a call of the function, waiting for an instance included.",
            |counted| &counted.latency,
        ),
        (
            "capsule_function_cold_start_seconds",
            "Time from the need of a sleeping or new function until it could be called.",
            |counted| &counted.cold_starts,
        ),
    ];
    for (name, help, of) in histograms {
        head(&mut text, name, "histogram", help);
        labelled.iter().for_each(|(labels, counted)| histogram(&mut text, name, labels, of(counted)));
    }
    let gauges: [GaugeFamily; 4] = [
        ("capsule_function_processes", "Indexes of the revision.", |counted| counted.processes),
        ("capsule_function_processes_awake", "Indexes that do not sleep.", |counted| counted.awake),
        ("capsule_function_instances", "Instances of the module that exist.", |counted| counted.calls.instances as u64),
        ("capsule_function_memory_bytes", "Linear memory of these instances.", |counted| counted.calls.memory as u64),
    ];
    for (name, help, of) in gauges {
        head(&mut text, name, "gauge", help);
        for (labels, counted) in &labelled {
            let _ = writeln!(text, "{name}{{{labels}}} {}", of(counted));
        }
    }
    text
}

fn calls(text: &mut String, labelled: &[(String, Counted)]) {
    let name = "capsule_function_calls_total";
    head(text, name, "counter", "Calls of the function by what they came to.");
    for (labels, Counted { calls, .. }) in labelled {
        for (outcome, count) in [
            ("success", calls.succeeded),
            ("failure", calls.failed),
            ("trap", calls.trapped),
            ("broken", calls.protocol),
            ("timeout", calls.timed_out),
            ("refused", calls.refused),
        ] {
            let _ = writeln!(text, "{name}{{{labels},outcome=\"{outcome}\"}} {count}");
        }
    }
    let name = "capsule_function_limit_hits_total";
    head(text, name, "counter", "How often a limit of the function was met, by its flag.");
    for (labels, Counted { calls, .. }) in labelled {
        // Most are never met: their lines are left out.
        for limit in Limit::ALL.into_iter().filter(|limit| calls.hits(*limit) > 0) {
            let _ = writeln!(text, "{name}{{{labels},limit=\"{}\"}} {}", limit.name(), calls.hits(limit));
        }
    }
    for (name, help, of) in INSTANCES {
        head(text, name, "counter", help);
        for (labels, Counted { calls, .. }) in labelled {
            let _ = writeln!(text, "{name}{{{labels}}} {}", of(calls));
        }
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let mut total = 0;
    for (index, count) in histogram.buckets.iter().enumerate() {
        total += count;
        let bound = BUCKETS.get(index).map_or("+Inf".to_owned(), f64::to_string);
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
    }
    let _ = writeln!(text, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {total}", histogram.sum);
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn merge(sum: &mut Histogram, more: &Histogram) {
    sum.buckets.iter_mut().zip(more.buckets).for_each(|(sum, more)| *sum += more);
    sum.sum += more.sum;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative() {
        let mut observed = Histogram::default();
        (observed.buckets[0], observed.buckets[BUCKETS.len()], observed.sum) = (2, 1, 12.5);
        let mut merged = observed;
        merge(&mut merged, &observed);
        let mut text = String::new();
        histogram(&mut text, "x", "a=\"b\"", &merged);
        assert!(text.starts_with("x_bucket{a=\"b\",le=\"0.0001\"} 4\nx_bucket{a=\"b\",le=\"0.0005\"} 4\n"), "{text}");
        assert!(text.ends_with("le=\"+Inf\"} 6\nx_sum{a=\"b\"} 25\nx_count{a=\"b\"} 6\n"), "{text}");
    }
}
