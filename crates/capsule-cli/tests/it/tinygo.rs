//! Modules as the reference's SDK and TinyGo make them.

use crate::support::{capsule, check, check_error, fixture, hints};

#[test]
fn a_setting_that_start_reads() {
    let run = |greeting: &[&str]| capsule().args(greeting).arg(fixture("tinygo.wat")).arg("Bob").run().unwrap();
    check(&run(&["--env=GREETING=hello"]), 0, "tinygo: started\nhello Bob\n", "");
    // Unset or empty: no buffer of 0 bytes is asked for, that would trap.
    check(&run(&[]), 0, "tinygo: started\n Bob\n", "");
    check(&run(&["--env=GREETING="]), 0, "tinygo: started\n Bob\n", "");
}

#[test]
fn empty_and_large_arguments() {
    let run = |argument: Vec<u8>| capsule().arg(fixture("tinygo.wat")).arg("-").stdin(argument).run().unwrap();
    check(&run(Vec::new()), 0, "tinygo: started\n \n", "");
    let large = "👋".repeat(500_000);
    check(&run(large.clone().into_bytes()), 0, &format!("tinygo: started\n {large}\n"), "");
}

#[test]
fn a_handler_that_was_not_set_traps_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("tinygo.wat")).unwrap();
    // The text handler is exported and not set, as in a module for HTTP.
    let text = text.replace("(export \"callHandle\")", "").replace(
        "(func (export \"callHandleJSON\")",
        "(func (export \"callHandle\") (param i32 i32) (result i64) (unreachable))\n  (func (export \"callHandleJSON\")",
    );
    let module = folder.path().join("http.wat");
    std::fs::write(&module, text).unwrap();
    let finished = capsule().arg(&module).arg("Bob").run().unwrap();
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr().starts_with("error: the module trapped: wasm `unreachable` instruction executed"),
        "{finished:?}"
    );
    let advice = "the module exports `callHandleHTTP` too: when its text handler is not set, `capsule-http` is the runner for it";
    assert_eq!(hints(&finished), [advice]);
}

#[test]
fn host_calls_while_start_runs() {
    check(&capsule().arg(fixture("start.wat")).run().unwrap(), 0, "in _start\nvalue of _start\n", "");
}

#[test]
fn an_exit_in_start_with_another_code_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("start.wat")).unwrap();
    let module = folder.path().join("exit.wat");
    std::fs::write(&module, text.replace("(call $proc_exit (i32.const 0))", "(call $proc_exit (i32.const 4))"))
        .unwrap();
    let finished = capsule().arg(&module).run().unwrap();
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), "in _start\n"), "{finished:?}");
    let error =
        "error: the module could not be started: the module ended itself with exit code 4 in the middle of a call\n";
    assert_eq!(finished.stderr(), error);
    let silent = folder.path().join("silent.wat");
    std::fs::write(&silent, text.replace("(drop (call $print (i32.const 16) (i32.const 9)))", "(unreachable)"))
        .unwrap();
    let error = "the module could not be started: the module trapped: wasm `unreachable` instruction executed";
    check_error(&capsule().arg(&silent).run().unwrap(), 1, error);
}
