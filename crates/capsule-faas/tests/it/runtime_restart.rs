//! Nothing that was answered is lost when the server goes away without a word.

use std::time::Duration;

use capsule_faas_model::record::Status;
use capsule_hdk::Stream;
use futures_util::future::join_all;
use futures_util::stream;

use crate::runtime_support::{LIFECYCLE, TRICKS, World, name, revision, says, selector};

#[tokio::test(flavor = "multi_thread")]
async fn every_started_function_answers_after_a_crash() {
    let world = World::new();
    let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
    let started = names.iter().map(|name| async { world.start(name, &says(name), &[]).await.unwrap() });
    assert_eq!(join_all(started).await.len(), 40);
    world.faas.duplicate(name("f7"), revision("default"), revision("second")).await.unwrap();
    world.faas.drop(selector("f8")).await.unwrap();

    let world = world.reopened();
    assert_eq!(world.keys().len(), 40);
    assert_eq!(world.status("f1/default/0"), Status::Stopped, "nothing runs before it is called");
    assert_eq!(world.faas.stats().iter().map(|stats| stats.cold_starts.count()).sum::<u64>(), 0);
    for name in names.iter().filter(|name| *name != "f8") {
        assert_eq!(world.ask(name, "").await, *name);
    }
    assert_eq!(world.ask("f7/second", "").await, "f7");
    assert!(world.ask("f8", "").await.starts_with("404: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_boot_script_run_again_changes_nothing() {
    let mut world = World::new();
    for _ in 0..3 {
        for (place, key) in [("a", "a/default/0"), ("b/blue", "b/blue/0"), ("b/blue", "b/blue/1")] {
            assert_eq!(world.start(place, TRICKS, &[]).await.unwrap().to_string(), key);
        }
        assert_eq!(world.keys(), ["a/default/0", "b/blue/0", "b/blue/1"]);
        assert_eq!(world.ask("b/blue/1", "c").await, "43");
        world = world.reopened();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_the_restart_brings_new_bytes() {
    let world = World::new();
    world.start("a", &says("old"), &[]).await.unwrap();
    // Overwriting the file changes nothing until then.
    world.file("a.wat", &says("new"));
    let world = world.reopened();
    assert_eq!(world.ask("a", "").await, "old");
    assert_eq!(world.start("a", &says("new"), &[]).await.unwrap().to_string(), "a/default/0");
    assert_eq!(world.ask("a", "").await, "new");
    assert_eq!(world.keys(), ["a/default/0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_file_does_no_harm() {
    let world = World::new();
    world.start("a", &says("kept"), &[]).await.unwrap();
    std::fs::remove_file(world.file("a.wat", "")).unwrap();
    let world = world.reopened();
    assert_eq!(world.ask("a", "").await, "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_call_wakes_once_for_all() {
    let world = World::new();
    world.start("a", LIFECYCLE, &[]).await.unwrap();
    let world = world.reopened();
    let answers = join_all((0..50).map(|_| world.ask("a", ""))).await;
    assert!(answers.iter().all(|answer| answer == "done"), "{answers:?}");
    let text = world.output.text(Stream::Stdout);
    assert_eq!(text.matches("OnStart").count(), 2, "one for each run of the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_modules_are_pruned_and_used_ones_stay() {
    let world = World::new();
    world.start("kept", &says("kept"), &[]).await.unwrap();
    world.start("gone", &says("gone"), &[]).await.unwrap();
    world.faas.drop(selector("gone")).await.unwrap();
    let chunks = stream::iter([Ok::<_, std::io::Error>(says("sent").into())]);
    let sent = world.faas.upload(chunks).await.unwrap();
    assert!(world.faas.prune(Duration::from_secs(3_600)).await.unwrap().is_empty());
    let key = world.start_args("sent", &[&format!("-wasm={sent}")], &[]).await.unwrap();
    assert_eq!(key.to_string(), "sent/default/0");
    let world = world.reopened();
    assert_eq!(world.faas.prune(Duration::ZERO).await.unwrap().len(), 1);
    assert_eq!(world.ask("kept", "").await, "kept");
    assert_eq!(world.ask("sent", "").await, "sent");
}
