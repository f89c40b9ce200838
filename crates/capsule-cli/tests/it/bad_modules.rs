//! Modules that cannot be run: one line that says what is wrong, exit 1, nothing on stdout.

use std::path::Path;

use crate::support::{capsule, check_error, fixture, hints};
use capsule_test::process::Finished;

/// Runs these bytes as the module `bad.wasm`.
fn run(bytes: &[u8]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.wasm"), bytes).unwrap();
    capsule().arg("bad.wasm").current_dir(folder.path()).run().unwrap()
}

/// Runs this text, compiled where the text format can say it, as the module `bad.wasm`.
fn run_text(text: &str) -> Finished {
    run(&wat::parse_str(text).unwrap())
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let run = |path: &str| capsule().arg(path).current_dir(folder.path()).run().unwrap();
    check_error(&run("no.wasm"), 1, "cannot read module `no.wasm`: No such file or directory (os error 2)");
    assert_eq!(hints(&run("no.wasm")).len(), 1);
    check_error(&run("."), 1, "cannot read module `.`: Is a directory (os error 21)");
    // Also the superuser, for whom every file is readable, cannot read one below a file.
    check_error(&run("/dev/null/a.wasm"), 1, "cannot read module `/dev/null/a.wasm`: Not a directory (os error 20)");
}

#[test]
fn not_wasm() {
    check_error(&run(b""), 1, "`bad.wasm` is not a WebAssembly module: it is empty");
    check_error(
        &run(b"#!/bin/sh\necho hi\n"),
        1,
        "`bad.wasm` is not a WebAssembly module: it starts with `#!/bin/sh\\necho h`",
    );
    check_error(&run(b"\0asm"), 1, "`bad.wasm` is not a WebAssembly module: it is truncated after 4 bytes");
    check_error(
        &run(b"\0asm\x09\0\0\0"),
        1,
        "`bad.wasm` is not a WebAssembly module: its version bytes are [9, 0, 0, 0], expected [1, 0, 0, 0]",
    );
    let finished = run(b"(module (func (export \"callHandle\") nonsense))");
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr().starts_with("error: module `bad.wasm` is not valid WebAssembly text: "), "{finished:?}");
}

#[test]
fn truncated_anywhere() {
    let whole = wat::parse_file(fixture("tricks.wat")).unwrap();
    for length in [9, 20, 100, whole.len() / 2, whole.len() - 1] {
        let finished = run(&whole[..length]);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{length}: {finished:?}");
        let stderr = finished.stderr();
        let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{length}: {finished:?}");
        assert!(errors[0].contains("`bad.wasm`"), "{length}: {finished:?}");
        assert_eq!(hints(&finished).len(), 1, "{length}: {finished:?}");
    }
}

#[test]
fn a_component() {
    let finished = run_text("(component)");
    check_error(&finished, 1, "`bad.wasm` is a WebAssembly component; Capsule runs core modules");
    assert_eq!(hints(&finished), ["compile for `wasm32-wasip1` instead of `wasm32-wasip2`"]);
}

#[test]
fn missing_exports_are_told_together() {
    let finished = run_text("(module)");
    check_error(
        &finished,
        1,
        "module `bad.wasm` does not fit: export `memory` is missing; none of the exports `callHandle`, `callHandleJSON`, \
         `callHandleHTTP`, `callHandleRequest`, `callHandleMessage` is there",
    );
    let text = "(module (func (export \"callHandle\") (param i32 i32) (result i64) (i64.const 0)))";
    check_error(
        &run_text(text),
        1,
        "module `bad.wasm` does not fit: export `memory` is missing; neither `malloc` nor `allocateBuffer` is exported, one is \
         needed to pass an argument",
    );
}

/// A sound module with this handler.
fn with_handler(name: &str) -> String {
    let parameters = if name == "callHandleRequest" { "i32 i32 i32 i32" } else { "i32 i32" };
    format!(
        "(module (memory (export \"memory\") 1) (func (export \"malloc\") (param i32) (result i32) (i32.const 1024))
           (func (export \"{name}\") (param {parameters}) (result i64) (i64.const 0)))"
    )
}

#[test]
fn a_module_for_another_runner() {
    for (handler, advice) in [
        ("callHandleHTTP", "it exports `callHandleHTTP`: serve it with `capsule-http`"),
        ("callHandleRequest", "it exports `callHandleRequest`: serve it with `capsule-http`"),
        ("callHandleJSON", "it exports `callHandleJSON`, which only programs made with the host SDK call"),
        ("callHandleMessage", "it exports `callHandleMessage`: a runner for messages is the one for it"),
    ] {
        let finished = run_text(&with_handler(handler));
        check_error(&finished, 1, "module `bad.wasm` has no export `callHandle`");
        assert_eq!(hints(&finished), [advice]);
    }
}

#[test]
fn unknown_imports_and_wrong_signatures() {
    let text = r#"(module
        (import "env" "hostTeleport" (func (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32) (result i32)))
        (import "env" "hostPrintString" (global i32))
        (memory (export "memory") 1)
        (func (export "malloc") (param i64) (result i32) (i32.const 0))
        (func (export "callHandle") (param i32) (result i64) (i64.const 0)))"#;
    check_error(
        &run_text(text),
        1,
        "module `bad.wasm` does not fit: export `malloc` has the signature (i64) -> i32, expected (i32) -> i32; export \
         `callHandle` has the signature (i32) -> i64, expected (i32, i32) -> i64; import `env.hostTeleport` is unknown; import \
         `wasi_snapshot_preview1.fd_write` has the signature (i32) -> i32, expected (i32, i32, i32, i32) -> i32; import \
         `env.hostPrintString` is not a function",
    );
    let command = r#"(module (import "env" "hostTeleport" (func)) (func (export "_start")))"#;
    check_error(&run_text(command), 1, "module `bad.wasm` does not fit: import `env.hostTeleport` is unknown");
}

#[test]
fn modules_of_2022() {
    let path = fixture("old-abi.wat");
    let finished = capsule().arg(&path).run().unwrap();
    let error =
        format!("module `{}` was made for Capsule of 2022 (export `callHandleHttp`), another ABI", path.display());
    check_error(&finished, 1, &error);
    assert_eq!(hints(&finished), ["build it with a module SDK of v0.0.6 or later"]);
}

#[test]
fn refused_proposals() {
    for (memory, proposal) in [
        ("(memory (export \"memory\") i64 1)", "64-bit memories"),
        ("(memory (export \"memory\") 1 2 shared)", "threads"),
        ("(memory (export \"memory\") 1) (memory 1)", "multiple memories"),
        ("(memory (export \"memory\") 1) (tag)", "exceptions"),
        ("(memory (export \"memory\") 1) (type (struct))", "garbage collection"),
    ] {
        let text = with_handler("callHandle").replace("(memory (export \"memory\") 1)", memory);
        let finished = run_text(&text);
        assert_eq!((finished.code, finished.stdout().as_str()), (Some(1), ""), "{finished:?}");
        let start = format!("error: module `bad.wasm` needs {proposal} of WebAssembly, which Capsule refuses: ");
        assert!(finished.stderr().starts_with(&start), "{proposal}: {finished:?}");
        assert_eq!(hints(&finished).len(), 1, "{finished:?}");
    }
}

#[test]
fn a_text_module_runs() {
    assert_eq!(Path::new(&fixture("tricks.wat")).extension().unwrap(), "wat");
    let finished = capsule().arg(fixture("tricks.wat")).arg("e").run().unwrap();
    assert_eq!(finished.success().unwrap().stdout(), "e\n");
}
