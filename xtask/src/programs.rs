//! The programs that benchmarks and drills run: built as users run them, started, and looked at from outside.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use capsule_test::program::Program;
use capsule_test::server::HttpServer;

/// The folder of the programs: the one given, or else that of the release profile, where `packages` are built first.
pub(crate) fn folder(given: Option<&Path>, packages: &[&str]) -> Result<PathBuf> {
    built(given, "release", packages)
}

/// The same, of another profile.
pub(crate) fn built(given: Option<&Path>, profile: &str, packages: &[&str]) -> Result<PathBuf> {
    if let Some(folder) = given {
        return folder.canonicalize().with_context(|| format!("no folder `{}`", folder.display()));
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked", "--profile", profile, "--quiet"]);
    for package in packages {
        command.args(["--package", package]);
    }
    if !command.status().context("cannot start cargo")?.success() {
        bail!("cargo build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(target.join(profile))
}

/// A program. It finds the user's compile cache, and nothing else of the environment.
pub(crate) fn at(path: PathBuf) -> Program {
    Program::at(path).envs(home())
}

/// A program on some cores, such as `0` and `0,1`, in the same way.
pub(crate) fn pinned(path: PathBuf, cores: &str) -> Result<Program> {
    Ok(Program::tool("taskset", "util-linux")?.args(["-c", cores]).arg(path).envs(home()))
}

fn home() -> Option<(&'static str, OsString)> {
    std::env::var_os("HOME").map(|home| ("HOME", home))
}

/// Resident memory of a server in KiB.
pub(crate) fn resident(server: &HttpServer) -> Result<u64> {
    status(server, "VmRSS:")
}

/// The most that it ever was.
pub(crate) fn most_resident(server: &HttpServer) -> Result<u64> {
    status(server, "VmHWM:")
}

/// How many threads a server has.
pub(crate) fn threads(server: &HttpServer) -> Result<u64> {
    status(server, "Threads:")
}

/// A number of `/proc/PID/status`.
fn status(server: &HttpServer, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.with_context(|| format!("no {name} in /proc"))?.trim().trim_end_matches("kB").trim().parse()?)
}

/// Processor time that a server has used so far.
pub(crate) fn processor_time(server: &HttpServer) -> Result<Duration> {
    ticks(&server.process.id().to_string(), 11)
}

/// Processor time of the programs that this process has started and that have ended.
pub(crate) fn processor_time_of_ended() -> Result<Duration> {
    ticks("self", 13)
}

/// Two fields of `/proc/PID/stat` together. The name in parentheses may hold anything; behind it utime and stime are number 11 and
/// 12, those of children 13 and 14 (proc_pid_stat(5)).
fn ticks(process: &str, field: usize) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("an unexpected /proc/PID/stat")?;
    let ticks: u64 = fields.split_whitespace().skip(field).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// What else the machine does: its load averages of 1, 5 and 15 minutes, and its cores.
pub(crate) fn machine() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let loads: Vec<&str> = loads.split_whitespace().take(3).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("load average {}, {cores} cores", loads.join(" "))
}
