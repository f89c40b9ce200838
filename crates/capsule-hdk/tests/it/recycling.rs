//! Instances that are replaced after as many calls as they may serve: in good order, and without a call noticing.

use std::sync::Arc;

use capsule_hdk::{Contract, Function, HostFunction, HostFunctions, MemoryOutput, Reply, Stream};
use futures_util::future::join_all;

use crate::support::{DEADLINE, TRICKS, config, function_with};

const LIFECYCLE: &str = include_str!("../../../../fixtures/lifecycle.wat");

fn function(wat: &str, contract: Contract, calls: Option<u64>) -> (Function, Arc<MemoryOutput>) {
    let (mut settings, output) = config(contract);
    settings.limits.calls = calls;
    settings.limits.memory = 64 << 16;
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::new("hostPrintString", Reply::Nothing, |context, [text]| {
        context.print(Stream::Stdout, &[text, b"\n"]);
        Ok(Vec::new())
    }));
    (function_with(wat, settings, &functions).unwrap(), output)
}

async fn counts(function: &Function, calls: usize) -> Vec<String> {
    let mut counts = Vec::new();
    for _ in 0..calls {
        counts.push(String::from_utf8(function.handle("c").await.unwrap().to_vec()).unwrap());
    }
    counts
}

#[tokio::test]
async fn an_instance_serves_so_many_calls_and_no_more() {
    let (bounded, _) = function(TRICKS, Contract::Instances(1), Some(3));
    assert_eq!(counts(&bounded, 7).await, ["43", "44", "45", "43", "44", "45", "43"]);
    let stats = bounded.stats();
    assert_eq!((stats.started, stats.recycled, stats.instances, stats.succeeded), (3, 2, 1, 7));
    let (unbounded, _) = function(TRICKS, Contract::Instances(1), None);
    assert_eq!(counts(&unbounded, 4).await, ["43", "44", "45", "46"]);
    assert_eq!(unbounded.stats().recycled, 0);
}

#[tokio::test]
async fn the_old_one_ends_before_the_new_one_begins() {
    let (function, output) = function(LIFECYCLE, Contract::Instances(1), Some(2));
    for _ in 0..4 {
        function.handle("").await.unwrap();
    }
    function.handle("f").await.unwrap_err();
    function.stop(DEADLINE).await;
    let life = "OnStart\ncall\ncall\nOnStop\n".repeat(2) + "OnStart\ncall\nOnStop\n";
    assert_eq!(output.text(Stream::Stdout), life);
    // One that broke is replaced as ever, and is none of them.
    assert_eq!((function.stats().started, function.stats().recycled), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_of_many_fails() {
    for contract in [Contract::Instances(1), Contract::Instances(3)] {
        let (function, output) = function(LIFECYCLE, contract, Some(5));
        let calls = (0..200).map(|_| {
            let function = function.clone();
            tokio::spawn(async move { function.handle("").await })
        });
        for result in join_all(calls).await {
            assert_eq!(result.unwrap().unwrap(), "done");
        }
        function.stop(DEADLINE).await;
        let stats = function.stats();
        assert_eq!((stats.succeeded, stats.refused, stats.instances), (200, 0, 0));
        let text = output.text(Stream::Stdout);
        let count = |line: &str| text.lines().filter(|found| *found == line).count() as u64;
        assert_eq!((count("call"), count("OnStart"), count("OnStop")), (200, stats.started, stats.started));
        assert!(stats.recycled >= 200 / 5 - 3 && stats.started <= stats.recycled + 3, "{stats:?}");
    }
}

/// With the limit of the process at two instances, the second one has the place of the first.
#[tokio::test]
async fn the_new_one_has_the_place_of_the_old_one() {
    let mut settings = capsule_hdk::EngineConfig::default();
    settings.max_instances = 1;
    let probe = capsule_hdk::Ceiling::default();
    settings.ceiling = probe.clone();
    let make = |settings: &capsule_hdk::EngineConfig| {
        let engine = capsule_hdk::Engine::new(settings).unwrap();
        let module = capsule_hdk::Module::from_bytes(&engine, "guest.wat", TRICKS.as_bytes()).unwrap();
        let host = capsule_hdk::Host::new(&engine, &capsule_hdk::HostFunctions::new()).unwrap();
        let (mut limits, _) = config(Contract::Instances(1));
        limits.limits.calls = Some(1);
        Function::new(&host, &module, limits).unwrap()
    };
    let one = make(&settings);
    one.start().await.unwrap();
    // Text that is read takes more than the instance does afterwards.
    settings.ceiling = capsule_hdk::Ceiling::new(probe.held().max(100 * TRICKS.len()));
    let function = make(&settings);
    assert_eq!(counts(&function, 5).await, ["43"; 5]);
    function.stop(DEADLINE).await;
    assert_eq!((function.stats().recycled, settings.ceiling.refused()), (5, 0));
}

/// Giving a large memory back takes longer than beginning anew, and the pool has no room for two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_one_is_gone_before_the_next_one_comes() {
    let mut settings = capsule_hdk::EngineConfig::default();
    settings.max_instances = 1;
    let engine = capsule_hdk::Engine::new(&settings).unwrap();
    let wat = r#"(module (memory (export "memory") 2000) (data (i32.const 16) "S!")
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "callHandle") (param i32 i32) (result i64)
            (memory.fill (i32.const 65536) (i32.const 7) (i32.const 130000000))
            (i64.const 0x1000000002)))"#;
    let module = capsule_hdk::Module::from_bytes(&engine, "guest.wat", wat.as_bytes()).unwrap();
    let host = capsule_hdk::Host::new(&engine, &HostFunctions::new()).unwrap();
    let (mut settings, _) = config(Contract::Instances(1));
    settings.limits.calls = Some(1);
    let function = Function::new(&host, &module, settings).unwrap();
    for _ in 0..8 {
        assert_eq!(function.handle("").await.unwrap(), "!");
    }
    function.stop(DEADLINE).await;
    assert_eq!((function.stats().recycled, function.stats().refused), (8, 0));
}

#[tokio::test]
async fn memory_that_has_grown_is_a_reason_too() {
    let (function, _) = function(TRICKS, Contract::Instances(1), Some(1000));
    assert_eq!(counts(&function, 1).await, ["43"]);
    // 80 % of 64 pages are 51: two to begin with and 17 for the argument are less, and with 34 more it is past that.
    function.handle(vec![b'e'; 16 << 16]).await.unwrap();
    assert_eq!(counts(&function, 1).await, ["45"]);
    function.handle(vec![b'e'; 33 << 16]).await.unwrap();
    assert_eq!(counts(&function, 1).await, ["43"]);
    assert_eq!(function.stats().recycled, 1);
    // One that begins with so much is not replaced for that.
    let large = TRICKS.replacen("(memory (export \"memory\") 2)", "(memory (export \"memory\") 60)", 1);
    let (function, _) = self::function(&large, Contract::Instances(1), Some(1000));
    assert_eq!(counts(&function, 3).await, ["43", "44", "45"]);
}
