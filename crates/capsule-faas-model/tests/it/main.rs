//! The rules through the public interface.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails as it should")]

mod functions_toml;
mod hostile;
mod registry;
mod world;

use capsule_faas_model::Refusal;
use capsule_faas_model::args::{FlagInfo, FlagScope, FlagTable};
use capsule_faas_model::names::{FunctionName, Key, Revision};
use capsule_faas_model::registry::{Change, ProcessId, Registry, Reservation};
use capsule_faas_model::spec::Origin;
use capsule_faas_model::start::StartBody;
use capsule_faas_model::target::{self, Selector, Target};
use jiff::Timestamp;

/// A few flags in place of a server's table.
struct Table;

impl FlagTable for Table {
    fn find(&self, typed: &str) -> Option<FlagInfo> {
        let flag = |name, scope, secret| Some(FlagInfo { name, scope, switch: false, secret });
        match typed {
            "wasm" => flag("wasm", FlagScope::Function, false),
            "url" => flag("url", FlagScope::Function, false),
            "stopAfter" => flag("stopAfter", FlagScope::Function, false),
            "authHeaderValue" => flag("authHeaderValue", FlagScope::Function, true),
            "httpPort" => flag("httpPort", FlagScope::Server, false),
            _ => None,
        }
    }

    fn mask(&self, secret: bool, value: &str) -> String {
        if secret { "***".to_owned() } else { value.to_owned() }
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn revision(text: &str) -> Revision {
    text.parse().unwrap()
}

fn body(name: &str, revision: &str, wasm: &str) -> StartBody {
    let json = format!(r#"{{"name":"{name}","revision":"{revision}","args":["","-wasm={wasm}"],"env":["A=s3cret"]}}"#);
    StartBody::parse(json.as_bytes()).unwrap()
}

fn selector(text: &str) -> Selector {
    match target::parse(text) {
        Ok(Target::Call { selector, .. }) => selector,
        other => panic!("{other:?}"),
    }
}

/// Commits what must not be stale.
fn commit(registry: &mut Registry, change: Change) -> Vec<ProcessId> {
    let ended = registry.commit(change).unwrap();
    registry.check().unwrap();
    ended
}

/// Carries out a command that must not be refused.
fn run(registry: &mut Registry, command: impl FnOnce(&Registry) -> Result<Change, Refusal>) -> Vec<ProcessId> {
    let change = command(registry).unwrap();
    commit(registry, change)
}

fn finish(registry: &mut Registry, reservation: &Reservation) -> Vec<ProcessId> {
    commit(registry, reservation.change())
}

/// A start that succeeds; answers the key.
fn start(registry: &mut Registry, name: &str, revision: &str, wasm: &str) -> String {
    let reservation = registry.reserve_start(body(name, revision, wasm), Origin::Api, now()).unwrap();
    finish(registry, &reservation);
    reservation.key().to_string()
}

/// What a restart of the server makes of a registry, through bytes.
fn restarted(registry: &Registry) -> Registry {
    use capsule_faas_model::stored::{decode, encode};
    let entries = registry.iter().map(|found| (found.key(), decode(&encode(found.entry)).unwrap()));
    let routes = registry.routes().map(|(name, route)| (name.clone(), decode(&encode(route)).unwrap()));
    let restored = Registry::restore(entries, routes);
    restored.check().unwrap();
    restored
}

fn keys(registry: &Registry) -> String {
    registry.iter().map(|found| found.key().to_string()).collect::<Vec<_>>().join(" ")
}

fn process(registry: &Registry, key: &str) -> ProcessId {
    registry.get(&key.parse::<Key>().unwrap()).unwrap().process
}
