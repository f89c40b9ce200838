//! Many commands at the same time: each is all or nothing, and what was answered is there.

use std::collections::BTreeSet;

use capsule_faas_model::names::Index;
use futures_util::future::join_all;

use crate::runtime_support::{World, name, revision, says, selector};

const FRESH: &str = "-instances=fresh";

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_starts_at_once_are_all_there() {
    let world = World::new();
    let files: Vec<String> = (0..10)
        .map(|number| world.file(&format!("{number}.wat"), &says(&format!("text {number}"))).display().to_string())
        .collect();
    let starts = (0..500).map(|number| {
        let (world, wasm) = (&world, format!("-wasm={}", files[number % files.len()]));
        async move { world.start_args(&format!("f{number}"), &[&wasm, FRESH], &[]).await.unwrap().to_string() }
    });
    let keys = join_all(starts).await;
    let expected: Vec<String> = (0..500).map(|number| format!("f{number}/default/0")).collect();
    assert_eq!(keys, expected);
    // After a crash as before it.
    let world = world.reopened();
    assert_eq!(world.keys().len(), 500);
    for number in 0..500 {
        assert_eq!(world.ask(&format!("f{number}"), "").await, format!("text {}", number % files.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_of_one_function_have_an_index_each() {
    let world = World::new();
    let wasm = format!("-wasm={}", world.file("a.wat", &says("a")).display());
    let args = [wasm.as_str(), FRESH];
    let keys = join_all((0..40).map(|_| world.start_args("a", &args, &[]))).await;
    let keys: BTreeSet<String> = keys.into_iter().map(|key| key.unwrap().to_string()).collect();
    let expected: BTreeSet<String> = (0..40).map(|index| format!("a/default/{index}")).collect();
    assert_eq!(keys, expected);
    let world = world.reopened();
    assert_eq!(world.keys().into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_commands_at_the_same_time_are_not_mixed_up() {
    let world = World::new();
    let wasm = format!("-wasm={}", world.file("a.wat", &says("a")).display());
    join_all((0..30).map(|number| {
        let (world, wasm) = (&world, &wasm);
        async move {
            let function = format!("f{number}");
            world.start_args(&function, &[wasm, FRESH], &[]).await.unwrap();
            match number % 3 {
                0 => {
                    world.faas.scale(name(&function), revision("default"), Index::try_from(3).unwrap()).await.unwrap();
                }
                1 => world.faas.drop(selector(&function)).await.unwrap(),
                _ => {
                    world.faas.duplicate(name(&function), revision("default"), revision("b")).await.unwrap();
                    // One of the two has it, and the other hears that.
                    let place = format!("{function}/default");
                    let drops = join_all((0..2).map(|_| world.faas.drop(selector(&place)))).await;
                    assert_eq!(drops.iter().filter(|drop| drop.is_ok()).count(), 1);
                }
            }
        }
    }))
    .await;
    let expected: BTreeSet<String> = (0..30)
        .flat_map(|number| match number % 3 {
            0 => (0..3).map(|index| format!("f{number}/default/{index}")).collect(),
            1 => Vec::new(),
            _ => vec![format!("f{number}/b/0")],
        })
        .collect();
    assert_eq!(world.keys().into_iter().collect::<BTreeSet<_>>(), expected);
    let world = world.reopened();
    assert_eq!(world.keys().into_iter().collect::<BTreeSet<_>>(), expected);
    for key in expected {
        assert_eq!(world.ask(&key, "").await, "a");
    }
}
