//! Calls of functions in child processes.

use crate::child_support::{children, text};
use crate::runtime_support::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_connection_stay_on_it() {
    let world = World::with_children(children());
    world.start_role("a", "plain", &[]).await.unwrap();
    let headers = [
        ("Host", "h"),
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
        ("X-Two", "a"),
        ("X-Two", "b"),
        ("Content-Length", "7"),
    ];
    let answer = world.send("a", "POST", "/headers", &headers, "").await;
    let mut seen: Vec<String> = text(&answer).lines().map(str::to_ascii_lowercase).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["content-length: 0", "host: h", "x-request-id: an-id", "x-two: a", "x-two: b"]);
    let names: Vec<_> = answer.headers().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-own"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_replaced_when_they_are_closed() {
    let world = World::with_children(children());
    world.start_role("keeps", "plain", &[]).await.unwrap();
    for _ in 0..20 {
        assert_eq!(world.get("keeps", "/").await, (200, "hello".into()));
    }
    // One was there to see whether it listens.
    let begun = world.log("keeps").iter().filter(|line| *line == "a connection began").count();
    assert!(begun < 20, "{begun} connections for 20 calls");

    world.start_role("closes", "closes", &[]).await.unwrap();
    let ended = || world.log("closes").iter().filter(|line| *line == "a connection ended").count();
    until("the first connection ends", || ended() >= 1).await;
    for call in 0..20 {
        assert_eq!(world.get("closes", "/").await, (200, "hello".into()));
        until("the connection of the call ends", || ended() >= call + 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_has_the_environment_of_its_start_body_alone() {
    let mut children = children();
    children.environment.retain(|(name, _)| name == "PATH");
    let world = World::with_children(children);
    world.start_role("a", "plain", &[]).await.unwrap();
    let (_, environment) = world.get("a", "/environment").await;
    let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell adds its own.
    let own: Vec<&str> = names.into_iter().filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name)).collect();
    assert_eq!(own, ["CHILD_PORT", "PATH", "ROLE", "TEST_PROGRAM"]);
}
