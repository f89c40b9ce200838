//! `cargo xtask drill`: checks of a real server of functions that take too long for tests. Each prints one line with what it saw.

pub(crate) mod blue_green;
mod kill;
mod neighbours;
pub(crate) mod pace;
mod sleep;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::programs;

/// What a drill is told.
struct Options {
    /// The folder of `capsule-http`.
    programs: PathBuf,
    /// How long the load lasts, when it shall not be the drill's own time.
    seconds: Option<u32>,
}

/// Name, and what it does: answers what it saw, or fails with what went wrong.
type Drill = (&'static str, fn(&Options) -> Result<String>);

const DRILLS: [Drill; 4] =
    [("blue-green", blue_green::run), ("kill", kill::run), ("sleep", sleep::run), ("neighbours", neighbours::run)];

/// Runs `drill [NAME...] [OPTION...]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut names, mut seconds, mut folder) = (Vec::new(), None, None);
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--seconds", count)) => seconds = Some(count.parse()?),
            Some(("--programs", path)) => folder = Some(path),
            None if !argument.starts_with('-') => names.push(argument.as_str()),
            _ => bail!("unknown option `{argument}`; expected --seconds=N or --programs=DIR"),
        }
    }
    if let Some(unknown) = names.iter().find(|name| DRILLS.iter().all(|(known, _)| known != *name)) {
        bail!("unknown drill `{unknown}`; expected {}", DRILLS.map(|(name, _)| format!("`{name}`")).join(", "));
    }
    let options = Options { programs: programs::folder(folder.map(Path::new), &["capsule-http"])?, seconds };
    let (mut passed, mut failed) = (0, 0);
    for (name, drill) in DRILLS.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        match drill(&options) {
            Ok(seen) => {
                passed += 1;
                println!("{name}: {seen}; {}", programs::machine());
            }
            Err(error) => {
                failed += 1;
                println!("{name}: FAILED: {error:#}; {}", programs::machine());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 { bail!("a drill failed") } else { Ok(()) }
}
