//! What functions of one engine share: places for instances, and stacks for calls within calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capsule_hdk::{
    CallError, Contract, Engine, EngineConfig, Function, Host, HostFunction, HostFunctions, Limit, Module, Reply,
};
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::support::{WAITS, config, waiting};

/// Its `allocateBuffer` asks the host for something, which needs `allocateBuffer` again, three calls deep; there it waits.
const NESTS: &str = r#"(module
    (import "env" "hold" (func $hold (result i32)))
    (import "env" "say" (func $say (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $depth (mut i32) (i32.const 0))
    (func (export "malloc") (param i32) (result i32) (i32.const 2048))
    (func (export "allocateBuffer") (param i32) (result i32)
        (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
        (if (i32.lt_u (global.get $depth) (i32.const 3))
            (then (drop (call $say (i32.const 8) (i32.const 12))))
            (else (if (i32.eq (global.get $depth) (i32.const 3))
                (then (drop (call $hold))))))
        (i32.const 1024))
    (func (export "callHandle") (param i32 i32) (result i64)
        (global.set $depth (i32.const 0))
        (drop (call $say (i32.const 0) (i32.const 4)))
        (i64.or (i64.shl (i64.extend_i32_u (i32.load (i32.const 0))) (i64.const 32))
                (i64.extend_i32_u (i32.load (i32.const 4))))))"#;

fn shared(max_instances: usize) -> Engine {
    let mut config = EngineConfig::default();
    config.max_instances = max_instances;
    config.fair = true;
    Engine::new(&config).unwrap()
}

fn function(engine: &Engine, wat: &str, instances: usize, functions: &HostFunctions) -> Function {
    let module = Module::from_bytes(engine, "guest.wat", wat.as_bytes()).unwrap();
    Function::new(&Host::new(engine, functions).unwrap(), &module, config(Contract::Instances(instances)).0).unwrap()
}

fn call(function: &Function) -> JoinHandle<Result<Bytes, CallError>> {
    let function = function.clone();
    tokio::spawn(async move { function.handle("").await })
}

#[tokio::test]
async fn however_many_want_all_there_is_a_place_for_the_next() {
    let engine = shared(16);
    let (functions, permits) = waiting();
    let make = || function(&engine, WAITS, 1000, &functions);
    let (first, second, third) = (make(), make(), make());
    let mut calls = Vec::new();
    for (function, instances) in [(&first, 8), (&second, 4), (&third, 2)] {
        calls.extend((0..20).map(|_| call(function)));
        while function.stats().waiting < 20 - instances {
            tokio::task::yield_now().await;
        }
        assert_eq!(function.stats().instances, instances);
    }
    let neighbour = make();
    assert_eq!(neighbour.handle_json("").await.unwrap(), "");
    permits.add_permits(60);
    assert!(join_all(calls).await.into_iter().all(|call| call.unwrap().unwrap() == "let go"));
    // What is given back is there for others.
    first.stop(Duration::from_secs(1)).await;
    drop((second, third));
    assert_eq!(neighbour.stats().hits(Limit::Instances), 0);
}

#[tokio::test]
async fn alone_a_function_has_all_places() {
    let mut settings = EngineConfig::default();
    settings.max_instances = 6;
    let engine = Engine::new(&settings).unwrap();
    let (functions, permits) = waiting();
    let all = function(&engine, WAITS, 6, &functions);
    let calls: Vec<_> = (0..6).map(|_| call(&all)).collect();
    while all.stats().instances < 6 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(6);
    assert!(join_all(calls).await.into_iter().all(|call| call.unwrap().is_ok()));
}

#[tokio::test]
async fn stacks_for_calls_within_calls_are_not_taken_by_one() {
    let engine = shared(64);
    let permits = Arc::new(Semaphore::new(0));
    let taken = Arc::clone(&permits);
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::new("say", Reply::Framed, |_, []: [&[u8]; 0]| Ok(b"said".to_vec())));
    functions.add(HostFunction::waiting("hold", Reply::Nothing, move |_, []: [Vec<u8>; 0]| {
        let permits = Arc::clone(&taken);
        async move {
            permits.acquire().await.unwrap().forget();
            Ok(Vec::new())
        }
    }));
    let (greedy, neighbour) = (function(&engine, NESTS, 30, &functions), function(&engine, NESTS, 2, &functions));
    // Each holds two stacks beyond its own: sixteen are as many as are left for others.
    let calls: Vec<_> = (0..20).map(|_| call(&greedy)).collect();
    while greedy.stats().trapped < 12 {
        tokio::task::yield_now().await;
    }
    let other = call(&neighbour);
    while neighbour.stats().instances == 0 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(21);
    assert_eq!(other.await.unwrap().unwrap(), "said");
    let (mut served, mut trapped) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => {
                assert_eq!(answer, "said");
                served += 1;
            }
            Err(error) => {
                assert!(
                    error.to_string().contains("calls within calls are deep in too many instances at once"),
                    "{error}"
                );
                trapped += 1;
            }
        }
    }
    assert_eq!((served, trapped), (8, 12));
}
