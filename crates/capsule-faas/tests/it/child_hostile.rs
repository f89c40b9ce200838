//! Children that do not do what they should.

use std::path::Path;
use std::time::{Duration, Instant};

use capsule_faas_model::record::Status;
use futures_util::future::join_all;

use crate::child_support::{children, impatient, runs};
use crate::runtime_support::{World, selector, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_start_is_not_registered() {
    let mut children = children();
    children.start_timeout = Duration::from_millis(300);
    let world = World::with_children(children);
    let error = world.start_role("a", "dies", &[]).await.unwrap_err();
    assert_eq!(error.status(), 422);
    let text = error.to_string();
    assert!(
        text.starts_with("the child process ended with exit code 3 before it listened; its last lines: "),
        "{text}"
    );
    assert!(text.contains("before the end") && text.contains("no [1mluck"), "{text}");
    let error = world.start_role("a", "silent", &[]).await.unwrap_err();
    assert_eq!(error.status(), 422);
    assert!(error.to_string().starts_with("the child process did not listen on its port within 300ms"), "{error}");
    assert!(world.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_executables_are_started() {
    let world = World::with_children(children());
    let module = world.file("any.wat", &crate::runtime_support::says("any"));
    let wasm = format!("-wasm={}", module.display());
    for path in ["/bin/sh", "/nowhere", "child_lives.rs", "../../../../bin/sh"] {
        let error = world.start_child("a", Path::new(path), &[&wasm], &[]).await.unwrap_err();
        assert_eq!(error.status(), 422, "{path}");
        assert!(error.to_string().starts_with("`path`: "), "{error}");
    }
    let text_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/main.rs");
    let error = world.start_child("a", &text_file, &[&wasm], &[]).await.unwrap_err();
    assert!(error.to_string().contains("not a file that can be executed"), "{error}");
    assert!(world.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_child_took_and_did_not_answer_is_not_sent_again() {
    let world = World::with_children(children());
    world.start_role("breaks", "breaks", &[]).await.unwrap();
    let (status, text) = world.get("breaks", "/").await;
    assert_eq!(status, 502, "{text}");
    assert!(text.starts_with("the child process broke off the call"), "{text}");
    until("its line", || world.log("breaks").iter().any(|line| line == "a request came")).await;
    assert_eq!(world.get("breaks", "/").await.0, 502);
    let requests = || world.log("breaks").iter().filter(|line| *line == "a request came").count();
    until("its lines", || requests() == 2).await;
    assert_eq!(world.faas.stats()[0].calls.protocol, 2);

    world.start_role("garbage", "garbage", &[]).await.unwrap();
    assert_eq!(world.get("garbage", "/").await.0, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_never_answers_is_given_up_in_time() {
    let world = World::with_children(impatient());
    world.start_role("a", "mute", &["-callTimeout=100", "-queueTimeout=100"]).await.unwrap();
    let begin = Instant::now();
    let answers = join_all((0..5).map(|_| world.get("a", "/"))).await;
    assert!(begin.elapsed() >= Duration::from_millis(200));
    for (status, text) in answers {
        assert_eq!((status, text.contains("time limit")), (599, true), "{text}");
    }
    assert_eq!(world.faas.stats()[0].calls.timed_out, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_cut() {
    let world = World::with_children(children());
    world.start_role("a", "endless", &["-maxResult=100000"]).await.unwrap();
    let (status, text) = world.get("a", "/").await;
    assert_eq!(status, 599);
    assert!(text.contains("the limit is 100000"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ignores_the_order_to_end_is_killed() {
    let world = World::with_children(impatient());
    world.start_role("a", "stubborn", &["-stopAfter=50"]).await.unwrap();
    let pid = world.record("a/default/0").pid;
    until("it is put to sleep", || world.status("a/default/0") == Status::Stopped && !runs(pid)).await;
    assert_eq!(world.get("a", "/").await, (200, "hello".into()));
    let pid = world.record("a/default/0").pid;
    world.faas.drop(selector("a")).await.unwrap();
    until("it is killed", || !runs(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_lines_is_taken_in_and_cut() {
    let world = World::with_children(children());
    world.start_role("a", "floods", &[]).await.unwrap();
    until("the end of the flood", || world.log("a").iter().any(|line| line == "the last of the flood")).await;
    let log = world.log("a");
    assert!(log.iter().map(String::len).sum::<usize>() <= 64 << 10);
    assert!(log.iter().any(|line| line.len() == 8 << 10 && line.starts_with("xxx")), "no long line");
    assert_eq!(world.get("a", "/").await.0, 200);
}
