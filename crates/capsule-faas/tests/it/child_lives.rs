//! How children sleep, die and come back, and that they never outlive their server.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use capsule_faas_model::record::Status;

use crate::child_support::{children, impatient, kill, runs};
use crate::runtime_support::{World, selector, until};
use crate::support::{itself, say};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_child_is_started_by_the_next_call() {
    let world = World::with_children(children());
    world.start_role("a", "plain", &[]).await.unwrap();
    let first = world.record("a/default/0").pid;
    kill(first);
    until("it is noticed", || world.status("a/default/0") == Status::Killed).await;
    assert!(world.record("a/default/0").status_description.contains("signal 9"));
    let (status, pid) = world.get("a", "/pid").await;
    assert_eq!((status, pid.as_str()), (200, world.record("a/default/0").pid.to_string().as_str()));
    assert_ne!(world.record("a/default/0").pid, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ends_by_itself_is_stopped() {
    let world = World::with_children(children());
    world.start_role("a", "plain", &[]).await.unwrap();
    assert_eq!(world.get("a", "/end").await.0, 200);
    until("it is noticed", || world.status("a/default/0") == Status::Stopped).await;
    assert!(world.record("a/default/0").finished_at.is_some());
    world.faas.notified(&selector("a")).unwrap();
    assert_eq!(world.faas.notified(&selector("b")).unwrap_err().status(), 404);
    assert_eq!(world.get("a", "/").await, (200, "hello".into()));
    // A hint about one that runs changes nothing.
    world.faas.notified(&selector("a")).unwrap();
    assert_eq!(world.status("a/default/0"), Status::Started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_refuses_connections_is_replaced_without_an_error() {
    let world = World::with_children(impatient());
    world.start_role("a", "plain", &[]).await.unwrap();
    let first = world.record("a/default/0").pid;
    assert_eq!(world.get("a", "/refuse").await.0, 200);
    until("it refuses", || world.log("a").iter().any(|line| line == "it refuses connections")).await;
    assert_eq!(world.status("a/default/0"), Status::Started);
    assert_eq!(world.get("a", "/").await, (200, "hello".into()));
    assert!(!runs(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn children_die_with_a_server_that_is_killed() {
    const VICTIM: &str = "CAPSULE_TEST_SERVER";
    if std::env::var_os(VICTIM).is_some() {
        let world = World::with_children(children());
        world.start_role("a", "plain", &[]).await.unwrap();
        world.start_role("b", "stubborn", &[]).await.unwrap();
        for key in ["a/default/0", "b/default/0"] {
            say(&format!("child {}", world.record(key).pid));
        }
        return std::future::pending().await;
    }
    let test = "child_lives::children_die_with_a_server_that_is_killed";
    let mut server = itself(test, VICTIM, "1").stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let pids: Vec<u32> = lines.filter_map(|line| line.strip_prefix("child ")?.parse().ok()).take(2).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| runs(*pid)));
    server.kill().unwrap();
    server.wait().unwrap();
    for pid in pids {
        until("the child dies", || !runs(pid)).await;
    }
}
