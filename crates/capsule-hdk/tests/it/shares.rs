//! What functions of one engine share: places for instances, and stacks for calls within calls. And what the host holds for each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use capsule_hdk::{
    CallError, Contract, Engine, EngineConfig, Function, Host, HostFunction, HostFunctions, Limit, Module, Reply,
};
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{DEADLINE, WAITS, config, try_function, waiting};

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

/// When a neighbour has gone there is room for more, and it is those who wait who come first.
#[tokio::test]
async fn who_waits_is_not_overtaken_when_there_is_room_again() {
    let engine = shared(6);
    let (functions, permits) = waiting();
    let make = || function(&engine, WAITS, 1000, &functions);
    let (neighbour, mine) = (make(), make());
    for (function, instances) in [(&neighbour, 3), (&mine, 2)] {
        for count in 1..=instances {
            drop(call(function));
            while function.stats().instances < count {
                tokio::task::yield_now().await;
            }
        }
    }
    let mut waits = call(&mine);
    while mine.stats().waiting < 1 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(3);
    neighbour.stop(DEADLINE).await;
    assert_eq!(neighbour.stats().instances, 0);
    let mut late = call(&mine);
    while mine.stats().instances < 3 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(3);
    tokio::select! {
        waited = &mut waits => assert_eq!(waited.unwrap().unwrap(), "let go"),
        _ = &mut late => panic!("it came later"),
    }
    permits.add_permits(1);
    assert_eq!(late.await.unwrap().unwrap(), "let go");
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

/// An answer is counted from when it is there, not from when its guest has its turn again.
#[tokio::test]
async fn an_answer_that_waits_for_its_guest_is_held() {
    let mut settings = EngineConfig::default();
    settings.max_instances = 4;
    settings.long_threads = 1;
    let engine = Engine::new(&settings).unwrap();
    let permits = Arc::new(Semaphore::new(0));
    let (context, seen) = std::sync::mpsc::channel();
    let (blocked, blocks) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (blocked, released) = (Mutex::new(Some(blocked)), Mutex::new(released));
    let mut functions = HostFunctions::new();
    let taken = Arc::clone(&permits);
    functions.add(HostFunction::waiting("answer", Reply::Framed, move |own, []: [Vec<u8>; 0]| {
        let permits = Arc::clone(&taken);
        context.send(own).unwrap();
        async move {
            permits.acquire().await.unwrap().forget();
            Ok(vec![b'x'; 5 << 20])
        }
    }));
    functions.add(HostFunction::new("block", Reply::Framed, move |_, []: [&[u8]; 0]| {
        blocked.lock().unwrap().take().unwrap().send(()).unwrap();
        let _ = released.lock().unwrap().recv();
        Ok(b"let go".to_vec())
    }));
    // With so much memory their calls run on the threads for long ones, of which there is one.
    let guest = |name: &str| {
        let wat = WAITS.replacen("\"wait\"", &format!("\"{name}\""), 1);
        let wat = wat.replacen("(memory (export \"memory\") 1)", "(memory (export \"memory\") 300)", 1);
        let module = Module::from_bytes(&engine, "guest.wat", wat.as_bytes()).unwrap();
        let (mut settings, _) = config(Contract::Instances(1));
        settings.limits.host_memory = 8 << 20;
        Function::new(&Host::new(&engine, &functions).unwrap(), &module, settings).unwrap()
    };
    let (answered, blocking) = (guest("answer"), guest("block"));
    let answered = call(&answered);
    let context = loop {
        match seen.try_recv() {
            Ok(context) => break context,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let blocking = call(&blocking);
    blocks.await.unwrap();
    drop(context.hold(8 << 20).unwrap());
    permits.add_permits(1);
    let begin = Instant::now();
    while context.hold(4 << 20).is_ok() {
        assert!(begin.elapsed() < DEADLINE, "the answer is there, and nobody counts it");
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    assert_eq!(blocking.await.unwrap().unwrap(), "let go");
    assert_eq!(answered.await.unwrap().unwrap().len(), 5 << 20);
    drop(context.hold(8 << 20).unwrap());
}

/// What WASI copies is part of it: a function without memory left moves less at once.
#[tokio::test]
async fn what_wasi_copies_is_held() {
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_pread" (func $read (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_readdir" (func $list (param i32 i32 i32 i64 i32) (result i32)))
        (memory (export "memory") 40)
        (data (i32.const 0) "S") (data (i32.const 32) "f")
        (func (export "malloc") (param i32) (result i32) (i32.const 2048))
        (func (export "callHandle") (param i32 i32) (result i64)
            (drop (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 1) (i64.const 66) (i64.const 0)
                (i32.const 0) (i32.const 36)))
            (i32.store (i32.const 40) (i32.const 65536))
            (i32.store (i32.const 44) (i32.const 0x100000))
            (drop (call $write (i32.load (i32.const 36)) (i32.const 40) (i32.const 1) (i32.const 4)))
            (drop (call $read (i32.load (i32.const 36)) (i32.const 40) (i32.const 1) (i64.const 0) (i32.const 8)))
            (i32.store (i32.const 12) (call $list (i32.const 3) (i32.const 65536) (i32.const 0x200000) (i64.const 0) (i32.const 48)))
            (i64.const 16))
        (func (export "callHandleJSON") (param i32 i32) (result i64)
            (drop (call $list (i32.const 3) (i32.const 65536) (i32.const 0x300000) (i64.const 0) (i32.const 48)))
            (i64.const 0)))"#;
    let folder = tempfile::tempdir().unwrap();
    let moved = async |host_memory| {
        let (mut settings, _) = config(Contract::Instances(1));
        settings.limits.host_memory = host_memory;
        let host = folder.path().to_owned();
        settings.capabilities.folders.push(capsule_hdk::Folder { host, guest: ".".into(), read_only: false });
        let function = try_function(wat, settings).unwrap();
        let answer = function.handle("").await.unwrap();
        let numbers: Vec<u32> =
            answer[3..].chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect();
        // What is not the guest's is not filled.
        let error = function.handle_json("").await.unwrap_err().to_string();
        assert!(error.contains("out of bounds"), "{error}");
        (numbers, function.stats().hits(Limit::HostMemory))
    };
    assert_eq!(moved(64 << 20).await, (vec![1 << 20, 1 << 20, 0], 0));
    // 48 is `ENOMEM`.
    assert_eq!(moved(100 << 10).await, (vec![16 << 10, 16 << 10, 48], 3));
}
