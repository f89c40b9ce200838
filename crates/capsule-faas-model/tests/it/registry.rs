//! Commands one after the other, as an administrator gives them.

use capsule_faas_model::lifecycle::{Lifecycle, Sleep};
use capsule_faas_model::names::Index;
use capsule_faas_model::record::Record;
use capsule_faas_model::registry::{Registry, Scale, Stale};
use capsule_faas_model::route::Weights;
use capsule_faas_model::spec::{ModuleHash, Origin};

use super::*;

fn refusal<T: std::fmt::Debug>(result: Result<T, capsule_faas_model::Refusal>) -> String {
    let refusal = result.unwrap_err();
    format!("{} {refusal}", refusal.status())
}

fn count(number: u32) -> Index {
    number.try_into().unwrap()
}

fn weights(json: &str) -> Option<Weights> {
    Weights::parse(json.as_bytes()).unwrap()
}

/// To how many different processes a thousand calls go, and how many of them to the first.
fn spread(registry: &Registry, text: &str) -> (usize, usize) {
    let selector = selector(text);
    let mut calls = std::collections::BTreeMap::new();
    for pick in 0..1_000 {
        *calls.entry(registry.resolve(&selector, pick).unwrap().entry.process).or_default() += 1;
    }
    (calls.len(), calls.into_values().next().unwrap())
}

#[test]
fn starts_count_up() {
    let mut registry = Registry::new();
    assert_eq!(start(&mut registry, "hello", "", "a"), "hello/default/0");
    assert_eq!(start(&mut registry, "hello", "", "a"), "hello/default/1");
    assert_eq!(start(&mut registry, "hello", "blue", "b"), "hello/blue/0");
    run(&mut registry, |registry| registry.drop(&selector("hello/default/0")));
    // After the highest, not into the gap.
    assert_eq!(start(&mut registry, "hello", "", "a"), "hello/default/2");
    assert_eq!(keys(&registry), "hello/blue/0 hello/default/1 hello/default/2");
}

#[test]
fn a_failed_start_leaves_nothing() {
    let mut registry = Registry::new();
    let first = registry.reserve_start(body("hello", "", "a"), Origin::Api, now()).unwrap();
    let second = registry.reserve_start(body("hello", "", "a"), Origin::Api, now()).unwrap();
    assert_eq!((first.key().index, second.key().index), (count(0), count(1)));
    assert_eq!(first.entry().cache, second.entry().cache);
    assert!(registry.is_empty() && registry.resolve(&selector("hello"), 0).is_err());
    registry.release(first);
    finish(&mut registry, &second);
    assert_eq!(keys(&registry), "hello/default/1");
}

#[test]
fn a_key_that_is_being_started_stays() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    let reservation = registry.reserve_start(body("hello", "", "a"), Origin::Api, now()).unwrap();
    let busy = "409 `hello/default/1` is being started; try again when that is done";
    assert_eq!(refusal(registry.drop(&selector("hello"))), busy);
    assert_eq!(refusal(registry.reserve_scale(&name("hello"), &revision("default"), count(1), now())), busy);
    // The other index is free.
    assert!(registry.drop(&selector("hello/default/0")).is_ok());
    finish(&mut registry, &reservation);
    assert!(registry.drop(&selector("hello")).is_ok());
}

#[test]
fn what_is_unknown_is_not_found() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "blue", "a");
    assert_eq!(refusal(registry.resolve(&selector("other"), 0)), "404 no function `other`");
    assert_eq!(refusal(registry.resolve(&selector("hello"), 0)), "404 function `hello` has no revision `default`");
    assert_eq!(refusal(registry.resolve(&selector("hello/blue/1"), 0)), "404 `hello/blue` has no index `1`");
    assert_eq!(refusal(registry.drop(&selector("hello/green"))), "404 function `hello` has no revision `green`");
    assert_eq!(refusal(registry.set_route(&name("other"), None)), "404 no function `other`");
    assert_eq!(refusal(registry.rollback(&name("other"))), "404 no function `other`");
}

#[test]
fn a_boot_script_changes_nothing() {
    let mut before = Registry::new();
    for revision in ["default", "default", "blue"] {
        start(&mut before, "hello", revision, "a");
    }
    run(&mut before, |registry| registry.duplicate(&name("hello"), &revision("blue"), &revision("saved")));
    let processes = |registry: &Registry| registry.iter().map(|found| found.entry.process).collect::<Vec<_>>();

    let mut after = restarted(&before);
    assert_eq!(start(&mut after, "hello", "default", "a"), "hello/default/0");
    assert_eq!(start(&mut after, "hello", "default", "a"), "hello/default/1");
    assert_eq!(start(&mut after, "hello", "blue", "a"), "hello/blue/0");
    let again = after.duplicate(&name("hello"), &revision("blue"), &revision("saved")).unwrap();
    assert_eq!(commit(&mut after, again), []);
    assert_eq!((keys(&after), processes(&after)), (keys(&before), processes(&before)));
    // All are claimed: now they count up again, the duplicate's too.
    assert_eq!(start(&mut after, "hello", "default", "a"), "hello/default/2");
    assert_eq!(start(&mut after, "hello", "saved", "a"), "hello/saved/1");
}

