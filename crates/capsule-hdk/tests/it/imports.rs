//! Host functions: the convention for bytes, raw ones, waiting ones, and what a guest may not do with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use capsule_hdk::{Contract, HostFunction, HostFunctions, Reply, Value, ValueType};

use crate::support::{config, function_with};

/// A guest that passes its argument to `env.f` and answers what it got, framed by the host function.
fn caller(allocate: &str, start: &str) -> String {
    format!(
        r#"(module
        (import "env" "f" (func $f (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (global $heap (mut i32) (i32.const 4096))
        (func $alloc (export "malloc") (param i32) (result i32)
            (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
        (func (export "allocateBuffer") (param i32) (result i32) {allocate})
        (func (export "_start") {start})
        (func (export "callHandle") (param i32 i32) (result i64)
            (drop (call $f (local.get 0) (local.get 1) (i32.const 0) (i32.const 4)))
            (i64.or (i64.shl (i64.extend_i32_u (i32.load (i32.const 0))) (i64.const 32))
                    (i64.extend_i32_u (i32.load (i32.const 4))))))"#
    )
}

fn reverse() -> HostFunctions {
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::new("f", Reply::Framed, |_, [text]: [&[u8]; 1]| {
        if text == b"no" { Err("refused".into()) } else { Ok(text.iter().rev().copied().collect()) }
    }));
    functions
}

const ALLOCATE: &str = "(call $alloc (local.get 0))";

#[tokio::test]
async fn bytes_go_in_and_come_out_framed() {
    let function = function_with(&caller(ALLOCATE, ""), config(Contract::default()).0, &reverse()).unwrap();
    assert_eq!(function.handle("Bob").await.unwrap(), "boB");
    assert_eq!(function.handle("").await.unwrap(), "");
    assert_eq!(function.handle("no").await.unwrap_err().to_string(), "refused");
}

#[tokio::test]
async fn host_functions_work_while_start_runs() {
    let start = "(drop (call $f (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))";
    let function = function_with(&caller(ALLOCATE, start), config(Contract::default()).0, &reverse()).unwrap();
    function.start().await.unwrap();
    assert_eq!(function.handle("Bob").await.unwrap(), "boB");
}

#[tokio::test]
async fn a_waiting_function_waits_without_a_thread() {
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::waiting("f", Reply::Framed, |_, [text]: [Vec<u8>; 1]| async move {
        tokio::task::yield_now().await;
        Ok(text)
    }));
    let function = function_with(&caller(ALLOCATE, ""), config(Contract::default()).0, &functions).unwrap();
    assert_eq!(function.handle("Bob").await.unwrap(), "Bob");
}

#[tokio::test]
async fn a_call_that_waits_in_a_host_function_ends_at_its_deadline() {
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::waiting("f", Reply::Framed, |_, [_]: [Vec<u8>; 1]| std::future::pending()));
    let (mut settings, _) = config(Contract::default());
    settings.limits.call_timeout = Some(std::time::Duration::from_millis(50));
    let function = function_with(&caller(ALLOCATE, ""), settings, &functions).unwrap();
    let error = function.handle("Bob").await.unwrap_err().to_string();
    // On a slow machine it is the start that exceeds it.
    assert!(error.ends_with("the call exceeded its time limit of 50ms (flag `--callTimeout`)"), "{error}");
}

#[tokio::test]
async fn inputs_past_the_limit_are_a_trap_before_the_host_sees_them() {
    let seen = Arc::new(AtomicUsize::new(0));
    for reply in [Reply::Framed, Reply::Nothing] {
        let (mut settings, output) = config(Contract::default());
        settings.limits.host_memory = 1 << 20;
        let mut functions = HostFunctions::new();
        let longest = Arc::clone(&seen);
        functions.add(HostFunction::new("f", reply, move |context, [text]: [&[u8]; 1]| {
            longest.fetch_max(text.len(), Ordering::SeqCst);
            context.print(capsule_hdk::Stream::Stdout, &[text]);
            Ok(Vec::new())
        }));
        // A function without an answer has no cells.
        let text = caller(ALLOCATE, "");
        let text = if reply == Reply::Nothing {
            text.replace("(param i32 i32 i32 i32) (result i32)))", "(param i32 i32) (result i32)))")
                .replace("(local.get 1) (i32.const 0) (i32.const 4))", "(local.get 1))")
                .replace(
                    "(i64.or",
                    "(i32.store8 (i32.const 16) (i32.const 83)) (i64.const 0x1000000001) (return) (i64.or",
                )
                .replacen("(memory (export \"memory\") 1)", "(memory (export \"memory\") 40)", 1)
        } else {
            text.replacen("(memory (export \"memory\") 1)", "(memory (export \"memory\") 40)", 1)
        };
        let function = function_with(&text, settings, &functions).unwrap();
        let _ = function.handle(vec![b'x'; 1 << 20]).await.unwrap();
        let error = function.handle(vec![b'x'; (1 << 20) + 1]).await.unwrap_err().to_string();
        let expected = "the module trapped: host function `f`: the inputs exceed the limit of 1048576 bytes (flag \
                        `--maxHostMemory`)";
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(seen.load(Ordering::SeqCst), 1 << 20);
        assert_eq!(output.text(capsule_hdk::Stream::Stdout).trim_end().len(), 1 << 20);
    }
}

#[tokio::test]
async fn nonsense_from_allocate_buffer_is_a_trap_of_that_call() {
    for (allocate, message) in [
        ("(i32.const 0)", "`allocateBuffer` answered 0 for 4 bytes"),
        (
            "(i32.const -1)",
            "`allocateBuffer` answered a wrong buffer: address 0xffffffff with length 4 is outside of the memory of 65536 bytes",
        ),
        (
            "(drop (call $f (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 4))) (i32.const 64)",
            "calls within calls are more than 4 deep",
        ),
    ] {
        let function = function_with(&caller(allocate, ""), config(Contract::default()).0, &reverse()).unwrap();
        for _ in 0..3 {
            let error = function.handle("Bob").await.unwrap_err();
            let expected = format!("the module trapped: host function `f`: {message}");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
}

#[tokio::test]
async fn wild_pointers_are_a_trap_of_that_call() {
    let wat = r#"(module
        (import "env" "f" (func $f (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "allocateBuffer") (param i32) (result i32) (i32.const 64))
        (func (export "callHandle") (param i32 i32) (result i64)
            (drop (call $f (i32.const -8) (i32.const 100) (i32.const 0) (i32.const 4)))
            (i64.const 0))
        (func (export "callHandleJSON") (param i32 i32) (result i64)
            (drop (call $f (i32.const 0) (i32.const 3) (i32.const -2) (i32.const 4)))
            (i64.const 0))
        (func (export "callHandleHTTP") (param i32 i32) (result i64)
            (drop (call $f (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 4)))
            (i64.const 0x4000000001)))"#;
    let function = function_with(wat, config(Contract::default()).0, &reverse()).unwrap();
    let outside = "is outside of the memory of 65536 bytes";
    let error = function.handle("x").await.unwrap_err().to_string();
    assert!(error.contains("address 0xfffffff8 with length 100") && error.contains(outside), "{error}");
    let error = function.handle_json("x").await.unwrap_err().to_string();
    assert!(error.contains("address 0xfffffffe with length 4") && error.contains(outside), "{error}");
    // An empty input may point anywhere.
    assert_eq!(function.handle_http("x").await.unwrap(), "");
}

#[tokio::test]
async fn a_raw_function_sees_numbers_and_memory() {
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::raw(
        "hostPrintHello",
        &[ValueType::I64],
        &[ValueType::I32],
        |context, memory, arguments| {
            let [Value::I64(packed)] = arguments else { return Err("wrong arguments".into()) };
            let name = memory.read((packed >> 32) as u32, *packed as u32)?;
            context.print(capsule_hdk::Stream::Stdout, &[b"Hello ", name, b"\n"]);
            Ok(vec![Value::I32(0)])
        },
    ));
    let wat = r#"(module
        (import "env" "hostPrintHello" (func $hello (param i64) (result i32)))
        (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "callHandle") (param i32 i32) (result i64)
            (drop (call $hello (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))
            (i32.store8 (i32.const 16) (i32.const 83))
            (i64.const 0x1000000001)))"#;
    let (settings, output) = config(Contract::default());
    let function = function_with(wat, settings, &functions).unwrap();
    function.handle("Bob").await.unwrap();
    assert_eq!(output.text(capsule_hdk::Stream::Stdout), "Hello Bob\n");
}

#[tokio::test]
async fn a_host_function_without_result_is_the_abi_of_2022() {
    let wat = r#"(module
        (import "env" "f" (func (param i32 i32 i32 i32)))
        (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "callHandle") (param i32 i32) (result i64) (i64.const 0)))"#;
    let error = function_with(wat, config(Contract::default()).0, &reverse()).err().expect("refused");
    assert_eq!(
        error.to_string(),
        "module `guest.wat` was made for Capsule of 2022 (import `f` has no result), another ABI"
    );
}
