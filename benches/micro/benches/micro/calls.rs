//! Calls of functions through the host SDK, and their instances.

use capsule_hdk::{Call, Contract, Function};
use capsule_test::guests;
use criterion::{BenchmarkId, Criterion};

use super::documents::{REQUEST, request_head};
use super::functions::Stage;

/// Prints as many lines of 20 bytes as its argument has bytes, and answers nothing.
const PRINTER: &str = r#"(module
  (import "env" "hostPrintString" (func $print (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "S")
  (data (i32.const 32) "a line of 20 bytes..")
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "free") (param i32))
  (func (export "callHandle") (param $at i32) (param $left i32) (result i64)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (drop (call $print (i32.const 32) (i32.const 20)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (i64.const 0x0000001000000001)))"#;

/// The constant function by both of its handlers.
pub(super) fn calls(criterion: &mut Criterion) {
    let stage = Stage::new();
    let constant = stage.of_file(&guests::function("constant/constant.wasm").unwrap(), Contract::Instances(1));
    let mut group = criterion.benchmark_group("call");
    let call = Call::request(request_head(&REQUEST), REQUEST.body);
    group.bench_function("constant, callHandleRequest", |bench| {
        bench.iter_custom(|count| {
            let call = call.clone();
            stage.time(&constant, count, move |function: Function| {
                let call = call.clone();
                async move { function.exchange(call).await }
            })
        });
    });
    group.bench_function("constant, callHandleHTTP", |bench| {
        bench.iter_custom(|count| {
            stage.time(&constant, count, |function: Function| async move { function.handle_http(DOCUMENT).await })
        });
    });
    group.finish();
}

/// The constant function does not look at it.
const DOCUMENT: &[u8] = br#"{"Body":"","Method":"GET"}"#;

/// What lines cost: the calls with none, with one, and with a hundred.
pub(super) fn prints(criterion: &mut Criterion) {
    let stage = Stage::new();
    let printer = stage.of_text(PRINTER, Contract::Instances(1));
    let mut group = criterion.benchmark_group("print");
    for lines in [0, 1, 100] {
        let argument = "x".repeat(lines);
        group.bench_function(BenchmarkId::new("lines", lines), |bench| {
            bench.iter_custom(|count| {
                let argument = argument.clone();
                stage.time(&printer, count, move |function: Function| {
                    let argument = argument.clone();
                    async move { function.handle(argument).await }
                })
            });
        });
    }
    group.finish();
}

/// An instance of the same function in two languages, made and thrown away.
pub(super) fn instances(criterion: &mut Criterion) {
    let stage = Stage::new();
    let modules = [
        ("constant, Rust", guests::function("constant/constant.wasm").unwrap()),
        ("hey, Rust", guests::function("hey/hey.wasm").unwrap()),
        ("hey, Go", guests::function_in_go("hey").unwrap()),
    ];
    let mut group = criterion.benchmark_group("instance");
    for (name, module) in modules {
        let function = stage.of_file(&module, Contract::Fresh);
        group.bench_function(name, |bench| {
            bench.iter_custom(|count| {
                stage.time(&function, count, |function: Function| async move { function.start().await })
            });
        });
    }
    group.finish();
}
