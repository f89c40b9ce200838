//! `cargo xtask hostile`: tricks of modules and clients that mean harm. Each prints one line with what was seen.

mod clients;

use std::path::Path;

use anyhow::{Result, bail};

use crate::programs;

/// A trick.
pub(crate) struct Trick {
    pub(crate) name: &'static str,
    /// Given the folder of the programs: answers what it saw, or fails with what went wrong.
    pub(crate) run: fn(&Path) -> Result<String>,
}

/// Runs `hostile [NAME...] [--programs=DIR]`; a name may be the beginning of several.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut names, mut folder) = (Vec::new(), None);
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--programs", path)) => folder = Some(path),
            None if !argument.starts_with('-') => names.push(argument.as_str()),
            _ => bail!("unknown option `{argument}`; expected --programs=DIR"),
        }
    }
    let tricks = clients::tricks();
    if let Some(unknown) = names.iter().find(|name| tricks.iter().all(|trick| !trick.name.starts_with(*name))) {
        bail!("no trick begins with `{unknown}`");
    }
    let programs = programs::folder(folder.map(Path::new), &["capsule-http"])?;
    let (mut passed, mut failed) = (0, 0);
    let is_asked = |trick: &Trick| names.is_empty() || names.iter().any(|name| trick.name.starts_with(name));
    for trick in tricks.iter().filter(|trick| is_asked(trick)) {
        match (trick.run)(&programs) {
            Ok(seen) => {
                passed += 1;
                println!("{}: {seen}", trick.name);
            }
            Err(error) => {
                failed += 1;
                println!("{}: FAILED: {error:#}", trick.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed; {}", programs::machine());
    if failed > 0 { bail!("a trick succeeded") } else { Ok(()) }
}
