//! What reaches a server of many functions: bodies, paths, files, stored documents, and any sequence of commands. Nothing panics,
//! what is accepted is read as the same when it is written again, and no command leaves a registry that breaks its rules.

#![no_main]

mod commands;

use capsule_faas_model::args::{self, FlagInfo, FlagScope, FlagTable};
use capsule_faas_model::functions_toml::FunctionsFile;
use capsule_faas_model::names::{FunctionName, Index, Key, Revision};
use capsule_faas_model::record::Listing;
use capsule_faas_model::registry::Entry;
use capsule_faas_model::route::{Route, Weights};
use capsule_faas_model::spec::{Environment, ModuleHash};
use capsule_faas_model::start::StartBody;
use capsule_faas_model::stored::{decode, encode};
use capsule_faas_model::target::{self, Target};
use capsule_faas_model::{Refusal, RefusalKind};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|bytes: &[u8]| {
    bodies(bytes);
    stored::<Entry>(bytes);
    stored::<Route>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        paths(text);
        names(text);
        files(text);
    }
    commands::run(bytes);
});

/// Long enough for what a message says by itself and the part of a client's text that it repeats.
const LONGEST_MESSAGE: usize = 600;

/// What was accepted; a refusal is one short line.
fn accepted<T>(result: Result<T, Refusal>) -> Option<T> {
    result.map_err(|refusal| shown(&refusal)).ok()
}

fn shown(refusal: &Refusal) {
    let text = refusal.to_string();
    assert!(text.len() <= LONGEST_MESSAGE && !text.contains(char::is_control), "{text:?}");
    assert!(matches!(refusal.kind(), RefusalKind::NotFound | RefusalKind::Conflict | RefusalKind::Invalid));
}

fn bodies(bytes: &[u8]) {
    if let Some(body) = accepted(StartBody::parse(bytes)) {
        let json = serde_json::to_vec(&body).expect("a body is JSON");
        assert_eq!(StartBody::parse(&json).as_ref(), Ok(&body));
        let flags = accepted(args::function_flags(&body.spec.args, &Flags));
        for flag in flags.iter().flatten() {
            // What is read of the words says the same as one word.
            let words = [String::new(), flag.to_word()];
            let switch = Flags.find(flag.name).is_some_and(|info| info.switch);
            if switch || flag.value.is_some() {
                let again = args::function_flags(&words, &Flags);
                assert!(again.as_deref() == Ok(std::slice::from_ref(flag)), "{}", flag.to_word());
            }
        }
        assert_eq!(args::masked(&body.spec.args, &Flags).len(), body.spec.args.len());
    }
    if let Some(Some(weights)) = accepted(Weights::parse(bytes)) {
        let json = serde_json::to_vec(&weights).expect("weights are JSON");
        assert_eq!(Weights::parse(&json).as_ref(), Ok(&Some(weights.clone())));
        for pick in [0, 1, u64::MAX, bytes.len() as u64] {
            assert!(weights.uses(weights.choose(pick)));
        }
    }
    if let Ok(listing) = serde_json::from_slice::<Listing>(bytes) {
        let json = serde_json::to_vec(&listing).expect("a listing is JSON");
        assert_eq!(serde_json::from_slice::<Listing>(&json).ok(), Some(listing));
    }
}

/// What a store holds.
fn stored<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    match decode::<T>(bytes) {
        Ok(value) => assert_eq!(decode::<T>(&encode(&value)).as_ref(), Ok(&value)),
        Err(error) => assert_eq!(error.to_string().lines().count(), 1),
    }
}

fn paths(tail: &str) {
    let _ = accepted(target::notify(tail)).map(|selector| {
        assert_eq!(target::notify(&selector.to_string()).map(|again| again.to_string()), Ok(selector.to_string()))
    });
    match accepted(target::parse(tail)) {
        None => {}
        Some(Target::Call { selector, path }) => {
            assert!(path.starts_with('/') && (path == "/" || tail.ends_with(path)));
            assert!(selector.index.is_none() || selector.revision.is_some());
            if selector.index.is_some() {
                let again = format!("{selector}{path}");
                assert_eq!(target::parse(&again), Ok(Target::Call { selector, path }));
            }
        }
        Some(Target::Admin(admin)) => {
            assert!(["GET", "POST", "PUT", "DELETE"].contains(&admin.method()));
            assert!(admin.is_guarded() || tail.starts_with("health/"));
        }
    }
}

fn names(text: &str) {
    if let Some(name) = accepted(FunctionName::new(text).map_err(Refusal::from)) {
        assert_eq!(name.as_str(), text);
        assert!(matches!(target::parse(text), Ok(Target::Call { .. })), "a name that cannot be called");
    }
    accepted(Revision::new(text).map_err(Refusal::from));
    accepted(text.parse::<Index>().map_err(Refusal::from)).inspect(|index| assert_eq!(index.to_string(), text));
    if let Some(key) = accepted(text.parse::<Key>().map_err(Refusal::from)) {
        assert_eq!(key.to_string(), text);
    }
    accepted(text.parse::<ModuleHash>()).inspect(|hash| assert_eq!(hash.as_str(), text));
    if let Some(environment) = accepted(Environment::from_json(text)) {
        let json = serde_json::to_string(&environment).expect("an environment is JSON");
        assert_eq!(Environment::from_json(&json), Ok(environment));
    }
}

/// A file of functions.
fn files(text: &str) {
    let lines = 1..=text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    match FunctionsFile::parse(text, &Flags) {
        Ok(file) => {
            for function in &file.functions {
                assert!(lines.contains(&function.line));
                let json = serde_json::to_vec(&function.body).expect("a body is JSON");
                assert_eq!(StartBody::parse(&json).as_ref(), Ok(&function.body));
            }
            assert!(file.routes.iter().all(|route| lines.contains(&route.line) && route.weights.used().count() > 0));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(lines.contains(&problem.line), "{problem}");
                assert_eq!(problem.to_string().lines().count(), 1, "{problem:?}");
            }
        }
    }
}

/// A small flag table in place of the server's.
struct Flags;

impl FlagTable for Flags {
    fn find(&self, typed: &str) -> Option<FlagInfo> {
        let flag = |name, scope, switch, secret| Some(FlagInfo { name, scope, switch, secret });
        match typed {
            "wasm" => flag("wasm", FlagScope::Function, false, false),
            "url" => flag("url", FlagScope::Function, false, false),
            "callTimeout" | "call-timeout" => flag("callTimeout", FlagScope::Function, false, false),
            "stopAfter" | "stop-after" => flag("stopAfter", FlagScope::Function, false, false),
            "authHeaderValue" => flag("authHeaderValue", FlagScope::Function, false, true),
            "quiet" => flag("quiet", FlagScope::Function, true, false),
            "httpPort" => flag("httpPort", FlagScope::Server, false, false),
            _ => None,
        }
    }

    fn mask(&self, secret: bool, value: &str) -> String {
        if secret { "***".to_owned() } else { value.to_owned() }
    }
}
