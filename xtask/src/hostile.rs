//! `cargo xtask hostile`: modules and clients that try to hang, exhaust, read or crash a real server. Each prints one line with
//! what was seen.

mod clients;
mod modules;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::programs;

/// What a client does.
pub(crate) struct Trick {
    pub(crate) name: &'static str,
    /// Is given the folder of the programs; answers what it saw, or fails with what went wrong.
    pub(crate) run: fn(&Path) -> Result<String>,
}

/// The word for all modules.
const MODULES: &str = "modules";
/// The word for all clients.
const CLIENTS: &str = "clients";

/// What the command is told.
struct Options {
    /// Names, how names begin, or the word for a kind; all when there is none.
    names: Vec<String>,
    /// The folder of the programs.
    programs: Option<PathBuf>,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Options> {
        let mut options = Options { names: Vec::new(), programs: None };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("--programs", folder)) => options.programs = Some(folder.into()),
                None if !argument.starts_with('-') => options.names.push(argument.clone()),
                _ => bail!("unknown option `{argument}`; expected --programs=DIR"),
            }
        }
        Ok(options)
    }

    fn wants(&self, kind: &str, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|word| word == kind || stands_for(word, name))
    }
}

/// `loop` stands for `loop-start` too.
fn stands_for(word: &str, name: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Runs `hostile [modules] [clients] [NAME...] [--programs=DIR]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::read(arguments)?;
    let mut contracts = capsule_test::hostile::contracts()?;
    let mut tricks = clients::tricks();
    let known: Vec<&str> =
        contracts.iter().map(|contract| &*contract.name).chain(tricks.iter().map(|trick| trick.name)).collect();
    let is_known = |word: &str| word == MODULES || word == CLIENTS || known.iter().any(|name| stands_for(word, name));
    if let Some(unknown) = options.names.iter().find(|word| !is_known(word)) {
        bail!("nothing hostile is called `{unknown}`; expected `{MODULES}`, `{CLIENTS}`, a name, or how names begin");
    }
    contracts.retain(|contract| options.wants(MODULES, &contract.name));
    tricks.retain(|trick| options.wants(CLIENTS, trick.name));
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http", "capsule-cli"])?;
    println!("{}", programs::machine());
    let mut report = Report::default();
    if !contracts.is_empty() {
        modules::run(&folder, &contracts, &mut report);
    }
    for trick in tricks {
        report.add(trick.name, (trick.run)(&folder));
    }
    report.finish()
}

/// How many came out as they have to.
#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Prints the line of one.
    fn add(&mut self, name: &str, outcome: Result<String>) {
        match outcome {
            Ok(seen) => {
                self.passed += 1;
                println!("{name}: {seen}");
            }
            Err(error) => {
                self.failed += 1;
                println!("{name}: FAILED: {error:#}");
            }
        }
    }

    fn finish(self) -> Result<()> {
        println!("{}", programs::machine());
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 { bail!("{} did not come out as they have to", self.failed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options> {
        Options::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_choose_a_kind_or_what_begins_with_them() {
        let some = options(&["loop", "trap-name", CLIENTS, "--programs=x"]).unwrap();
        for (name, wanted) in
            [("loop-start", true), ("loop", true), ("loops", false), ("trap", false), ("trap-name", true)]
        {
            assert_eq!(some.wants(MODULES, name), wanted, "{name}");
            assert!(some.wants(CLIENTS, name), "{name}");
        }
        assert!(options(&[]).unwrap().wants(MODULES, "anything"));
        assert_eq!(options(&["--loop"]).err().unwrap().to_string(), "unknown option `--loop`; expected --programs=DIR");
    }

    #[test]
    fn a_word_for_nothing_is_refused() {
        let error = run(&["loop".to_owned(), "lop".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "nothing hostile is called `lop`; expected `modules`, `clients`, a name, or how names begin");
    }

    #[test]
    fn one_that_failed_fails_all() {
        let mut report = Report::default();
        report.add("a", Ok("seen".to_owned()));
        report.add("b", Err(anyhow::anyhow!("hung")));
        assert_eq!((report.passed, report.failed), (1, 1));
        assert!(report.finish().is_err());
    }
}
