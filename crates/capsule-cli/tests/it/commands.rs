//! Plain WASI commands: arguments, stdin, exit codes, output.

use crate::support::{capsule, check, check_error, fixture};
use capsule_test::process::Finished;
use capsule_test::program::Program;

#[test]
fn arguments_are_the_words_after_the_module_and_after_the_dashes() {
    let path = fixture("command-args.wat");
    let name = path.display();
    let run = |words: &[&str]| capsule().arg(&path).args(words).run().unwrap();
    check(&run(&[]), 0, &format!("{name}\n"), "");
    check(&run(&["--", "--flag", "-", ""]), 0, &format!("{name}\n--flag\n-\n\n"), "");
    check(
        &run(&["one", "--maxMemory=1MiB", "two words", "--", "--wasm=x"]),
        0,
        &format!("{name}\none\ntwo words\n--wasm=x\n"),
        "",
    );
    let error = format!("`{name}` is a plain WASI command, `--params` is for modules with a handler");
    check_error(&run(&["--params=x"]), 2, &error);
}

#[test]
fn stdin_passes_through() {
    let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    let finished = capsule().arg(fixture("command-cat.wat")).stdin(bytes.clone()).run().unwrap().success().unwrap();
    assert!(finished.stdout == bytes, "{} bytes came back of {}", finished.stdout.len(), bytes.len());
    check(&capsule().arg(fixture("command-cat.wat")).run().unwrap(), 0, "", "");
}

/// `capsule` with these words, and a standard input that stays open and says nothing.
fn with_a_silent_stdin(words: &[&str]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    // Whoever opens a pipe for both is its writer too.
    let script = "mkfifo silent && exec \"$0\" \"$@\" 0<> silent";
    Program::tool("bash", "bash")
        .unwrap()
        .args(["-c", script, env!("CARGO_BIN_EXE_capsule")])
        .args(words)
        .current_dir(folder.path())
        .run()
        .unwrap()
}

#[test]
fn a_silent_stdin_keeps_nobody() {
    let (wait, cat) = (fixture("command-wait.wat"), fixture("command-cat.wat"));
    let (wait, cat) = (wait.to_str().unwrap(), cat.to_str().unwrap());
    // Its module has ended while the process is still within a read.
    check(&with_a_silent_stdin(&[wait]), 1, "", "");
    let error = "the call exceeded its time limit of 100ms (flag `--callTimeout`)";
    check_error(&with_a_silent_stdin(&[cat, "--callTimeout=100ms"]), 1, error);
    check_error(&with_a_silent_stdin(&[wait, "an hour", "--callTimeout=100ms"]), 1, error);
}

#[test]
fn something_to_read_ends_a_wait() {
    for stdin in ["typed", ""] {
        check(&capsule().arg(fixture("command-wait.wat")).arg("an hour").stdin(stdin).run().unwrap(), 2, "", "");
    }
}

#[test]
fn exit_codes() {
    let run = |words: &[&str]| capsule().arg(fixture("command-exit.wat")).args(words).run().unwrap();
    check(&run(&[]), 0, "", "");
    for code in [0, 1, 3, 125] {
        check(&run(&[&code.to_string()]), code, "", "");
    }
    for code in ["126", "200", "4294967295"] {
        check_error(
            &run(&[code]),
            1,
            "the module asked for an exit code above 125: those belong to shells, 1 takes its place",
        );
    }
}

#[test]
fn a_command_past_its_time_ends() {
    let finished = capsule().arg(fixture("command-yes.wat")).arg("--callTimeout=100ms").run().unwrap();
    let expected = "error: the call exceeded its time limit of 100ms (flag `--callTimeout`)\n";
    assert_eq!((finished.code, finished.stderr().as_str()), (Some(1), expected), "{finished:?}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let script = "set -o pipefail; \"$0\" \"$1\" | head -n 2; echo \"${PIPESTATUS[0]}\"";
    let finished = Program::tool("bash", "bash")
        .unwrap()
        .args(["-c", script, env!("CARGO_BIN_EXE_capsule")])
        .arg(fixture("command-yes.wat"))
        .run()
        .unwrap();
    check(&finished, 0, "y\ny\n0\n", "");
}

#[test]
fn a_full_disk_is_an_error() {
    let finished = Program::tool("sh", "dash")
        .unwrap()
        .args(["-c", "exec \"$0\" \"$1\" > /dev/full", env!("CARGO_BIN_EXE_capsule")])
        .arg(fixture("command-yes.wat"))
        .run()
        .unwrap();
    check(
        &finished,
        1,
        "",
        "error: cannot write to standard output\n  caused by: No space left on device (os error 28)\n",
    );
}
