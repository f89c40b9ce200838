//! Calls of `callHandle`: arguments, results, failures, traps, limits, the module's life.

use crate::support::{capsule, check, check_error, fixture, hints};
use capsule_test::process::Finished;

fn tricks(words: &[&str]) -> Finished {
    capsule().arg(fixture("tricks.wat")).args(words).run().unwrap()
}

#[test]
fn the_result_and_a_newline() {
    check(&tricks(&["echo 👋"]), 0, "echo 👋\n", "");
    check(&tricks(&["-params", "e-5"]), 0, "e-5\n", "");
}

#[test]
fn empty_arguments_and_results() {
    for words in [&[][..], &[""], &["--params="], &["--params", ""]] {
        check(&tricks(words), 0, "\n", "");
    }
    check(&tricks(&["b"]), 0, "\n", "");
}

#[test]
fn an_argument_from_stdin_has_any_bytes() {
    let argument = b"e\xff\xfe\0binary\n";
    for words in [["--params=-"], ["-"]] {
        let finished = capsule().arg(fixture("tricks.wat")).args(words).stdin(argument).run().unwrap();
        assert_eq!((finished.code, &finished.stdout[..]), (Some(0), &b"e\xff\xfe\0binary\n\n"[..]), "{finished:?}");
    }
    // As large as may be, and one byte more.
    let run = |size: usize| {
        let words = ["--params=-", "--maxBody=1MiB"];
        capsule().arg(fixture("tricks.wat")).args(words).stdin(vec![b'e'; size]).run().unwrap()
    };
    assert_eq!(run(1 << 20).success().unwrap().stdout.len(), (1 << 20) + 1);
    check_error(
        &run((1 << 20) + 1),
        1,
        "the argument on standard input exceeds the limit of 1048576 bytes (flag `--maxBody`)",
    );
}

#[test]
fn an_argument_past_its_limit_is_refused() {
    check(&tricks(&["e123456789", "--maxBody=10"]), 0, "e123456789\n", "");
    check_error(
        &tricks(&["e1234567890", "--maxBody=10"]),
        1,
        "the argument has 11 bytes, the limit is 10 (flag `--maxBody`)",
    );
}

#[test]
fn a_result_past_its_limit_is_refused() {
    // The frame byte counts.
    check(&tricks(&["e12345678", "--maxResult=10"]), 0, "e12345678\n", "");
    check_error(
        &tricks(&["e123456789", "--maxResult=10"]),
        1,
        "the module's result has 11 bytes, the limit is 10 (flag `--maxResult`)",
    );
}

#[test]
fn a_failure_is_printed_like_a_result_and_exits_with_1() {
    check(&tricks(&["f"]), 1, "no\n", "");
}

#[test]
fn a_trap_is_one_line_and_the_backtrace_goes_to_the_log() {
    let finished = tricks(&["t"]);
    check_error(&finished, 1, "the module trapped: wasm `unreachable` instruction executed in `handle`");
    assert_eq!(hints(&finished), ["`--logLevel=debug` shows where"]);
    let finished = tricks(&["t", "--logLevel=debug"]);
    assert!(finished.stderr().contains(" - handle\n"), "{finished:?}");
    check_error(&tricks(&["s"]), 1, "the module trapped: call stack exhausted in `recurse`");
}

#[test]
fn a_broken_abi_is_named() {
    for (argument, error) in [
        ("x", "the module ended itself with exit code 3 in the middle of a call"),
        (
            "p",
            "the module broke the ABI: the result starts with byte 0x58, expected a frame that starts with `S` or `F`",
        ),
        (
            "o",
            "the module broke the ABI: its result at 0xfffffff0 with length 1000 is outside of its memory of 131072 bytes",
        ),
        ("z", "the module broke the ABI: the result is empty, expected a frame that starts with `S` or `F`"),
    ] {
        check_error(&tricks(&[argument]), 1, error);
    }
}

#[test]
fn a_call_past_its_time_ends() {
    let error = "the call exceeded its time limit of 2s (flag `--callTimeout`)";
    check_error(&tricks(&["l", "--callTimeout=2s"]), 1, error);
}

#[test]
fn memory_past_its_limit_is_refused() {
    let error = "the module trapped: wasm `unreachable` instruction executed in `handle` (it was refused memory at its limit of \
                 1048576 bytes, flag `--maxMemory`)";
    check_error(&tricks(&["g", "--maxMemory=1MiB"]), 1, error);
    let path = fixture("tricks.wat");
    let error = format!("module `{}` needs 131072 bytes of memory, the limit is 65536", path.display());
    check_error(&tricks(&["e", "--maxMemory=64KiB"]), 1, &error);
}

