//! Whatever comes from outside: no panic, and what is accepted comes out again as it went in.

use capsule_faas_model::functions_toml::FunctionsFile;
use capsule_faas_model::names::{FunctionName, Index, Key, Revision};
use capsule_faas_model::registry::Entry;
use capsule_faas_model::route::{Route, Weights};
use capsule_faas_model::spec::Environment;
use capsule_faas_model::stored::{SCHEMA, StoredError, decode, encode};
use capsule_faas_model::{args, target};
use proptest::prelude::*;

use super::*;

/// Lines of which some files of functions are made.
fn toml_line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[[function]]".to_owned()),
        Just("[route.hello]".to_owned()),
        Just("[function]".to_owned()),
        "(name|revision|wasm|url|env|args|stopAfter|blue|allowHosts|path) = (\"[a-z=/.]{0,6}\"|-?[0-9]{1,12}|0x[0-9a-f]{1,9}|\\[\"a=b\"\\]|\\{ a = 1 \\}|1e9|nan|true|1979-05-27)",
        "\\PC{0,20}",
    ]
}

proptest! {
    #[test]
    fn names_and_keys_round_trip(name in "[A-Za-z0-9._-]{1,64}", revision in "[A-Za-z0-9._-]{1,64}", index in 0..=999_999_999u32) {
        let (Ok(name), Ok(revision)) = (FunctionName::new(&name), Revision::new(&revision)) else {
            return Ok(());
        };
        let key = Key::new(name, revision, Index::try_from(index).unwrap());
        prop_assert_eq!(&key.to_string().parse::<Key>().unwrap(), &key);
        let json = serde_json::to_string(&key).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Key>(&json).unwrap(), &key);
        let tail = format!("{key}/rest?");
        prop_assert_eq!(
            target::parse(&tail).unwrap(),
            Target::Call {
                selector: Selector { name: key.name, revision: Some(key.revision), index: Some(key.index) },
                path: "/rest?",
            }
        );
    }

    #[test]
    fn texts_never_panic(text in "\\PC{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(key) = text.parse::<Key>() {
            prop_assert_eq!(key.to_string(), text.clone());
        }
        if let Ok(index) = text.parse::<Index>() {
            prop_assert_eq!(index.to_string(), text.clone());
        }
        for refusal in [target::parse(&text).err(), target::notify(&text).err()].into_iter().flatten() {
            prop_assert!(refusal.to_string().chars().count() < 250);
        }
        let _ = StartBody::parse(&bytes);
        let _ = Weights::parse(&bytes);
        let _ = Environment::from_json(&text);
        let _ = decode::<Entry>(&bytes);
        let _ = decode::<Route>(&bytes);
        let _ = FunctionsFile::parse(&text, &Table);
    }

    #[test]
    fn paths_never_panic(tail in "(start|drop|scale|route|hello|duplicate|health)?(/[a-z0-9.+%-]{0,3}){0,6}") {
        let _ = target::parse(&tail);
        let _ = target::notify(&tail);
    }

    #[test]
    fn files_never_panic(lines in prop::collection::vec(toml_line(), 0..16)) {
        let text = lines.join("\n");
        if let Err(problems) = FunctionsFile::parse(&text, &Table) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| (1..=lines.len().max(1)).contains(&problem.line)));
        }
    }

    #[test]
    fn masks_hold(words in prop::collection::vec("(--?)?(wasm|authHeaderValue|token|x)?(=s3cret)?", 0..8)) {
        let mut words = words;
        words.push("-authHeaderValue".to_owned());
        words.push("s3cret=s3cret".to_owned());
        let shown = args::masked(&words, &Table);
        prop_assert_eq!(shown.len(), words.len());
        for (word, shown) in words.iter().zip(&shown) {
            let secret = ["authHeaderValue=", "token="].iter().any(|flag| word.trim_start_matches('-').starts_with(flag));
            prop_assert!(!(secret && word.starts_with('-') && shown.contains("s3cret") && shown == word) || follows_a_flag(&words, word));
        }
        let _ = args::function_flags(&words, &Table);
    }

    #[test]
    fn start_bodies_round_trip(description in "\\PC{0,20}", args in prop::collection::vec("\\PC{0,9}", 0..4), env in prop::collection::vec("[A-Z]{1,3}=\\PC{0,5}", 0..4)) {
        let mut body = body("hello", "blue", "a");
        body.description = description;
        body.spec.args = args;
        body.spec.env = Environment::new(env).unwrap();
        let json = serde_json::to_vec(&body).unwrap();
        prop_assert_eq!(StartBody::parse(&json).unwrap(), body);
    }

    #[test]
    fn shares_are_within_tolerance(a in 0..1_000u32, b in 1..1_000u32, c in 0..1_000u32, from in any::<u64>()) {
        let all = [("a", a), ("b", b), ("c", c)];
        let weights = Weights::new(all.iter().map(|(name, weight)| (revision(name), *weight)).collect()).unwrap();
        let sum = f64::from(a + b + c);
        for (name, weight) in all {
            let hits = (0..2_000).filter(|step| weights.choose(from.wrapping_add(*step)).as_str() == name).count();
            let share = f64::from(weight) / sum;
            prop_assert!((hits as f64 / 2_000.0 - share).abs() < 0.005, "{name}: {hits} of 2000, expected {share}");
        }
    }
}