#[test]
fn a_changed_boot_script_replaces_the_process() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    let mut registry = restarted(&registry);
    let old = process(&registry, "hello/default/0");
    let mut changed = body("hello", "", "a");
    changed.spec.module = Some(ModuleHash::from_digest(&[1; 32]));
    let reservation = registry.reserve_start(changed.clone(), Origin::Api, now()).unwrap();
    assert!(reservation.is_new());
    // Calls go to the old one until the new one has started.
    assert_eq!(registry.resolve(&selector("hello"), 0).unwrap().entry.process, old);
    assert_eq!(finish(&mut registry, &reservation), [old]);
    assert_eq!(keys(&registry), "hello/default/0");
    // A failure leaves the restored one unclaimed.
    let mut registry = restarted(&registry);
    let kept = registry.reserve_start(changed, Origin::Api, now()).unwrap();
    assert!(!kept.is_new());
    registry.release(kept);
    assert_eq!(start(&mut registry, "hello", "", "other"), "hello/default/0");
}

#[test]
fn a_process_lives_until_its_last_name_goes() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    let shared = process(&registry, "hello/default/0");
    let (hello, default, saved) = (name("hello"), revision("default"), revision("saved"));
    run(&mut registry, |registry| registry.duplicate(&hello, &default, &saved));
    assert_eq!(process(&registry, "hello/saved/0"), shared);
    assert_eq!(registry.names_of(shared).count(), 2);
    let entry = registry.get(&"hello/saved/0".parse().unwrap()).unwrap();
    assert_eq!(entry.former, Some(default.clone()));

    // The same again is done already; onto another process it is a conflict.
    assert!(registry.duplicate(&hello, &default, &saved).unwrap().is_empty());
    assert!(registry.duplicate(&hello, &default, &default).unwrap().is_empty());
    start(&mut registry, "hello", "blue", "b");
    assert_eq!(
        refusal(registry.duplicate(&hello, &default, &revision("blue"))),
        "409 `hello/blue` exists, and is not `hello/default`"
    );

    assert_eq!(run(&mut registry, |registry| registry.drop(&selector("hello/default"))), []);
    assert_eq!(run(&mut registry, |registry| registry.drop(&selector("hello/saved"))), [shared]);
}

#[test]
fn scaling_starts_after_and_drops_from_the_highest() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    let (hello, default) = (name("hello"), revision("default"));
    let Scale::Up(reservations) = registry.reserve_scale(&hello, &default, count(3), now()).unwrap() else { panic!() };
    for reservation in &reservations {
        finish(&mut registry, reservation);
    }
    assert_eq!(keys(&registry), "hello/default/0 hello/default/1 hello/default/2");
    let (different, first) = spread(&registry, "hello");
    assert_eq!(different, 3);
    assert!((333..=334).contains(&first), "{first}");
    assert!(matches!(registry.reserve_scale(&hello, &default, count(3), now()), Ok(Scale::Same)));

    let Scale::Down(change) = registry.reserve_scale(&hello, &default, count(1), now()).unwrap() else { panic!() };
    let removed: Vec<String> = change.removals().map(ToString::to_string).collect();
    assert_eq!(removed, ["hello/default/1", "hello/default/2"]);
    assert_eq!(commit(&mut registry, change).len(), 2);

    for wrong in [0, 1_001] {
        assert_eq!(
            refusal(registry.reserve_scale(&hello, &default, count(wrong), now())),
            format!("422 count: expected 1 to 1000, found `{wrong}`")
        );
    }
}

#[test]
fn calls_go_to_equals_of_the_lowest_index() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    start(&mut registry, "hello", "", "other");
    start(&mut registry, "hello", "", "a");
    assert_eq!(spread(&registry, "hello"), (2, 500));
    assert_eq!(spread(&registry, "hello/default/1"), (1, 1_000));
    run(&mut registry, |registry| registry.drop(&selector("hello/default/0")));
    assert_eq!(spread(&registry, "hello"), (1, 1_000));
    assert_eq!(registry.resolve(&selector("hello"), 5).unwrap().index, count(1));
}

