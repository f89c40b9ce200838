//! The binary, and what its tests compare.

use std::path::PathBuf;

use capsule_test::guests;
use capsule_test::process::Finished;
use capsule_test::program::Program;

/// `capsule`, in a folder of its own when the test gives one.
pub(crate) fn capsule() -> Program {
    Program::of_workspace("capsule").unwrap()
}

/// The path of a guest.
pub(crate) fn fixture(name: &str) -> PathBuf {
    guests::fixture(name).unwrap()
}

/// Compares exit code, stdout and stderr.
#[track_caller]
pub(crate) fn check(finished: &Finished, code: i32, stdout: &str, stderr: &str) {
    let found = (finished.code, finished.stdout(), finished.stderr());
    assert_eq!(found, (Some(code), stdout.to_owned(), stderr.to_owned()), "{finished:?}");
}

/// Checks a failure: exit code, nothing on stdout, and on stderr exactly this error line, with advice or without.
#[track_caller]
pub(crate) fn check_error(finished: &Finished, code: i32, error: &str) {
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(code), ""), "{finished:?}");
    let stderr = finished.stderr();
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("hint: ")).collect();
    assert_eq!(lines, [format!("error: {error}")], "{finished:?}");
}

/// The advice of a failure.
pub(crate) fn hints(finished: &Finished) -> Vec<String> {
    finished.stderr().lines().filter_map(|line| line.strip_prefix("hint: ")).map(str::to_owned).collect()
}