/// A value of the flag before looks like a flag and is not.
fn follows_a_flag(words: &[String], word: &str) -> bool {
    words.windows(2).any(|pair| pair[1] == word && pair[0].starts_with('-') && !pair[0].contains('='))
}

#[test]
fn deep_files_are_refused() {
    for text in ["[".repeat(100_000), format!("a = {}", "[".repeat(100_000)), format!("a = {}", "{a=".repeat(100_000))]
    {
        assert!(FunctionsFile::parse(&text, &Table).is_err());
    }
    let dotted = format!("[{}a]\n", "a.".repeat(100_000));
    assert!(FunctionsFile::parse(&dotted, &Table).is_err());
}

#[test]
fn stored_documents_say_their_schema() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    let entry = registry.iter().next().unwrap().entry.clone();
    let bytes = encode(&entry);
    let mut again: Entry = decode(&bytes).unwrap();
    assert!(!again.claimed);
    again.claimed = true;
    assert_eq!(again, entry);

    let mut newer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    newer["schema"] = (SCHEMA + 1).into();
    newer["value"] = "all is different".into();
    let error = decode::<Entry>(newer.to_string().as_bytes()).unwrap_err();
    assert_eq!(error, StoredError::Newer { found: SCHEMA + 1 });
    assert_eq!(error.to_string(), "schema 2 is newer than 1, which this version reads");

    let text = String::from_utf8(bytes).unwrap();
    for broken in [
        "",
        "{",
        "null",
        &text[..text.len() - 1],
        &text.replace("A=s3cret", "s3cret"),
        &text.replace("\"schema\":1", "\"schema\":0"),
    ] {
        let error = decode::<Entry>(broken.as_bytes()).unwrap_err();
        assert!(
            matches!(error, StoredError::Broken { .. }) && !error.to_string().contains("s3cret"),
            "{broken}: {error}"
        );
    }
    // A number that could not be counted on.
    let version = text.replace("\"version\":1", &format!("\"version\":{}", u64::MAX));
    assert!(decode::<Entry>(version.as_bytes()).is_err());
}

#[test]
fn a_store_changed_by_hand_is_mended() {
    let mut registry = Registry::new();
    start(&mut registry, "hello", "", "a");
    start(&mut registry, "hello", "blue", "b");
    let weights = Weights::parse(br#"{"blue":1}"#).unwrap();
    run(&mut registry, |registry| registry.set_route(&name("hello"), weights));
    let entries: Vec<(Key, Entry)> = registry.iter().map(|found| (found.key(), found.entry.clone())).collect();
    let routes: Vec<(FunctionName, Route)> =
        registry.routes().map(|(name, route)| (name.clone(), route.clone())).collect();

    // The revision of the route is gone, and a route is left of an unknown function.
    let mut lost = routes.clone();
    lost.push((name("other"), routes[0].1.clone()));
    let without: Vec<_> = entries.iter().filter(|(key, _)| key.revision.as_str() != "blue").cloned().collect();
    let restored = Registry::restore(without, lost);
    restored.check().unwrap();
    assert_eq!(restored.route(&name("hello")).unwrap().current, None);

    // Two entries claim one process and run different things.
    let mut same = entries.clone();
    let first = same[0].1.process;
    same[1].1.process = first;
    same.push(same[0].clone());
    let restored = Registry::restore(same, routes);
    restored.check().unwrap();
    assert_eq!(restored.names_of(first).count(), 1);
}
