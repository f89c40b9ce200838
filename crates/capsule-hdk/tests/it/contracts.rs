//! Instance contracts: whose globals, how many instances, who waits.

use std::time::Duration;

use capsule_hdk::{
    CallError, Contract, Engine, EngineConfig, Function, Host, HostFunction, HostFunctions, Module, Reply, Stream,
};
use futures_util::future::join_all;

use crate::support::{DEADLINE, TRICKS, WAITS, config, function_with, tricks, try_function, waiting};

fn number(bytes: impl AsRef<[u8]>) -> u64 {
    String::from_utf8(bytes.as_ref().to_vec()).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_counts_every_call_also_of_callers_that_hang_up() {
    let function = tricks(Contract::Instances(1));
    let calls = (0..1000).map(|index| {
        let function = function.clone();
        tokio::spawn(async move {
            if index % 10 == 0 {
                // Polled once and dropped: the caller hangs up.
                let mut call = Box::pin(function.handle("b"));
                tokio::select! { biased; _ = &mut call => {}, () = std::future::ready(()) => {} }
                0
            } else {
                number(function.handle("c").await.unwrap())
            }
        })
    });
    let counts: Vec<u64> = join_all(calls).await.into_iter().map(|count| count.unwrap()).collect();
    let mut seen: Vec<u64> = counts.into_iter().filter(|count| *count > 0).collect();
    seen.sort_unstable();
    let distinct = {
        seen.dedup();
        seen.len()
    };
    assert_eq!(distinct, 900, "no two calls saw the same count");
    assert_eq!(function.stats().started, 1, "one instance served them all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_instances_count_for_themselves_and_lose_nothing() {
    let function = tricks(Contract::Instances(4));
    let calls = (0..400).map(|_| {
        let function = function.clone();
        tokio::spawn(async move { number(function.handle("c").await.unwrap()) })
    });
    let mut counts: Vec<u64> = join_all(calls).await.into_iter().map(|count| count.unwrap()).collect();
    counts.sort_unstable();
    let started = function.stats().started;
    assert!((1..=4).contains(&started), "{started} instances");
    // Each instance's last count less 42 is its number of calls: they sum up to all calls.
    let calls_of_all: u64 =
        (43..=counts[counts.len() - 1]).map(|n| counts.iter().filter(|c| **c == n).count() as u64).sum();
    assert_eq!(calls_of_all, 400);
    assert_eq!(counts.iter().filter(|count| **count == 43).count() as u64, started, "each instance began at its start");
}

#[tokio::test]
async fn a_fresh_instance_knows_no_earlier_call() {
    let function = tricks(Contract::Fresh);
    for _ in 0..5 {
        assert_eq!(function.handle("c").await.unwrap(), "43");
    }
    assert_eq!(function.stats().instances, 0);
}

#[tokio::test]
async fn the_queue_is_bounded_and_its_wait_too() {
    let (functions, permits) = waiting();
    let make = |queue_timeout| {
        let (mut settings, _) = config(Contract::Instances(1));
        settings.limits.queue = 1;
        settings.limits.queue_timeout = queue_timeout;
        function_with(WAITS, settings, &functions).unwrap()
    };
    let spawn = |function: &Function| {
        let function = function.clone();
        tokio::spawn(async move { function.handle("").await })
    };
    for queue_timeout in [DEADLINE, Duration::from_millis(50)] {
        let function = make(queue_timeout);
        function.start().await.unwrap();
        // Tasks of one thread begin in their order: the first has the instance before the second wants it.
        let (first, second) = (spawn(&function), spawn(&function));
        if queue_timeout == DEADLINE {
            while function.stats().waiting == 0 {
                tokio::task::yield_now().await;
            }
            let refused = function.handle("").await.unwrap_err().to_string();
            assert_eq!(refused, "too many calls wait for this function: the limit is 1 (flag `--maxQueue`)");
            permits.add_permits(2);
            assert_eq!(second.await.unwrap().unwrap(), "let go");
        } else {
            let late = second.await.unwrap().unwrap_err();
            let expected = "no instance of this function became free within 50ms (flag `--queueTimeout`)";
            assert_eq!(late.to_string(), expected);
            permits.add_permits(1);
        }
        assert_eq!(first.await.unwrap().unwrap(), "let go");
    }
}

#[tokio::test]
async fn a_start_that_fails_is_told_then_backs_off() {
    let wat = r#"(module (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "OnStart") unreachable)
        (func (export "callHandle") (param i32 i32) (result i64) (i64.const 0)))"#;
    let function = try_function(wat, config(Contract::Instances(1)).0).unwrap();
    let error = function.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the module could not be started: the module trapped: wasm `unreachable` instruction executed"
    );
    // The pause doubles with each try that comes after it: on the slowest machine too, a call comes within one.
    let mut pause = Duration::from_millis(100);
    let busy = loop {
        match function.handle("x").await.unwrap_err() {
            CallError::Busy(busy) => break busy,
            CallError::Start(_) => pause *= 2,
            other => panic!("{other}"),
        }
    };
    assert!(busy.retry_after <= pause, "{busy:?}");
    tokio::time::sleep(busy.retry_after).await;
    assert!(matches!(function.handle("x").await, Err(CallError::Start(_))));
}

