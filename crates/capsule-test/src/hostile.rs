//! Hostile modules: what each of `fixtures/hostile/` does and what has to come of it ([`Contract`], read from its own head), and
//! a real server of functions on which it does that beside a neighbour who has to be served all the while ([`Stage`]).
//!
//! The test of `capsule-http` and `cargo xtask hostile` play the same modules; they differ in their [`Margins`] alone.

mod contract;
mod memory;
mod neighbour;
mod pattern;
mod play;
mod seen;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};

pub use contract::{Contract, Entry, Outcome};
pub use memory::Memory;
pub use pattern::Pattern;
pub use seen::Seen;
pub use stage::{Programs, Stage};

use crate::guests;

/// How far what is measured may be from what is promised.
#[derive(Debug, Clone, Copy)]
pub struct Margins {
    /// The time limit of calls for modules that name none.
    pub time_limit: Duration,
    /// How long after its time limit a call may be answered.
    pub late: Duration,
    /// How often a module that was late may try again: a machine that is not idle is no defect.
    pub attempts: usize,
    /// How long the neighbour may wait for an answer at the most.
    pub neighbour: Duration,
    /// The pause between two calls of the neighbour.
    pub pace: Duration,
    /// Memory in bytes that the server may have more than before, when a module is gone: more than the allocator keeps in its threads
    /// for the next one, less than that of one instance which has grown as far as it may.
    pub memory: u64,
    /// And when all of them are gone: what its allocator keeps for the next ones, whatever they are.
    pub all: u64,
    /// Until when memory must have come back.
    pub settle: Duration,
}

impl Margins {
    /// For a machine that does nothing else: the figures of the promise.
    pub const IDLE: Margins = Margins {
        time_limit: Duration::from_millis(300),
        late: Duration::from_millis(20),
        attempts: 3,
        neighbour: Duration::from_millis(250),
        pace: Duration::from_millis(2),
        memory: 48 << 20,
        all: 192 << 20,
        settle: Duration::from_secs(15),
    };

    /// For tests, which share the machine with each other: order and outcome.
    pub const WIDE: Margins = Margins {
        time_limit: Duration::from_secs(1),
        late: Duration::from_secs(10),
        attempts: 1,
        neighbour: Duration::from_secs(20),
        pace: Duration::from_millis(10),
        memory: 48 << 20,
        all: 192 << 20,
        settle: Duration::from_secs(30),
    };
}

/// The contracts of all hostile modules, in the order of their names.
///
/// # Errors
/// The folder cannot be read, or the head of a module is not a contract.
pub fn contracts() -> anyhow::Result<Vec<Contract>> {
    let paths = modules()?;
    ensure!(!paths.is_empty(), "no module is in `{}`", folder().display());
    paths.iter().map(|path| Contract::read(path)).collect()
}

/// Where they are.
fn folder() -> PathBuf {
    guests::root().join("fixtures/hostile")
}

fn modules() -> anyhow::Result<Vec<PathBuf>> {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wat"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_a_contract() {
        let contracts = contracts().unwrap();
        assert!(contracts.len() >= 80, "{} modules", contracts.len());
    }
}
