//! One call after the other: results, failures, traps, and what comes after them.

use std::time::Duration;

use capsule_hdk::{CallError, Contract, Fault, HostFunction, Reply, Stream};

use crate::support::{DEADLINE, TRICKS, WAITS, answer_at_last, config, function_with, tricks, try_function, waiting};

#[tokio::test]
async fn the_argument_comes_back() {
    let function = tricks(Contract::Instances(1));
    assert_eq!(function.handle("echo").await.unwrap(), "echo");
    assert_eq!(function.handle("").await.unwrap(), "");
    let large = format!("e{}", "x".repeat(3 << 20));
    assert_eq!(function.handle(large.clone()).await.unwrap(), large);
    assert_eq!(function.handle("echo").await.unwrap(), "echo");
}

#[tokio::test]
async fn globals_persist_and_on_start_ran_once() {
    let function = tricks(Contract::Instances(1));
    function.start().await.unwrap();
    assert_eq!(function.handle("c").await.unwrap(), "43");
    assert_eq!(function.handle("c").await.unwrap(), "44");
    assert_eq!(function.stats().started, 1);
}

#[tokio::test]
async fn a_failure_keeps_the_instance() {
    let function = tricks(Contract::Instances(1));
    let error = function.handle("f").await.unwrap_err();
    assert_eq!(error.to_string(), "no");
    assert_eq!(error.fault(), Fault::Module);
    assert_eq!(function.handle("c").await.unwrap(), "44");
}

#[tokio::test]
async fn what_breaks_an_instance_is_told_and_the_next_call_finds_a_new_one() {
    for (trick, message) in [
        ("t", "the module trapped: wasm `unreachable` instruction executed in `handle`"),
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
        ("s", "the module trapped: call stack exhausted in `recurse`"),
    ] {
        let function = tricks(Contract::Instances(1));
        assert_eq!(function.handle("c").await.unwrap(), "43", "{trick}");
        let error = function.handle(trick).await.unwrap_err();
        assert_eq!(error.to_string(), message, "{trick}");
        assert_eq!(function.handle("c").await.unwrap(), "43", "after {trick}");
        assert_eq!(function.stats().instances, 1, "after {trick}");
    }
}

#[tokio::test]
async fn a_trap_has_a_backtrace_for_the_log() {
    let error = tricks(Contract::Instances(1)).handle("t").await.unwrap_err();
    let trap = error.trap().expect("a trap");
    assert!(trap.backtrace.contains("handle"), "{}", trap.backtrace);
}

#[tokio::test]
async fn a_call_past_its_deadline_ends_and_the_instance_is_replaced() {
    let (mut settings, _) = config(Contract::Instances(1));
    settings.limits.call_timeout = Some(Duration::from_millis(100));
    let function = try_function(TRICKS, settings).unwrap();
    assert_eq!(answer_at_last(&function, "c").await, "43");
    let error = function.handle("l").await.unwrap_err();
    assert!(matches!(error, CallError::Deadline(limit) if limit == Duration::from_millis(100)), "{error}");
    assert_eq!(error.to_string(), "the call exceeded its time limit of 100ms (flag `--callTimeout`)");
    assert_eq!(answer_at_last(&function, "c").await, "43");
}

#[tokio::test]
async fn memory_ends_at_the_limit_and_the_answer_names_it() {
    let (mut settings, _) = config(Contract::Instances(1));
    settings.limits.memory = 8 << 20;
    let function = try_function(TRICKS, settings).unwrap();
    let error = function.handle("g").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the module trapped: wasm `unreachable` instruction executed in `handle` (it was refused memory at its limit of \
         8388608 bytes, flag `--maxMemory`)"
    );
    assert_eq!(function.handle("echo").await.unwrap(), "echo");
    // The broken instance is dropped on a thread of its own.
    let came_back = async {
        while function.stats().memory != 2 * 65536 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, came_back).await.expect("the memory of the broken instance comes back");
}

