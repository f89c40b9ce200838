//! A pinned server under load from a pinned wrk.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// The server's core.
const SERVER_CORE: &str = "0";
/// The load generator's.
const CLIENT_CORE: &str = "1";

/// A server that ends with this value.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts `program` and waits for the line on stderr that names its address.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Result<Server> {
        let mut child = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a server with `taskset` (package util-linux)")?;
        let stderr = child.stderr.take().context("the server has no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(at) = line.find("http://") {
                let address = line[at..].trim().to_owned();
                // The rest is read, so that the server never waits for its log.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Server { child, address });
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        bail!("`{}` ended before it listened:\n{seen}", program.display());
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Processor time that it has used so far.
    fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold anything; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')').context("an unexpected /proc/PID/stat")?;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Puts load on it.
    pub(crate) fn load(&self, path: &str, connections: usize, seconds: u32) -> Result<Load> {
        let before = self.processor_time()?;
        let output = Command::new("taskset")
            .args(["-c", CLIENT_CORE, "wrk", "--latency", "-t1"])
            .args([format!("-c{connections}"), format!("-d{seconds}s"), format!("{}{path}", self.address)])
            .output()
            .context("cannot start `wrk` (Debian package wrk)")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            bail!("the load failed:\n{text}{}", String::from_utf8_lossy(&output.stderr));
        }
        let used = self.processor_time()? - before;
        Load::parse(&text, used).with_context(|| format!("wrk printed something unexpected:\n{text}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What wrk measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests_per_second: f64,
    /// The server's processor time for one request: less disturbed by what else the machine does than the rate.
    pub(crate) processor_time: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Load {
    fn parse(text: &str, used: Duration) -> Option<Load> {
        let word = |start: &str| {
            text.lines().find_map(|line| line.trim().strip_prefix(start)?.split_whitespace().next().map(str::to_owned))
        };
        let requests: u32 =
            text.lines().find(|line| line.contains(" requests in "))?.split_whitespace().next()?.parse().ok()?;
        Some(Load {
            processor_time: used.checked_div(requests)?,
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

/// Builds packages of the workspace as users run them, and answers the folder of the programs.
pub(crate) fn build(packages: &[&str]) -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--quiet"]);
    for package in packages {
        command.args(["--package", package]);
    }
    if !command.status().context("cannot start cargo")?.success() {
        bail!("cargo build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(target.join("release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "  Latency Distribution\n     50%  361.00us\n     75%  391.00us\n     99%    1.20ms\n  \
                    200000 requests in 2.27s, 31.00MB read\nRequests/sec:  88123.45\nTransfer/sec:     13.61MB\n";
        let load = Load::parse(text, Duration::from_secs(2)).unwrap();
        assert_eq!(load.processor_time, Duration::from_micros(10));
        assert_eq!(load.p50, Duration::from_micros(361));
        assert_eq!(load.p99, Duration::from_micros(1200));
        assert!((load.requests_per_second - 88123.45).abs() < 0.01);
    }
}
