//! Load on a pinned server from a pinned wrk.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use capsule_test::server::HttpServer;

use crate::programs::{processor_time, processor_time_of_ended};

/// The server's core.
pub(crate) const SERVER_CORE: &str = "0";
/// The load generator's.
pub(crate) const CLIENT_CORE: &str = "1";

/// What a load consists of.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    /// What is requested.
    pub(crate) path: &'a str,
    pub(crate) connections: usize,
    pub(crate) seconds: u32,
    /// A script of wrk that says what the requests are like; GET without it.
    pub(crate) script: Option<&'a Path>,
    /// The load generator's cores.
    pub(crate) cores: &'a str,
}

/// Puts load on a server.
pub(crate) fn load(server: &HttpServer, work: Work<'_>) -> Result<Load> {
    let before = (processor_time(server)?, processor_time_of_ended()?);
    let mut command = Command::new("taskset");
    command.args(["-c", work.cores, "wrk", "--latency", "-t1"]);
    command.args([format!("-c{}", work.connections), format!("-d{}s", work.seconds)]);
    if let Some(script) = work.script {
        command.arg("-s").arg(script);
    }
    let output = command.arg(server.url(work.path)).output().context("cannot start `wrk` (Debian package wrk)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("the load failed:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    let used = (processor_time(server)? - before.0, processor_time_of_ended()? - before.1);
    Load::parse(&text, used).with_context(|| format!("wrk printed something unexpected:\n{text}"))
}

/// What wrk measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests_per_second: f64,
    /// The server's processor time for one request: less disturbed by what else the machine does than the rate.
    pub(crate) processor_time: Duration,
    /// The load generator's for one request.
    pub(crate) client_time: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Load {
    fn parse(text: &str, used: (Duration, Duration)) -> Option<Load> {
        let word = |start: &str| {
            text.lines().find_map(|line| line.trim().strip_prefix(start)?.split_whitespace().next().map(str::to_owned))
        };
        let requests: u32 =
            text.lines().find(|line| line.contains(" requests in "))?.split_whitespace().next()?.parse().ok()?;
        Some(Load {
            processor_time: used.0.checked_div(requests)?,
            client_time: used.1.checked_div(requests)?,
            requests_per_second: word("Requests/sec:")?.parse().ok()?,
            p50: duration(&word("50%")?)?,
            p99: duration(&word("99%")?)?,
        })
    }
}

/// `123.00us`, `1.20ms`, `1.00s`
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit].parse().ok()?;
    let seconds = match &text[unit..] {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "  Latency Distribution\n     50%  361.00us\n     75%  391.00us\n     99%    1.20ms\n  \
                    200000 requests in 2.27s, 31.00MB read\nRequests/sec:  88123.45\nTransfer/sec:     13.61MB\n";
        let load = Load::parse(text, (Duration::from_secs(2), Duration::from_secs(1))).unwrap();
        assert_eq!((load.processor_time, load.client_time), (Duration::from_micros(10), Duration::from_micros(5)));
        assert_eq!(load.p50, Duration::from_micros(361));
        assert_eq!(load.p99, Duration::from_micros(1200));
        assert!((load.requests_per_second - 88123.45).abs() < 0.01);
    }
}
