//! What one function does is nothing to another, and calls are nothing to commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capsule_faas_model::names::Index;
use capsule_faas_model::route::Weights;
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::runtime_support::{COMPUTES, HOST, TRICKS, World, ask, name, revision, says, selector, until};

/// The keys of a cache, as these tests show them.
const FULL: &str = "a1 a2 b2";
const EMPTY: &str = "";

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_cache_are_a_functions_own() {
    let world = World::new();
    let wasm = format!("-wasm={}", world.file("host.wat", HOST).display());
    world.start_args("a", &[&wasm], &["NAME=alice"]).await.unwrap();
    world.start_args("a", &[&wasm], &["NAME=alice"]).await.unwrap();
    world.start_args("b", &[&wasm], &["NAME=bob"]).await.unwrap();
    world.start_args("a/blue", &[&wasm], &[]).await.unwrap();
    assert_eq!(world.ask("a", "eNAME").await, "alice");
    assert_eq!(world.ask("b", "eNAME").await, "bob");
    assert_eq!(world.ask("a/blue", "eNAME").await, "");
    assert_eq!(world.ask("a/blue", "eHOME").await, "");

    assert_eq!(world.ask("a/default/0", "c*").await, FULL);
    assert_eq!(world.ask("a/default/1", "k*").await, FULL, "indexes share the cache");
    assert_eq!(world.ask("b", "k*").await, EMPTY);
    assert_eq!(world.ask("a/blue", "k*").await, EMPTY);
    world.faas.duplicate(name("a"), revision("default"), revision("same")).await.unwrap();
    assert_eq!(world.ask("a/same/1", "k*").await, FULL);
    let world = world.reopened();
    assert_eq!(world.ask("a", "k*").await, EMPTY, "it is gone with the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_gone_when_the_function_sleeps() {
    let world = World::new();
    let wasm = format!("-wasm={}", world.file("host.wat", HOST).display());
    world.start_args("a", &[&wasm, "-stopAfter=20"], &[]).await.unwrap();
    assert_eq!(world.ask("a", "c*").await, FULL);
    until("sleep", || world.faas.stats()[0].calls.instances == 0).await;
    assert_eq!(world.ask("a", "k*").await, EMPTY);
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_and_traps_do_not_disturb_others() {
    let world = World::new();
    world.start("loops", TRICKS, &["-callTimeout=1000"]).await.unwrap();
    world.start("traps", TRICKS, &[]).await.unwrap();
    world.start("well", TRICKS, &[]).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let disturb = |place: &'static str, argument: &'static str| {
        let (faas, stop) = (world.faas.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            loop {
                assert!(ask(&faas, place, argument).await.starts_with("failed: "));
                // A call that never waits leaves the thread to nobody else, and there may be one alone.
                tokio::task::yield_now().await;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
    };
    let disturbers = [disturb("loops", "l"), disturb("traps", "t")];
    for number in 43..243 {
        assert_eq!(world.ask("well", "c").await, number.to_string());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for disturber in disturbers {
        disturber.await.unwrap();
    }
    // A call that was given up is counted when it is gone.
    until("a loop is counted", || world.faas.stats().iter().any(|stats| stats.calls.timed_out > 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_routes_revisions_and_indexes_change() {
    let world = World::new();
    for colour in ["default", "blue", "green"] {
        world.start(&format!("hello/{colour}"), &says(colour), &[]).await.unwrap();
    }
    let route = |weights: &str| world.faas.set_route(name("hello"), Weights::parse(weights.as_bytes()).unwrap());
    route(r#"{"blue": 1}"#).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let callers = (0..4).map(|_| {
        let (faas, stop) = (world.faas.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut calls = 0;
            loop {
                let answer = ask(&faas, "hello", "").await;
                assert!(["blue", "green"].contains(&answer.as_str()), "{answer}");
                calls += 1;
                if stop.load(Ordering::Relaxed) {
                    return calls;
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for round in 0..8 {
        world.faas.scale(name("hello"), revision("blue"), Index::try_from(3).unwrap()).await.unwrap();
        route(r#"{"blue": 1, "green": 1}"#).await.unwrap();
        world.faas.scale(name("hello"), revision("blue"), Index::try_from(1).unwrap()).await.unwrap();
        route(r#"{"green": 1}"#).await.unwrap();
        world.faas.drop(selector("hello/blue")).await.unwrap();
        world.start("hello/blue", &says("blue"), &[]).await.unwrap();
        route(r#"{"blue": 1}"#).await.unwrap();
        if round % 2 == 0 {
            world.faas.rollback(name("hello")).await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let calls: usize = join_all(callers).await.into_iter().map(|caller| caller.unwrap()).sum();
    assert!(calls >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_end_the_call() {
    let world = World::new();
    // Awake for the whole test: the call begins at once.
    world.start("a", COMPUTES, &[]).await.unwrap();
    // Polled once, then dropped while the guest computes.
    assert_eq!(world.ask("a", "").now_or_never(), None);
    world.program.released.store(true, Ordering::SeqCst);
    until("the call's end", || world.faas.stats()[0].calls.succeeded == 1).await;
    assert_eq!(world.ask("a", "").await, "released");
}
