//! Functions that sleep when nobody calls them, and the room that they make.

use std::time::Duration;

use capsule_faas::runtime::Health;
use capsule_faas_model::record::Status;
use capsule_hdk::Stream;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::runtime_support::{LIFECYCLE, TRICKS, World, ask, says, selector, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_function_sleeps_and_a_call_wakes_it() {
    let world = World::new();
    world.start("a", LIFECYCLE, &["-stopAfter=20"]).await.unwrap();
    until("sleep", || world.output.text(Stream::Stdout).ends_with("OnStop\n")).await;
    until("the record", || world.status("a/default/0") == Status::Stopped).await;
    until("memory given back", || world.faas.stats()[0].calls.memory == 0).await;
    let health = world.faas.health(&selector("a")).await.unwrap();
    assert!(matches!(health, Health::NotRunning { status: Status::Stopped, .. }), "{health:?}");
    assert_eq!(world.ask("a", "").await, "done");
    assert_eq!(world.faas.stats()[0].cold_starts.count(), 2);
    // The counters go on.
    world.ask("a", "").await;
    assert_eq!(world.faas.stats()[0].calls.succeeded, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_it_never_sleeps() {
    let world = World::new();
    world.start("never", TRICKS, &[]).await.unwrap();
    world.start("sleepy", LIFECYCLE, &["-stopAfter=20"]).await.unwrap();
    until("sleep", || world.status("sleepy/default/0") == Status::Stopped).await;
    assert_eq!(world.status("never/default/0"), Status::Started);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_earlier_is_not_kept_by_who_sleeps_later() {
    let world = World::new();
    world.start("late", LIFECYCLE, &["-stopAfter=600000"]).await.unwrap();
    world.start("early", LIFECYCLE, &["-stopAfter=20"]).await.unwrap();
    for _ in 0..3 {
        until("sleep", || world.status("early/default/0") == Status::Stopped).await;
        assert_eq!(world.status("late/default/0"), Status::Started);
        assert_eq!(world.ask("early", "").await, "done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_around_the_expiry_never_fail() {
    let world = World::new();
    world.start("a", LIFECYCLE, &["-stopAfter=10"]).await.unwrap();
    let callers = (0..4_u64).map(|caller| {
        let faas = world.faas.clone();
        tokio::spawn(async move {
            let mut pause = Duration::from_micros(7_000 + 300 * caller);
            let mut next = Instant::now();
            for _ in 0..150 {
                assert_eq!(ask(&faas, "a", "").await, "done");
                pause += Duration::from_micros(40);
                next += pause;
                tokio::time::sleep_until(next).await;
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    until("sleep", || world.faas.stats()[0].calls.instances == 0).await;
    assert_eq!(world.ask("a", "").await, "done");
    let stats = world.faas.stats();
    assert_eq!(stats[0].calls.succeeded, 601);
    assert!(stats[0].cold_starts.count() > 1, "it never slept");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_sleep_makes_room_and_who_has_state_does_not() {
    let world = World::with(3, None);
    world.start("state", TRICKS, &[]).await.unwrap();
    for sleepy in ["a", "b", "c", "d"] {
        world.start(sleepy, &says(sleepy), &["-stopAfter=600000"]).await.unwrap();
    }
    for sleepy in ["a", "b", "c", "d", "a"] {
        assert_eq!(world.ask(sleepy, "").await, sleepy);
    }
    assert_eq!(world.ask("state", "c").await, "43");
    let instances: usize = world.faas.stats().iter().map(|stats| stats.calls.instances).sum();
    assert_eq!(instances, 3);
}
