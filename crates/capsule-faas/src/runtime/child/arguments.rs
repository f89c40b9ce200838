//! The words of a start body for a child process: which are the server's, which are the child's.

use capsule_faas_model::args::{FlagScope, FlagTable as _};
use capsule_faas_model::names::Key;
use capsule_faas_model::spec::Spec;
use capsule_hdk::Capabilities;

use super::Start;
use crate::runtime::platform::{Flags, Platform};

/// What the server decides for its children, or has done for them: never passed on as it was written. The second column:
/// whether the flag takes a value.
const SERVERS: [(&str, bool); 13] = [
    ("wasm", true),
    ("url", true),
    ("authHeaderName", true),
    ("authHeaderValue", true),
    ("registry", true),
    ("httpPort", true),
    ("crt", true),
    ("key", true),
    ("faas", false),
    ("parentEndpoint", true),
    ("moduleName", true),
    ("moduleRevision", true),
    ("stopAfter", true),
];
/// The server puts a child to sleep itself, so that no call meets one that is just going. The child's own timer is later by
/// this many seconds: it is for a child that survives its server, where the system cannot end it.
const LATER: u64 = 60;

/// The arguments of a specification with `path`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// For the child, as they were written.
    pub(crate) own: Vec<String>,
    /// What the server knows of the flags of a function.
    known: Vec<String>,
}

impl Arguments {
    /// Sorts the words; what the server does not know is the child's.
    pub(crate) fn of(spec: &Spec, platform: &dyn Platform) -> Arguments {
        let mut arguments = Arguments::default();
        let mut words = spec.args.iter().skip(1).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if word == "--" {
                arguments.own.push(word.clone());
                arguments.own.extend(words.by_ref().cloned());
                break;
            }
            let Some((typed, value)) = flag(word) else {
                arguments.own.push(word.clone());
                continue;
            };
            let info = Flags(platform).find(typed);
            let name = info.map_or(typed, |info| info.name);
            let servers = SERVERS.iter().find(|(server, _)| *server == name);
            let takes_next = value.is_none()
                && match (servers, info) {
                    (Some((_, takes_value)), _) => *takes_value,
                    (None, Some(info)) => !info.switch,
                    (None, None) => false,
                };
            let next = if takes_next { words.next() } else { None };
            if info.is_some_and(|info| info.scope == FlagScope::Function) {
                arguments.known.push(match value.or(next.map(String::as_str)) {
                    Some(value) => format!("-{name}={value}"),
                    None => format!("-{name}"),
                });
            }
            if servers.is_none() {
                arguments.own.push(word.clone());
                arguments.own.extend(next.cloned());
            }
        }
        arguments
    }

    /// The specification as one in the server's own process, for what the platform has to say about it.
    pub(crate) fn inside(self, spec: &Spec) -> Spec {
        let mut args = vec![String::new()];
        args.extend(self.known);
        Spec { path: None, args, ..spec.clone() }
    }
}

/// All words of the child: the reference's, then its own. Later ones win, where a program takes a flag twice.
pub(crate) fn words(start: &Start<'_>, port: u16, own: Vec<String>) -> Vec<String> {
    let Key { name, revision, .. } = start.key;
    let mut words = vec![format!("-wasm={}", start.module.display()), format!("-httpPort={port}")];
    if start.is_own {
        words.extend(closed(&start.config.capabilities));
    }
    words.push(format!("-parentEndpoint={}", start.children.parent_endpoint));
    words.push(format!("-moduleName={name}"));
    words.push(format!("-moduleRevision={revision}"));
    if let Some(after) = start.sleep_after {
        words.push(format!("-stopAfter={}", after.as_secs().saturating_add(LATER)));
    }
    words.extend(own);
    words
}

/// What keeps a `capsule-http` of its own from opening more to its module than the server would: calls come through the server
/// alone, and there is no folder, variable or address by default. That it reaches public addresses only it knows from
/// `-parentEndpoint`. Words of the start body that say more come later.
fn closed(capabilities: &Capabilities) -> Vec<String> {
    let mut words = vec![format!("-httpHost={}", super::HOST)];
    if capabilities.folders.is_empty() {
        words.push("-dir=none".into());
    }
    // Names that a list of names can hold.
    let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let names: Vec<&str> = capabilities.environment.iter().map(|(name, _)| name.as_str()).filter(plain).collect();
    words.push(format!("-passEnv={}", if names.is_empty() { "none".into() } else { names.join(",") }));
    if !capabilities.network.allowed.is_empty() {
        words.push(format!("-allowHosts={}", capabilities.network.allowed.join(",")));
    }
    words
}

/// `-name`, `--name`, `-name=value`, `--name=value`.
fn flag(word: &str) -> Option<(&str, Option<&str>)> {
    let rest = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
    (!name.is_empty()).then_some((name, value))
}