#[tokio::test]
async fn arguments_and_results_have_limits_at_the_byte() {
    let (mut settings, _) = config(Contract::Instances(1));
    settings.limits.argument = 10;
    settings.limits.result = 8;
    let function = try_function(TRICKS, settings).unwrap();
    assert_eq!(function.handle("e234567").await.unwrap(), "e234567");
    assert!(matches!(function.handle("e2345678").await, Err(CallError::ResultTooLarge { limit: 8, found: 9 })));
    assert_eq!(function.handle("c234567890").await.unwrap(), "45");
    assert!(matches!(function.handle("c2345678901").await, Err(CallError::ArgumentTooLarge { limit: 10, found: 11 })));
    assert_eq!(function.handle("c").await.unwrap(), "46", "neither harmed the instance");
}

#[tokio::test]
async fn a_missing_export_is_named() {
    let function = tricks(Contract::Instances(1));
    let error = function.handle_http("{}").await.unwrap_err();
    assert_eq!(error.to_string(), "the module has no export `callHandleHTTP`");
    assert_eq!(function.health().await.unwrap_err().to_string(), "the module has no export `OnHealthCheck`");
    assert_eq!(function.handle("c").await.unwrap(), "43");
}

#[tokio::test]
async fn output_comes_in_whole_lines_at_the_end_of_the_call() {
    let (settings, output) = config(Contract::Instances(1));
    let function = try_function(TRICKS, settings).unwrap();
    function.handle("n").await.unwrap();
    assert_eq!(output.text(Stream::Stdout), "ab\nc\n");
}

#[tokio::test]
async fn whole_lines_of_a_call_that_takes_long_come_before_its_end() {
    let (mut functions, permits) = waiting();
    functions.add(HostFunction::new("print", Reply::Nothing, |context, []: [&[u8]; 0]| {
        context.print(Stream::Stderr, &[b"working\nand"]);
        Ok(Vec::new())
    }));
    let prints = WAITS.replacen("(module", r#"(module (import "env" "print" (func $print (result i32)))"#, 1).replacen(
        "(drop (call $wait",
        "(drop (call $print)) (drop (call $wait",
        1,
    );
    let (settings, output) = config(Contract::Instances(1));
    let function = function_with(&prints, settings, &functions).unwrap();
    let call = tokio::spawn({
        let function = function.clone();
        async move { function.handle("").await }
    });
    let shown = async {
        while output.text(Stream::Stderr) != "working\n" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, shown).await.expect("the line comes while the call runs");
    assert!(!call.is_finished());
    permits.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap(), "let go");
    assert_eq!(output.text(Stream::Stderr), "working\nand\n");
}

/// WASI's `random_get` asks the system for all of it, however much that gives at a time.
#[tokio::test]
async fn random_bytes_fill_the_whole_buffer() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 40)
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "callHandle") (param $p i32) (param $n i32) (result i64)
            (if (call $random (i32.const 65536) (i32.load (local.get $p))) (then unreachable))
            (i32.store8 (i32.const 65535) (i32.const 83))
            (i64.or (i64.shl (i64.const 65535) (i64.const 32))
                    (i64.extend_i32_u (i32.add (i32.load (local.get $p)) (i32.const 1))))))"#;
    let function = try_function(wat, config(Contract::Instances(1)).0).unwrap();
    for length in [0, 64 << 10, (64 << 10) + 1, 300_000, 39 << 16] {
        let random = function.handle(u32::to_le_bytes(length).to_vec()).await.unwrap();
        assert_eq!(random.len(), length as usize);
        // Of 256 true random bytes not all are zero.
        for (index, piece) in random.chunks_exact(256).enumerate() {
            assert!(piece.iter().any(|byte| *byte != 0), "bytes {} of {length} are zero", index * 256);
        }
    }
    let error = function.handle(u32::to_le_bytes((39 << 16) + 1).to_vec()).await.unwrap_err();
    assert!(error.trap().is_some(), "{error}");
}

#[tokio::test]
async fn stopped_means_refused() {
    let function = tricks(Contract::Instances(1));
    function.start().await.unwrap();
    assert_eq!(function.stop(DEADLINE).await, 0);
    assert_eq!(function.handle("c").await.unwrap_err().to_string(), "the function is being stopped");
    assert_eq!(function.stats().instances, 0);
}
