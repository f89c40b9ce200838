//! What ends the program from outside.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
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

/// What a function prints is there at once, also when its call goes on and the output is a pipe.
#[test]
fn a_line_is_shown_while_the_call_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("works.wat");
    let text = r#"(module (import "env" "hostPrintString" (func $print (param i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 16) "working")
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "callHandle") (param i32 i32) (result i64)
          (drop (call $print (i32.const 16) (i32.const 7))) (loop $for_ever (br $for_ever)) (i64.const 0)))"#;
    std::fs::write(&module, text).unwrap();
    let process = capsule().arg(&module).start().unwrap();
    process.wait_for_line(Stream::Stdout, "working").unwrap();
    process.signal(Signal::INT).unwrap();
    assert_eq!(process.wait(DEADLINE).unwrap().code, Some(130));
}

#[test]
fn a_signal_ends_a_module_that_waits_for_a_reader() {
    let (_folder, path, pipe) = pipe();
    let process = Program::tool("sh", "dash")
        .unwrap()
        .args(["-c", "exec \"$0\" \"$1\" > \"$2\"", env!("CARGO_BIN_EXE_capsule")])
        .arg(fixture("command-yes.wat"))
        .arg(&path)
        .start()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while rustix::io::ioctl_fionread(&pipe).unwrap() < PIPE_CAPACITY {
        assert!(Instant::now() < deadline, "the pipe is never full");
        std::thread::yield_now();
    }
    process.signal(Signal::INT).unwrap();
    let finished = process.wait(DEADLINE).unwrap();
    assert_eq!(finished.code, Some(130), "{finished:?}");
}

#[test]
fn a_signal_ends_a_module_that_waits_for_input() {
    let (_folder, path, mut pipe) = pipe();
    let process = Program::tool("sh", "dash")
        .unwrap()
        .args(["-c", "exec \"$0\" \"$1\" < \"$2\"", env!("CARGO_BIN_EXE_capsule")])
        .arg(fixture("command-cat.wat"))
        .arg(&path)
        .start()
        .unwrap();
    // Its answer shows that it reads; then nothing more comes.
    pipe.write_all(b"first line\n").unwrap();
    process.wait_for_line(Stream::Stdout, "first line").unwrap();
    process.signal(Signal::INT).unwrap();
    let finished = process.wait(DEADLINE).unwrap();
    assert_eq!((finished.code, finished.stderr().as_str()), (Some(130), ""), "{finished:?}");
}

/// A named pipe, open for both: it never blocks here, and never ends.
fn pipe() -> (tempfile::TempDir, PathBuf, File) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    Program::tool("mkfifo", "coreutils").unwrap().arg(&path).run().unwrap().success().unwrap();
    let pipe = File::options().read(true).write(true).open(&path).unwrap();
    (folder, path, pipe)
}
