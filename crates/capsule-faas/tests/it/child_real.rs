//! The real `capsule-http` as the child process of a function.

use std::time::Duration;

use capsule_faas::runtime::Health;
use capsule_faas_model::names::Index;
use capsule_faas_model::record::Status;
use capsule_faas_model::route::Weights;
use capsule_hdk::Stream;
use futures_util::future::join_all;

use crate::child_support::{capsule_http, children, runs, text};
use crate::runtime_support::{World, name, revision, selector, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_child_answers_as_a_function_inside_does() {
    let world = World::with_children(children());
    world.start_real("hooks", "hooks.wat", &[]).await.unwrap();
    world.start_real("mirror", "mirror.wat", &[]).await.unwrap();
    let record = world.record("mirror/default/0");
    assert_eq!(record.current_status, Status::Started);
    assert_ne!(record.pid, std::process::id());
    assert!(record.http_port.parse::<u16>().unwrap() > 0);
    let headers = [("Host", "the-host"), ("Traceparent", "00-1"), ("CAPSULE_FAAS_TOKEN", "secret")];
    let answer = world.send("mirror", "POST", "/a%20path", &headers, "the body").await;
    assert_eq!(answer.status(), 200);
    let seen: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(seen["Method"], "POST");
    assert_eq!(seen["URI"], "http://the-host/a%20path");
    assert_eq!(seen["Body"], "the body");
    assert_eq!(seen["RequestId"], "an-id");
    let seen = text(&answer);
    assert!(seen.contains("00-1") && !seen.contains("secret"), "{seen}");
    let Health::Child(health) = world.faas.health(&selector("hooks")).await.unwrap() else { panic!("no health") };
    assert_eq!(health.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_mean_the_same_for_children() {
    let world = World::with_children(children());
    for colour in ["blue", "green"] {
        world.start_real(&format!("count/{colour}"), "counter.wat", &[]).await.unwrap();
    }
    let identity = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["id"].to_string();
    let (_, blue) = world.get("count/blue", "/").await;
    // A second name for the same process.
    world.faas.duplicate(name("count"), revision("blue"), revision("saved")).await.unwrap();
    world.faas.drop(selector("count/blue")).await.unwrap();
    assert_eq!(identity(&world.get("count/saved", "/").await.1), identity(&blue));
    // Calls go by the route, and back.
    let weights = Weights::parse(br#"{"saved": 1}"#).unwrap();
    world.faas.set_route(name("count"), weights).await.unwrap();
    assert_eq!(identity(&world.get("count", "/").await.1), identity(&blue));
    // Indexes have processes of their own, and calls are spread over them.
    world.faas.scale(name("count"), revision("green"), Index::try_from(3).unwrap()).await.unwrap();
    let mut found: Vec<String> = join_all((0..30).map(|_| world.get("count/green", "/")))
        .await
        .into_iter()
        .map(|(status, text)| {
            assert_eq!(status, 200, "{text}");
            identity(&text)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 3);
    let pids: Vec<u32> = (0..3).map(|index| world.record(&format!("count/green/{index}")).pid).collect();
    world.faas.drop(selector("count/green")).await.unwrap();
    for pid in pids {
        until("a dropped child ends", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_opens_no_more_to_its_module_than_the_server() {
    let world = World::with_children(children());
    let wasm = format!("-wasm={}", capsule_test::guests::fixture("services.wat").unwrap().display());
    let env = ["GREETING=hi".to_owned()];
    world.start_child("a", &capsule_http(), &[&wasm], &env).await.unwrap();
    let ask = async |place: &str, what: &str| text(&world.send(place, "POST", "/", &[("Host", "h")], what).await);
    assert_eq!(ask("a", "eGREETING").await, "hi");
    for variable in ["PATH", "HOME"] {
        assert_eq!(ask("a", &format!("e{variable}")).await, r#""""#);
    }
    let refused = ask("a", "rCargo.toml").await;
    assert!(refused.contains("--dir"), "{refused}");
    // Nobody listens there; but that is not known to one who may not look.
    let outbound = r#"h{"Method":"GET","URI":"http://127.0.0.1:9/"}"#;
    let refused = ask("a", outbound).await;
    assert!(refused.contains("--allowHosts"), "{refused}");
    world.start_child("b", &capsule_http(), &[&wasm, "-allowHosts=127.0.0.1"], &env).await.unwrap();
    let tried = ask("b", outbound).await;
    assert!(!tried.contains("--allowHosts"), "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_child_sleeps_and_a_call_wakes_it() {
    let world = World::with_children(children());
    world.start_real("a", "hooks.wat", &["-stopAfter=50"]).await.unwrap();
    let first = world.record("a/default/0").pid;
    until("sleep", || world.record("a/default/0").finished_at.is_some()).await;
    assert_eq!(world.status("a/default/0"), Status::Stopped);
    assert!(!runs(first));
    for round in 1..=4 {
        assert_eq!(world.get("a", "/").await.0, 200);
        until("sleep again", || world.status("a/default/0") == Status::Stopped).await;
        let stats = world.faas.stats();
        assert_eq!((stats[0].cold_starts.count(), stats[0].calls.succeeded), (round + 1, round));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_come_back_after_a_restart_of_the_server() {
    let world = World::with_children(children());
    world.start_real("a", "counter.wat", &[]).await.unwrap();
    let first = world.record("a/default/0").pid;
    let world = world.reopened();
    until("the old child ends", || !runs(first)).await;
    assert_eq!(world.status("a/default/0"), Status::Stopped);
    assert!(world.get("a", "/").await.1.ends_with(r#""count":1}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_runs_on_stop_in_children_and_leaves_none() {
    let world = World::with_children(children());
    world.start_real("a", "hooks.wat", &[]).await.unwrap();
    world.start_role("b", "parent", &[]).await.unwrap();
    let pids = [world.record("a/default/0").pid, world.record("b/default/0").pid];
    until("its line", || grandchild(&world).is_some()).await;
    let grandchild = grandchild(&world).unwrap();
    assert!(runs(grandchild));
    world.faas.stop(Duration::from_secs(5)).await;
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "not reaped");
    }
    until("the grandchild ends", || !runs(grandchild)).await;
    let text = world.output.text(Stream::Stdout);
    assert!(text.contains("a/default/0 OnStop\n"), "{text}");
}

fn grandchild(world: &World) -> Option<u32> {
    world.log("b").iter().find_map(|line| line.strip_prefix("grandchild ")?.parse().ok())
}
