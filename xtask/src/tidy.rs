//! `cargo xtask tidy`: what the project promises about itself and no compiler checks.
//!
//! Each check answers a list of problems, one line each; all are shown before the command fails.

mod edges;
mod papers;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::step::{self, command};
use crate::{guests, pages};

/// Lines of a source file, its tests aside, past which its head has to say why.
const LONG_FILE: usize = 600;
/// How the head says it.
const LONG_BECAUSE: &str = "Long because";
/// Lines of ARCHITECTURE.md at most: a longer map is not read.
const LONGEST_ARCHITECTURE: usize = 200;

/// Runs all checks.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("unknown argument `{argument}`");
    }
    let root = step::root();
    let architecture = read(&root.join("ARCHITECTURE.md"))?;
    let metadata = metadata()?;
    let mut problems = edges::check(&architecture, &metadata)?;
    if architecture.lines().count() > LONGEST_ARCHITECTURE {
        problems.push(format!("ARCHITECTURE.md is longer than {LONGEST_ARCHITECTURE} lines"));
    }
    problems.extend(fixtures(&root)?);
    if let Err(error) = capsule_test::hostile::contracts() {
        problems.push(format!("{error:#}"));
    }
    problems.extend(papers::links(&root)?);
    problems.extend(sources(&root)?);
    if let Err(error) = guests::run(&["--check".to_owned()]) {
        problems.push(format!("{error:#}"));
    }
    match pages::check(&metadata) {
        Ok(old) => problems.extend(old),
        Err(error) => problems.push(format!("the flag pages cannot be compared: {error:#}")),
    }
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} things are not tidy", problems.len());
    }
    println!("tidy");
    Ok(())
}

/// What cargo knows of the crates of this workspace.
pub(crate) fn metadata() -> Result<Value> {
    let cargo = command(".", &["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"]);
    serde_json::from_str(&step::output(cargo)?).context("cannot read what cargo says of the workspace")
}

/// True for a package below `crates/`; developer commands and benchmarks are not part of the product.
pub(crate) fn is_product(package: &Value) -> bool {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    manifest.ancestors().nth(2).is_some_and(|folder| folder.ends_with("crates"))
}

/// Every guest of the tests has a line that says what it does; a hostile one says it in its own head.
fn fixtures(root: &Path) -> Result<Vec<String>> {
    let contracts = fs::read_to_string(root.join("fixtures/README.md")).unwrap_or_default();
    let mut guests = files(&root.join("fixtures"), "wat")?;
    let hostile = root.join("fixtures/hostile");
    guests.retain(|guest| !guest.starts_with(&hostile));
    let names = guests.iter().filter_map(|guest| guest.file_name()).map(|name| name.to_string_lossy().into_owned());
    Ok(names
        .filter(|name| !contracts.contains(&format!("`{name}`")))
        .map(|name| format!("fixtures/README.md does not say what `{name}` does"))
        .collect())
}

/// Sources that are too long without a reason (a warning), and tests that are switched off.
fn sources(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in files(root, "rs")? {
        let text = read(&file)?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        if let Some(line) = text.lines().position(|line| line.trim_start().starts_with("#[ignore")) {
            problems.push(format!("{name}:{}: a test is switched off", line + 1));
        }
        let length = length(&text);
        if length > LONG_FILE && !head(&text).any(|line| line.contains(LONG_BECAUSE)) {
            eprintln!(
                "warning: {name} has {length} lines: split it, or begin a line of its head with `{LONG_BECAUSE}`"
            );
        }
    }
    Ok(problems)
}

/// Lines without the tests at the end.
fn length(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

fn head(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.starts_with("//!"))
}

/// All files of the project with this extension, in order; what tools have built is left out.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_code_of_a_file_are_told_apart() {
        assert_eq!(length("//! Head.\n\nfn a() {}\n\n#[cfg(test)]\nmod tests {}\n"), 4);
        assert_eq!(head("//! One.\n//! Long because of a table.\nfn a() {}\n//! no").count(), 2);
    }

    #[test]
    fn a_fixture_without_contract_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("fixtures");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("counter.wat"), "").unwrap();
        fs::write(folder.join("loop.wat"), "").unwrap();
        fs::write(folder.join("README.md"), "| `loop.wat` | never ends |").unwrap();
        assert_eq!(fixtures(root.path()).unwrap(), ["fixtures/README.md does not say what `counter.wat` does"]);
    }

    #[test]
    fn a_test_that_is_switched_off_is_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("target")).unwrap();
        let text = "#[test]\n    #[ignore = \"slow\"]\nfn a() {}\n";
        fs::write(root.path().join("a.rs"), text).unwrap();
        fs::write(root.path().join("target/b.rs"), text).unwrap();
        assert_eq!(sources(root.path()).unwrap(), ["a.rs:2: a test is switched off"]);
    }
}
