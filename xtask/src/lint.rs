//! `cargo xtask lint`: everything that is checked without running tests.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::step::{self, Steps, command};
use crate::tidy;

/// The crate whose features are checked one by one.
const FEATURED: &str = "capsule-hostfns";

/// Runs all checks, whatever becomes of the ones before.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("unknown argument `{argument}`");
    }
    let mut steps = Steps::default();
    for folder in [".", "functions"] {
        let name = if folder == "." { "workspace" } else { folder };
        steps.step(&format!("format of {name}"), || {
            step::run(command(folder, &["cargo", "fmt", "--all", "--", "--check"]))
        });
        steps.step(&format!("clippy of {name}"), || {
            let words = ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
            step::run(command(folder, &words))
        });
    }
    steps.step("format of fuzz", || step::run(command("fuzz", &["cargo", "fmt", "--", "--check"])));
    steps.step("documentation", || {
        let mut cargo = command(".", &["cargo", "doc", "--locked", "--workspace", "--no-deps"]);
        cargo.env("RUSTDOCFLAGS", "-D warnings");
        step::run(cargo)
    });
    steps.step(&format!("features of {FEATURED}"), features);
    steps.step("licences, bans, sources", || {
        deny_is_installed()?;
        step::run(command(".", &["cargo", "deny", "check", "bans", "licenses", "sources"]))
    });
    steps.step("advisories", advisories);
    steps.step("Go", || step::run(command("mdk-go", &["./check.sh"])));
    steps.step("tidy", || tidy::run(&[]));
    steps.finish()
}

/// Each feature alone, and none.
fn features() -> Result<()> {
    let metadata = command(".", &["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&step::output(metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let package = packages.iter().find(|package| package["name"] == FEATURED).context("the crate is not there")?;
    let features = package["features"].as_object().context("the crate has no features")?;
    let names = features.keys().map(String::as_str).filter(|name| *name != "default");
    for name in std::iter::once("").chain(names) {
        let mut cargo = command(".", &["cargo", "clippy", "--locked", "--package", FEATURED, "--no-default-features"]);
        cargo.args(["--features", name, "--", "-D", "warnings"]);
        step::run(cargo)?;
    }
    Ok(())
}

fn deny_is_installed() -> Result<()> {
    if step::is_installed("cargo-deny") {
        return Ok(());
    }
    println!("cargo-deny is missing; its installation takes some minutes");
    step::run(command(".", &["cargo", "install", "--locked", "cargo-deny"]))
}

/// Known vulnerabilities. Their database is a git repository, which not every machine reaches.
fn advisories() -> Result<()> {
    deny_is_installed()?;
    if step::run(command(".", &["cargo", "deny", "fetch", "db"])).is_err() {
        eprintln!("WARNING: advisories were NOT checked: the advisory database cannot be reached from this machine");
        return Ok(());
    }
    step::run(command(".", &["cargo", "deny", "check", "advisories"]))
}
