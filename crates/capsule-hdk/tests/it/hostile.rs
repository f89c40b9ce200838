//! Modules whose allocator, start or exit is hostile.

use std::time::Duration;

use capsule_hdk::{Contract, Engine, EngineConfig, Function, Host, HostFunctions, Module};

use crate::support::{DEADLINE, answer_at_last, config, try_function};

/// The time limit of calls that do not end by themselves.
const SHORT: Duration = Duration::from_millis(100);

fn with(malloc: &str, more: &str) -> Function {
    with_limit(malloc, more, DEADLINE)
}

fn with_limit(malloc: &str, more: &str, limit: Duration) -> Function {
    let wat = format!(
        r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) {malloc})
        (func (export "callHandle") (param i32 i32) (result i64)
            (i32.store8 (i32.const 16) (i32.const 83)) (i64.const 0x1000000001))
        {more})"#
    );
    let (mut settings, _) = config(Contract::default());
    settings.limits.call_timeout = Some(limit);
    try_function(&wat, settings).unwrap()
}

#[tokio::test]
async fn nonsense_from_malloc_breaks_the_abi() {
    for (malloc, message) in [
        ("(i32.const 0)", "the module broke the ABI: `malloc` answered 0x0 for 1024 bytes"),
        ("(i32.const 65535)", "the module broke the ABI: `malloc` answered 0xffff for 1024 bytes"),
        ("(i32.const -1)", "the module broke the ABI: `malloc` answered 0xffffffff for 1024 bytes"),
        ("unreachable", "the module trapped: wasm `unreachable` instruction executed"),
        ("(call $exit (i32.const 0)) unreachable", "the module ended itself with exit code 0 in the middle of a call"),
    ] {
        let function = with(malloc, "");
        for _ in 0..2 {
            assert_eq!(function.handle("x").await.unwrap_err().to_string(), message, "{malloc}");
        }
        assert_eq!(function.handle("").await.unwrap(), "", "an empty argument needs no malloc");
    }
}

#[tokio::test]
async fn a_malloc_that_loops_ends_at_the_deadline() {
    let function = with_limit("(loop $l (br $l)) unreachable", "", SHORT);
    for _ in 0..2 {
        let error = function.handle("x").await.unwrap_err().to_string();
        assert!(error.ends_with("the call exceeded its time limit of 100ms (flag `--callTimeout`)"), "{error}");
        assert_eq!(answer_at_last(&function, "").await, "");
    }
}

#[tokio::test]
async fn an_exit_in_start_is_a_return_when_its_code_is_zero() {
    let good = with("(i32.const 64)", r#"(func (export "_start") (call $exit (i32.const 0)))"#);
    assert_eq!(good.handle("x").await.unwrap(), "");
    let bad = with("(i32.const 64)", r#"(func (export "_start") (call $exit (i32.const 7)))"#);
    assert_eq!(
        bad.handle("x").await.unwrap_err().to_string(),
        "the module could not be started: the module ended itself with exit code 7 in the middle of a call"
    );
}

#[tokio::test]
async fn a_start_that_loops_ends_at_the_deadline() {
    let loops = "(loop $l (br $l))";
    let exports = ["_start", "_initialize", "OnStart"].map(|name| format!(r#"(func (export "{name}") {loops})"#));
    for more in exports.into_iter().chain([format!("(func $l {loops}) (start $l)")]) {
        let function = with_limit("(i32.const 64)", &more, SHORT);
        let error = function.handle("x").await.unwrap_err().to_string();
        // Whether the start or its caller notices first is a matter of milliseconds.
        assert!(error.ends_with("the call exceeded its time limit of 100ms (flag `--callTimeout`)"), "{more}: {error}");
    }
}

#[tokio::test]
async fn an_on_stop_that_loops_has_a_second() {
    let function = with("(i32.const 64)", r#"(func (export "OnStop") (loop $l (br $l)))"#);
    function.handle("x").await.unwrap();
    let begin = std::time::Instant::now();
    function.stop(DEADLINE).await;
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn tables_grow_to_the_limit_and_no_further() {
    let mut settings = EngineConfig::default();
    settings.max_instances = 2;
    settings.pooling = false;
    let engine = Engine::new(&settings).unwrap();
    for (elements, grows) in [(1_000_000, true), (1_000_001, false)] {
        let wat = format!(
            r#"(module
            (memory (export "memory") 1) (data (i32.const 16) "S") (table 0 funcref)
            (func (export "malloc") (param i32) (result i32) (i32.const 64))
            (func (export "callHandle") (param i32 i32) (result i64)
                (if (i32.ne (table.grow (ref.null func) (i32.const {elements})) (i32.const 0)) (then unreachable))
                (i64.const 0x1000000001)))"#
        );
        let module = Module::from_bytes(&engine, "guest.wat", wat.as_bytes()).unwrap();
        let host = Host::new(&engine, &HostFunctions::new()).unwrap();
        let function = Function::new(&host, &module, config(Contract::default()).0).unwrap();
        assert_eq!(function.handle("").await.is_ok(), grows, "{elements}");
    }
}
