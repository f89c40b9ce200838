//! What the topics share.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use capsule_faas::store::Store;
use tempfile::TempDir;

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A store in a folder and one in memory: what is true of one is true of the other.
pub(crate) fn both() -> Vec<(&'static str, Store, Option<TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = Store::open(folder.path()).unwrap();
    vec![("disk", on_disk, Some(folder)), ("memory", Store::memory().unwrap(), None)]
}

/// Runs one test of this executable again in a process of its own, where `variable` is set.
pub(crate) fn itself(test: &str, variable: &str, value: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, value);
    command
}

/// For what the developer must see although the test passes: the harness does not capture it.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").unwrap();
}

/// The text and the causes of an error on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
