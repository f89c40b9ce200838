//! Memory of a process, as the system counts it.

use std::fmt;

use anyhow::Context as _;

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// The most since the last [`Memory::forget`].
    pub peak: u64,
}

impl Memory {
    /// That of a process. Where there is no `/proc`, none is known, and it is 0.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of(process: u32) -> anyhow::Result<Memory> {
        if !cfg!(target_os = "linux") {
            return Ok(Memory { now: 0, peak: 0 });
        }
        let path = format!("/proc/{process}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        let field = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no `{name}`"))?;
            let number: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("`{name}`"))?;
            anyhow::Ok(number * 1024)
        };
        Ok(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Makes the peak what a process has now (proc_pid_clear_refs(5)).
    ///
    /// # Errors
    /// The system refuses.
    pub fn forget(process: u32) -> anyhow::Result<()> {
        if !cfg!(target_os = "linux") {
            return Ok(());
        }
        let path = format!("/proc/{process}/clear_refs");
        std::fs::write(&path, "5").with_context(|| format!("cannot write `{path}`"))
    }
}

/// A difference of bytes.
pub(super) struct Change {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = (self.to as f64 - self.from as f64) / f64::from(1 << 20);
        write!(f, "{mib:+.1} MiB")
    }
}
