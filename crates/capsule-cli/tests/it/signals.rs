//! What ends the program from outside.

use std::time::Instant;

use capsule_test::DEADLINE;
use capsule_test::process::Stream;
use capsule_test::program::Program;
use rustix::process::Signal;

use crate::support::{capsule, fixture};

/// Bytes that a pipe holds on Linux.
const PIPE_CAPACITY: u64 = 65536;

#[test]
fn a_signal_ends_a_module_at_once_with_the_shells_code() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let process = capsule().arg(fixture("command-yes.wat")).start().unwrap();
        process.wait_for_line(Stream::Stdout, "y").unwrap();
        process.signal(signal).unwrap();
        let finished = process.wait(DEADLINE).unwrap();
        assert_eq!((finished.code, finished.stderr().as_str()), (Some(code), ""));
    }
}

#[test]
fn a_signal_ends_a_module_that_waits_for_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    Program::tool("mkfifo", "coreutils").unwrap().arg(&pipe).run().unwrap().success().unwrap();
    // Open for both: it never blocks here, and it is never read.
    let open = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let process = Program::tool("sh", "dash")
        .unwrap()
        .args(["-c", "exec \"$0\" \"$1\" > \"$2\"", env!("CARGO_BIN_EXE_capsule")])
        .arg(fixture("command-yes.wat"))
        .arg(&pipe)
        .start()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while rustix::io::ioctl_fionread(&open).unwrap() < PIPE_CAPACITY {
        assert!(Instant::now() < deadline, "the pipe is never full");
        std::thread::yield_now();
    }
    process.signal(Signal::INT).unwrap();
    let finished = process.wait(DEADLINE).unwrap();
    assert_eq!(finished.code, Some(130), "{finished:?}");
}