#[test]
fn weights_split_calls_and_hold_revisions() {
    let mut registry = Registry::new();
    for revision in ["blue", "green", "grey"] {
        start(&mut registry, "hello", revision, revision);
    }
    let hello = name("hello");
    let set = |registry: &mut Registry, json: &str| {
        let change = registry.set_route(&hello, weights(json)).unwrap();
        commit(registry, change);
    };
    set(&mut registry, r#"{"blue":90,"green":10,"grey":0}"#);
    let (different, blue) = spread(&registry, "hello");
    assert_eq!(different, 2);
    assert!((899..=901).contains(&blue), "{blue}");
    assert_eq!(spread(&registry, "hello/grey").0, 1);

    assert_eq!(
        refusal(registry.set_route(&hello, weights(r#"{"red":1}"#))),
        "422 function `hello` has no revision `red`"
    );
    assert_eq!(
        refusal(registry.drop(&selector("hello/green"))),
        "409 `hello/green` has weight in the route of `hello`; change the route first"
    );
    // One of two indexes may go, and so may a revision of weight 0.
    start(&mut registry, "hello", "green", "green");
    run(&mut registry, |registry| registry.drop(&selector("hello/green/0")));
    run(&mut registry, |registry| registry.drop(&selector("hello/grey")));

    set(&mut registry, r#"{"blue":1}"#);
    set(&mut registry, r#"{"green":1}"#);
    run(&mut registry, |registry| registry.drop(&selector("hello/blue")));
    // The history survives a restart.
    let mut registry = restarted(&registry);
    assert_eq!(
        refusal(registry.rollback(&hello)),
        "409 the route before of `hello` leads to the revision `blue`, which is gone"
    );
    start(&mut registry, "hello", "blue", "blue");
    run(&mut registry, |registry| registry.rollback(&hello));
    assert_eq!(registry.resolve(&selector("hello"), 7).unwrap().revision.as_str(), "blue");
    run(&mut registry, |registry| registry.rollback(&hello));
    assert_eq!(
        refusal(registry.rollback(&hello)),
        "409 the route before of `hello` leads to the revision `default`, which is gone"
    );
    // Without a route everything can be dropped, and the route goes with the last revision.
    set(&mut registry, "null");
    run(&mut registry, |registry| registry.drop(&selector("hello/green")));
    let last = registry.drop(&selector("hello/blue")).unwrap();
    assert_eq!(last.writes().len(), 2);
    commit(&mut registry, last);
    start(&mut registry, "hello", "", "a");
    assert_eq!(refusal(registry.rollback(&hello)), "409 function `hello` has no route before the current one");
}

#[test]
fn a_revision_belongs_to_who_started_it() {
    let mut registry = Registry::new();
    let reservation = registry.reserve_start(body("hello", "", "a"), Origin::File, now()).unwrap();
    let clash = "409 `hello/default` was started by the file of functions; a command cannot start it too";
    assert_eq!(refusal(registry.reserve_start(body("hello", "", "a"), Origin::Api, now())), clash);
    finish(&mut registry, &reservation);
    assert_eq!(refusal(registry.reserve_start(body("hello", "", "a"), Origin::Api, now())), clash);
    start(&mut registry, "hello", "blue", "a");
    assert_eq!(
        refusal(registry.reserve_start(body("hello", "blue", "a"), Origin::File, now())),
        "409 `hello/blue` was started by a command; the file of functions cannot start it too"
    );
}

#[test]
fn a_change_of_the_past_is_stale() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    let first = registry.drop(&selector("hello")).unwrap();
    let second = registry.drop(&selector("hello")).unwrap();
    let duplicate = registry.duplicate(&name("hello"), &revision("default"), &revision("saved")).unwrap();
    commit(&mut registry, first);
    assert_eq!(registry.commit(second), Err(Stale));
    // Its process is gone.
    assert_eq!(registry.commit(duplicate), Err(Stale));
    assert!(registry.is_empty());
}

#[test]
fn records_show_no_secrets() {
    let mut registry = Registry::new();
    let body = StartBody::parse(
        br#"{"name":"hello","description":"d","args":["","-wasm=a","-authHeaderValue=s3cret"],"env":["A=s3cret"]}"#,
    )
    .unwrap();
    let reservation = registry.reserve_start(body, Origin::Api, now()).unwrap();
    finish(&mut registry, &reservation);
    let found = registry.resolve(&selector("hello"), 0).unwrap();
    let process = Lifecycle::starting(Sleep::default());
    let record = serde_json::to_value(Record::new(&found.key(), found.entry, &process, &Table)).unwrap();
    let never = "0001-01-01T00:00:00Z";
    assert_eq!(
        record,
        serde_json::json!({
            "index": 0, "functionName": "hello", "functionRevision": "default", "formerFunctionRevision": "",
            "httpPort": "", "description": "d", "currentStatus": 0, "statusDescription": "Waiting",
            "createdAt": now().to_string(), "startedAt": never, "finishedAt": never, "cancelledAt": never,
            "failedAt": never, "checkedAt": never, "pid": 0, "path": "",
            "args": ["", "-wasm=a", "-authHeaderValue=***"], "env": null,
        })
    );
    assert!(!format!("{registry:?}").contains("s3cret"));
}
