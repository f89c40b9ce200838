//! `cargo xtask test`: installs what the tests need, runs every test of the project once, counts instructions, and sums up.
//!
//! Rust tests run in the dev profile, in which all of the workspace is built anyway, so that the engine is compiled once. The
//! example functions are a workspace of their own; their tests run on this machine, without wasm. So do those of the Go SDK.

use std::fs;

use anyhow::{Result, bail};

use crate::step::{self, Steps, command};
use crate::{guests, instructions};

/// Programs that the tests start, and the Debian packages that have them.
const TOOLS: [(&str, &str); 4] =
    [("redis-server", "redis-server"), ("curl", "curl"), ("openssl", "openssl"), ("valgrind", "valgrind")];

/// Tests that ran.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

/// Runs the command. `arguments` are for `cargo test` of the workspace, such as `-p capsule-abi` or a test's name; with any of
/// them, only that runs.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    let mut count = Count::default();
    let whole = arguments.is_empty();
    if whole {
        steps.step("tools", tools);
        steps.step("guests", || guests::run(&["--check".to_owned()]));
    }
    steps.step("workspace", || {
        let scope: &[&str] = if whole { &["--workspace"] } else { &[] };
        let words = [&["cargo", "test", "--locked", "--no-fail-fast"], scope].concat();
        let mut cargo = command(".", &words);
        cargo.args(arguments);
        counted(cargo, rust, &mut count)
    });
    if whole {
        steps.step("functions in Rust", || {
            let words = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace"];
            counted(command("functions", &words), rust, &mut count)
        });
        steps.step("Go SDK", || counted(command("mdk-go", GO_TEST), go, &mut count));
        for name in go_functions()? {
            let folder = format!("functions/{name}/go");
            steps.step(&folder, || counted(command(&folder, GO_TEST), go, &mut count));
        }
        steps.step("instructions", || instructions::run(&[]));
    }
    println!("\n{}", tinygo());
    // What failed without counting a test, such as a build, is a failure too.
    let failed = count.failed.max(steps.failures());
    let passed = count.passed;
    let result = steps.finish();
    println!("\n{passed} passed, {failed} failed");
    result
}

/// `-vet=off`: `cargo xtask lint` does that.
const GO_TEST: &[&str] = &["go", "test", "-count=1", "-vet=off", "-v", "./..."];

/// Runs tests and adds what `read` finds in each line.
fn counted(command: std::process::Command, read: fn(&str) -> Line, count: &mut Count) -> Result<()> {
    let before = count.failed;
    let ok = step::run_lines(command, |line| {
        let found = read(line);
        if found.shown {
            println!("{line}");
        }
        count.passed += found.count.passed;
        count.failed += found.count.failed;
    })?;
    match count.failed - before {
        0 if ok => Ok(()),
        0 => bail!("the tests did not run to their end"),
        failed => bail!("{failed} tests failed"),
    }
}

/// What a line of a test's output says.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    shown: bool,
    count: Count,
}

/// `test result: ok. 3 passed; 0 failed; ...`
fn rust(line: &str) -> Line {
    let mut count = Count::default();
    if let Some(result) = line.strip_prefix("test result: ") {
        let number = |word: &str| {
            let before = result.split(word).next().filter(|before| before.len() < result.len());
            before.and_then(|before| before.split_whitespace().last()).and_then(|number| number.parse().ok())
        };
        count.passed = number(" passed").unwrap_or(0);
        count.failed = number(" failed").unwrap_or(0);
    }
    // Two hundred lines of good news hide the bad ones.
    Line { shown: !(line.starts_with("test ") && line.ends_with(" ... ok")), count }
}

/// `--- PASS: TestName (0.00s)`; those of tests within tests are indented.
fn go(line: &str) -> Line {
    let passed = usize::from(line.starts_with("--- PASS"));
    let failed = usize::from(line.starts_with("--- FAIL"));
    let noise = ["--- PASS", "=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "PASS"];
    Line { shown: !noise.iter().any(|start| line.trim_start().starts_with(start)), count: Count { passed, failed } }
}

/// The example functions that have a source in Go.
fn go_functions() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(step::root().join("functions"))? {
        let entry = entry?;
        if entry.path().join("go/go.mod").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Sees to it that everything is there, by the package manager where that is possible.
fn tools() -> Result<()> {
    if !step::is_installed("go") {
        bail!("Go is missing: the tests of the Go SDK and functions need 1.24 or later, see https://go.dev/dl");
    }
    let missing = || TOOLS.into_iter().filter(|(program, _)| !step::is_installed(program)).map(|(_, package)| package);
    let packages: Vec<_> = missing().collect();
    if packages.is_empty() {
        println!("all there: go, {}", TOOLS.map(|(program, _)| program).join(", "));
        return Ok(());
    }
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !step::is_installed("apt-get") {
        bail!("missing: {}. Install what on Debian is `{by_hand}`", packages.join(", "));
    }
    let root = step::output(command(".", &["id", "-u"]))?.trim() == "0";
    if !root && !step::is_installed("sudo") {
        bail!("missing: {}. As root: `{by_hand}`", packages.join(", "));
    }
    let sudo: &[&str] = if root { &[] } else { &["sudo"] };
    // The tests start servers of their own: RUNLEVEL=1 keeps the package from starting one.
    let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"];
    let apt = |words: &[&str]| step::run(command(".", &[sudo, &environment, &["apt-get"], words].concat()));
    // An index that cannot be refreshed may still know the packages.
    if let Err(error) = apt(&["update"]) {
        eprintln!("warning: {error:#}");
    }
    apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    match missing().next() {
        None => Ok(()),
        Some(package) => bail!("`{package}` is still missing after its installation"),
    }
}

fn tinygo() -> String {
    let version = step::is_installed("tinygo").then(|| step::output(command(".", &["tinygo", "version"])));
    match version {
        Some(Ok(version)) => format!("TinyGo: on the PATH, {}", version.trim()),
        _ => "TinyGo: not on the PATH; the Go SDK was checked to stay within what TinyGo supports".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(read: fn(&str) -> Line, line: &str, shown: bool, passed: usize, failed: usize) {
        assert_eq!(read(line), Line { shown, count: Count { passed, failed } }, "{line}");
    }

    #[test]
    fn results_of_cargo_are_counted() {
        check(rust, "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out", true, 12, 0);
        check(rust, "test result: FAILED. 1 passed; 22 failed; 0 ignored", true, 1, 22);
        check(rust, "test frame::tests::names ... ok", false, 0, 0);
        check(rust, "test frame::tests::names ... FAILED", true, 0, 0);
        check(rust, "5 passed", true, 0, 0);
    }

    #[test]
    fn results_of_go_are_counted() {
        check(go, "--- PASS: TestHandle (0.00s)", false, 1, 0);
        check(go, "    --- PASS: TestHandle/empty (0.00s)", false, 0, 0);
        check(go, "--- FAIL: TestHandle (0.00s)", true, 0, 1);
        check(go, "    handle_test.go:3: expected 1", true, 0, 0);
        check(go, "ok  \tcapsule\t0.002s", true, 0, 0);
        check(go, "PASS", false, 0, 0);
    }
}