#[tokio::test]
async fn on_stop_runs_in_the_instance_that_served_and_not_after_a_trap() {
    // OnStop prints the count as one byte.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (global $count (mut i32) (i32.const 48))
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "OnStop")
            (i32.store8 (i32.const 32) (global.get $count))
            (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 1))
            (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func (export "callHandle") (param i32 i32) (result i64)
            (if (i32.eq (local.get 1) (i32.const 2)) (then unreachable))
            (global.set $count (i32.add (global.get $count) (i32.const 1)))
            (i32.store8 (i32.const 16) (i32.const 83))
            (i64.const 0x1000000001)))"#;
    let (settings, output) = config(Contract::Instances(1));
    let function = try_function(wat, settings).unwrap();
    function.handle("1").await.unwrap();
    function.handle("22").await.unwrap_err();
    function.handle("1").await.unwrap();
    function.handle("1").await.unwrap();
    function.stop(DEADLINE).await;
    assert_eq!(output.text(capsule_hdk::Stream::Stdout), "2\n");
}

#[tokio::test]
async fn on_stop_of_fresh_instances_runs_before_the_function_has_stopped() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 16) "S") (data (i32.const 32) "stop\0a")
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "OnStop")
            (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 5))
            (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func (export "callHandle") (param i32 i32) (result i64) (i64.const 0x1000000001)))"#;
    let (settings, output) = config(Contract::Fresh);
    let function = try_function(wat, settings).unwrap();
    for _ in 0..3 {
        function.handle("1").await.unwrap();
    }
    function.stop(DEADLINE).await;
    assert_eq!(output.text(capsule_hdk::Stream::Stdout), "stop\n".repeat(3));
}

/// The clock of this test stands, and jumps to the next timer when nothing else is left to do.
#[tokio::test(start_paused = true)]
async fn instances_that_nobody_uses_are_let_go_and_hear_of_it() {
    let (mut functions, permits) = waiting();
    functions.add(HostFunction::new("print", Reply::Nothing, |context, []: [&[u8]; 0]| {
        context.print(Stream::Stdout, &[b"OnStop\n"]);
        Ok(Vec::new())
    }));
    let wat = WAITS.replacen("(module", r#"(module (import "env" "print" (func $print (result i32)))"#, 1);
    let wat = wat.replacen("(func (export", r#"(func (export "OnStop") (drop (call $print))) (func (export"#, 1);
    let (mut settings, output) = config(Contract::Instances(3));
    settings.limits.call_timeout = None;
    let function = function_with(&wat, settings, &functions).unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let function = function.clone();
            tokio::spawn(async move { function.handle("").await })
        })
        .collect();
    while function.stats().instances < 3 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(3);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "let go");
    }
    assert_eq!((function.stats().instances, output.text(Stream::Stdout).as_str()), (3, ""));
    tokio::time::sleep(DEADLINE).await;
    // The last one stays: it has the state.
    assert_eq!((function.stats().instances, output.text(Stream::Stdout).as_str()), (1, "OnStop\nOnStop\n"));
    function.stop(DEADLINE).await;
    assert_eq!(output.text(Stream::Stdout), "OnStop\n".repeat(3));
}

/// There is one place for an instance: calls of fresh instances wait for it, and their time limit begins when they have it.
#[tokio::test]
async fn the_wait_for_a_place_is_no_part_of_the_call() {
    let engine = {
        let mut settings = capsule_hdk::EngineConfig::default();
        settings.max_instances = 1;
        capsule_hdk::Engine::new(&settings).unwrap()
    };
    let (functions, permits) = waiting();
    let host = capsule_hdk::Host::new(&engine, &functions).unwrap();
    let make = |text: &str, timeout| {
        let (mut settings, _) = config(Contract::Fresh);
        settings.limits.call_timeout = timeout;
        settings.limits.queue_timeout = DEADLINE;
        let module = capsule_hdk::Module::from_bytes(&engine, "guest", text.as_bytes()).unwrap();
        Function::new(&host, &module, settings).unwrap()
    };
    let limit = Duration::from_secs(2);
    let (first, second) = (make(WAITS, None), make(TRICKS, Some(limit)));
    let begin = std::time::Instant::now();
    let past_the_limit = async {
        tokio::time::sleep(limit + Duration::from_millis(100)).await;
        permits.add_permits(1);
    };
    let (first, second, ()) = tokio::join!(first.handle(""), second.handle("c"), past_the_limit);
    assert_eq!(first.unwrap(), "let go");
    assert_eq!(second.unwrap(), "43");
    assert!(begin.elapsed() > limit, "it did not have to wait");
}

#[tokio::test]
async fn an_instance_with_references_takes_no_place_of_others() {
    let mut settings = EngineConfig::default();
    settings.max_instances = 2;
    let engine = Engine::new(&settings).unwrap();
    let host = Host::new(&engine, &HostFunctions::new()).unwrap();
    let guest = r#"(module (memory (export "memory") 1) (global externref (ref.null extern))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "callHandle") (param i32 i32) (result i64) (i64.const 0)))"#;
    let module = Module::from_bytes(&engine, "guest.wat", guest.as_bytes()).unwrap();
    // Both instances are there at once.
    let functions = [(); 2].map(|()| Function::new(&host, &module, config(Contract::default()).0).unwrap());
    for function in &functions {
        function.start().await.unwrap();
    }
}
