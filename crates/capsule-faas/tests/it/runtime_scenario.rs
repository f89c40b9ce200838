//! The reference's own scenario, and what commands do to running functions.

use std::sync::atomic::Ordering;
use std::time::Duration;

use capsule_faas::runtime::Health;
use capsule_faas_model::names::Index;
use capsule_faas_model::record::Status;
use capsule_faas_model::route::Weights;
use capsule_hdk::Stream;
use futures_util::FutureExt as _;

use crate::runtime_support::{LIFECYCLE, TRICKS, World, name, revision, says, selector, until};

#[tokio::test(flavor = "multi_thread")]
async fn revisions_are_started_called_duplicated_and_dropped() {
    let world = World::new();
    for colour in ["default", "blue", "green", "orange"] {
        let key = world.start(&format!("hello/{colour}"), &says(colour), &[]).await.unwrap();
        assert_eq!(key.to_string(), format!("hello/{colour}/0"));
    }
    assert_eq!(world.ask("hello", "").await, "default");
    for colour in ["default", "blue", "green", "orange"] {
        assert_eq!(world.ask(&format!("hello/{colour}"), "").await, colour);
        assert_eq!(world.ask(&format!("hello/{colour}/0"), "").await, colour);
    }
    world.faas.duplicate(name("hello"), revision("green"), revision("saved")).await.unwrap();
    let conflict = world.faas.duplicate(name("hello"), revision("green"), revision("blue")).await.unwrap_err();
    assert_eq!(conflict.status(), 409);
    world.faas.drop(selector("hello/green")).await.unwrap();
    assert_eq!(world.ask("hello/saved", "").await, "green");
    assert!(world.ask("hello/green", "").await.starts_with("404: "));
    assert_eq!(world.keys(), ["hello/blue/0", "hello/default/0", "hello/orange/0", "hello/saved/0"]);
    let again = world.start("hello/blue", &says("blue"), &[]).await.unwrap();
    assert_eq!(again.to_string(), "hello/blue/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_the_same_process_until_the_last_name_goes() {
    let world = World::new();
    world.start("count/a", TRICKS, &[]).await.unwrap();
    assert_eq!(world.ask("count/a", "c").await, "43");
    world.faas.duplicate(name("count"), revision("a"), revision("b")).await.unwrap();
    assert_eq!(world.ask("count/b", "c").await, "44");
    assert_eq!(world.faas.stats().len(), 1, "one process is counted once");
    world.faas.drop(selector("count/a")).await.unwrap();
    assert_eq!(world.ask("count/b", "c").await, "45");
    world.faas.drop(selector("count/b")).await.unwrap();
    assert!(world.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_stop_runs_when_a_function_is_dropped() {
    let world = World::new();
    world.start("life", LIFECYCLE, &[]).await.unwrap();
    assert_eq!(world.ask("life", "").await, "done");
    let text = || world.output.text(Stream::Stdout);
    assert_eq!(text(), "life/default/0 OnStart\nlife/default/0 call\n");
    world.faas.drop(selector("life")).await.unwrap();
    until("OnStop", || text().ends_with("life/default/0 OnStop\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_server_runs_on_stop_everywhere_and_refuses_more() {
    let world = World::new();
    world.start("a", LIFECYCLE, &[]).await.unwrap();
    world.start("b", LIFECYCLE, &[]).await.unwrap();
    world.faas.stop(Duration::from_secs(60)).await;
    let text = world.output.text(Stream::Stdout);
    assert!(text.contains("a/default/0 OnStop\n") && text.contains("b/default/0 OnStop\n"), "{text}");
    assert_eq!(world.ask("a", "").await, "503: the server is being stopped");
    assert_eq!(world.start("c", LIFECYCLE, &[]).await.unwrap_err().status(), 503);
    // The records stay.
    let world = world.reopened();
    assert_eq!(world.ask("a", "").await, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_wakes_while_the_server_stops_has_its_on_stop() {
    let world = World::new();
    world.start("a", LIFECYCLE, &[]).await.unwrap();
    let world = world.reopened();
    // The call asks for the start and is dropped, as a rule before the function is awake.
    let _ = world.ask("a", "").now_or_never();
    world.faas.stop(Duration::from_secs(60)).await;
    let text = world.output.text(Stream::Stdout);
    assert!(text.matches("a/default/0 OnStart\n").count() == 2 && text.ends_with("a/default/0 OnStop\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_over_the_indexes() {
    let world = World::new();
    world.start("count", TRICKS, &[]).await.unwrap();
    let scale = |count: u32| world.faas.scale(name("count"), revision("default"), Index::try_from(count).unwrap());
    assert_eq!(scale(0).await.unwrap_err().status(), 422);
    scale(3).await.unwrap();
    assert_eq!(world.keys(), ["count/default/0", "count/default/1", "count/default/2"]);
    for _ in 0..30 {
        world.ask("count", "c").await;
    }
    for index in 0..3 {
        assert_eq!(world.ask(&format!("count/default/{index}"), "c").await, "53", "ten calls each");
    }
    scale(1).await.unwrap();
    assert_eq!(world.keys(), ["count/default/0"]);
    assert!(world.ask("count/default/1", "c").await.starts_with("404: "));
    assert_eq!(world.ask("count", "c").await, "54");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_route_splits_calls_and_can_be_taken_back() {
    let world = World::new();
    for colour in ["default", "blue", "green"] {
        world.start(&format!("hello/{colour}"), &says(colour), &[]).await.unwrap();
    }
    let weights = Weights::parse(br#"{"blue": 3, "green": 1}"#).unwrap();
    world.faas.set_route(name("hello"), weights).await.unwrap();
    let mut blue = 0;
    for _ in 0..400 {
        match world.ask("hello", "").await.as_str() {
            "blue" => blue += 1,
            "green" => {}
            other => panic!("{other}"),
        }
    }
    assert!((290..=310).contains(&blue), "{blue} of 400 went to blue");
    assert_eq!(world.faas.drop(selector("hello/blue")).await.unwrap_err().status(), 409);
    let unknown = Weights::parse(br#"{"red": 1}"#).unwrap();
    assert_eq!(world.faas.set_route(name("hello"), unknown).await.unwrap_err().status(), 422);
    // The stack of routes survives.
    let world = world.reopened();
    assert_ne!(world.ask("hello", "").await, "default");
    world.faas.rollback(name("hello")).await.unwrap();
    assert_eq!(world.ask("hello", "").await, "default");
    assert_eq!(world.faas.rollback(name("hello")).await.unwrap_err().status(), 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_kept_and_followed_for_each_function() {
    let world = World::new();
    world.start("a", LIFECYCLE, &[]).await.unwrap();
    world.start("b", LIFECYCLE, &[]).await.unwrap();
    world.ask("a", "").await;
    let texts = |place: &str| -> Vec<String> {
        world.faas.logs(&selector(place)).unwrap().iter().map(|line| line.text.clone()).collect()
    };
    assert_eq!(texts("a"), ["OnStart", "call"]);
    assert_eq!(texts("b/default/0"), ["OnStart"]);
    assert_eq!(world.faas.logs(&selector("c")).unwrap_err().status(), 404);

    let (kept, mut follow) = world.faas.follow(&selector("b")).unwrap();
    assert_eq!(kept.len(), 1);
    world.ask("a", "").await;
    world.ask("b", "").await;
    let line = follow.next().await.unwrap();
    assert_eq!((line.function.as_ref(), line.text.as_str()), ("b/default/0", "call"));
    world.faas.stop(Duration::from_secs(60)).await;
    while let Some(line) = follow.next().await {
        assert_eq!(line.text, "OnStop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_counters_say_what_happened() {
    let world = World::new();
    world.start("t", TRICKS, &["-authHeaderValue=secret"]).await.unwrap();
    world.ask("t", "e").await;
    world.ask("t", "t").await;
    world.ask("t", "f").await;
    let stats = world.faas.stats();
    assert_eq!((stats[0].calls.succeeded, stats[0].calls.trapped, stats[0].calls.failed), (1, 1, 1));
    assert_eq!((stats[0].latency.count(), stats[0].cold_starts.count()), (3, 1));
    let listing = world.faas.processes();
    let record = listing.values().next().unwrap();
    assert_eq!((record.current_status, record.pid), (Status::Started, std::process::id()));
    assert!(record.args.as_ref().unwrap().contains(&"-authHeaderValue=***".to_owned()));
    assert_eq!((record.env.as_ref(), record.http_port.as_str()), (None, ""));
    assert!(matches!(world.faas.health(&selector("t")).await.unwrap(), Health::Awake));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_fetched_once() {
    let world = World::with(16, Some(says("remote")));
    world.start_args("far", &["-url=http://example.com/a.wasm"], &[]).await.unwrap();
    assert_eq!(world.ask("far", "").await, "remote");
    let world = world.reopened();
    assert_eq!(world.ask("far", "").await, "remote");
    assert_eq!(world.program.fetches.load(Ordering::Relaxed), 1);
}