#[test]
fn the_hooks_run_around_the_call() {
    let run = |argument: &str| capsule().arg(fixture("lifecycle.wat")).arg(argument).run().unwrap();
    check(&run(""), 0, "OnStart\ncall\nOnStop\ndone\n", "");
    check(&run("f"), 1, "OnStart\ncall\nOnStop\nno\n", "");
    // A module that trapped is not called again.
    let trapped = run("t");
    assert_eq!((trapped.code, trapped.stdout().as_str()), (Some(1), "OnStart\ncall\n"), "{trapped:?}");
    assert!(trapped.stderr().starts_with("error: the module trapped: "), "{trapped:?}");
}

#[test]
fn what_goes_wrong_in_on_stop_does_not_cost_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("lifecycle.wat")).unwrap();
    let hook = "(func (export \"OnStop\")";
    for (body, warning) in [
        ("(unreachable)", "OnStop: the module trapped: wasm `unreachable` instruction executed"),
        ("(loop $forever (br $forever))", "OnStop exceeded its limit of 1s"),
    ] {
        let module = folder.path().join("stop.wat");
        std::fs::write(&module, text.replace(hook, &format!("{hook} {body}"))).unwrap();
        let finished = capsule().arg(&module).run().unwrap();
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(0), "OnStart\ncall\ndone\n"), "{finished:?}");
        assert!(finished.stderr().contains(warning), "{finished:?}");
    }
}

#[test]
fn a_start_that_does_not_end_counts_as_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixture("lifecycle.wat")).unwrap();
    let module = folder.path().join("start.wat");
    let hook = "(func (export \"OnStart\")";
    std::fs::write(&module, text.replace(hook, &format!("{hook} (loop $forever (br $forever))"))).unwrap();
    let finished = capsule().arg(&module).arg("--callTimeout=100ms").run().unwrap();
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr().contains("exceeded its time limit of 100ms (flag `--callTimeout`)"), "{finished:?}");
}

#[test]
fn output_passes_through_unchanged() {
    // Three writes without a newline at the end, then the result.
    check(&tricks(&["n"]), 0, "ab\nc\n", "");
}

#[test]
fn compiled_modules_are_kept_and_damage_is_healed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let run =
        || capsule().arg(fixture("tricks.wat")).arg("e").arg(format!("--cacheDir={}", cache.display())).run().unwrap();
    let images = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    check(&run(), 0, "e\n", "");
    let first = images();
    assert_eq!(first.len(), 1);
    check(&run(), 0, "e\n", "");
    assert_eq!(images(), first);
    std::fs::write(&first[0], b"not machine code").unwrap();
    let healed = run();
    assert_eq!((healed.code, healed.stdout().as_str()), (Some(0), "e\n"), "{healed:?}");
    assert!(healed.stderr().contains("is discarded"), "{healed:?}");
    check(&run(), 0, "e\n", "");
}

#[test]
fn a_home_that_cannot_be_written_costs_only_the_cache() {
    let run = |program: capsule_test::program::Program| program.arg(fixture("tricks.wat")).arg("e").run().unwrap();
    let finished = run(capsule().env("XDG_CACHE_HOME", "/dev/null/no"));
    assert_eq!((finished.code, finished.stdout().as_str()), (Some(0), "e\n"), "{finished:?}");
    assert!(finished.stderr().contains("compiled modules are not kept"), "{finished:?}");
    // One that was asked for is another matter.
    assert_eq!(run(capsule().arg("--cacheDir=/dev/null/no")).code, Some(1));
    check(&run(capsule().arg("--cacheDir=none")), 0, "e\n", "");
}

/// Less than the 4 GiB that a memory is given otherwise.
#[cfg(target_os = "linux")]
#[test]
fn it_runs_where_address_space_is_short() {
    let run = |words: &[&str]| {
        let shell = capsule_test::program::Program::tool("sh", "dash").unwrap();
        let script = "ulimit -v 4000000; exec \"$0\" \"$@\"";
        let program = shell.args(["-c", script, env!("CARGO_BIN_EXE_capsule")]).arg(fixture("tricks.wat"));
        program.arg("--cacheDir=none").args(words).run().unwrap()
    };
    check(&run(&["echo"]), 0, "echo\n", "");
    let large = "e".repeat(100_000);
    check(&run(&[&large]), 0, &format!("{large}\n"), "");
    let error = "the module trapped: wasm `unreachable` instruction executed in `handle` (it was refused memory at its limit of \
                 268435456 bytes, flag `--maxMemory`)";
    check_error(&run(&["g"]), 1, error);
}
