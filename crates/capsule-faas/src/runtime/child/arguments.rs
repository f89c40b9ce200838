//! The words of a start body for a child process: which are the server's, which are the child's.

use capsule_faas_model::args::{FlagScope, FlagTable as _};
use capsule_faas_model::names::Key;
use capsule_faas_model::spec::Spec;
use capsule_hdk::{Capabilities, Reach};

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
/// What is in the child's environment, whatever program it is: in its arguments everybody would read it.
const ENVIRONMENT: &str = "env";
/// What the server says to a child of its own program, in its own words.
const GRANTED: [&str; 4] = [ENVIRONMENT, "dir", "allowHosts", "passEnv"];
/// The server puts a child to sleep itself, so that no call meets one that is just going. The child's own timer is later by
/// this many seconds: it is for a child that survives its server, where the system cannot end it.
const LATER: u64 = 60;

/// The arguments of a specification with `path`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// For the child, as they were written: the name of a flag, when it is one, with its words.
    own: Vec<(Option<String>, Vec<String>)>,
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
                arguments.own.push((None, std::iter::once(word).chain(words.by_ref()).cloned().collect()));
                break;
            }
            let Some((typed, value)) = flag(word) else {
                arguments.own.push((None, vec![word.clone()]));
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
                let words = std::iter::once(word).chain(next).cloned().collect();
                arguments.own.push((Some(name.to_owned()), words));
            }
        }
        arguments
    }

    /// The words for the child. One of the server's own program is told by the server what it may use.
    pub(crate) fn words(&self, is_own: bool) -> Vec<String> {
        let said = |name: &str| if is_own { GRANTED.contains(&name) } else { name == ENVIRONMENT };
        let kept = self.own.iter().filter(|(name, _)| !name.as_deref().is_some_and(said));
        kept.flat_map(|(_, words)| words.iter().cloned()).collect()
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
    words.extend(start.inherited.iter().cloned());
    if start.is_own {
        words.extend(granted(&start.config.capabilities));
        words.extend(start.redis_prefix.map(|prefix| format!("-redisPrefix={prefix}")));
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

/// What a `capsule-http` of its own opens to its module: what the server would, and no more. Calls come through the server
/// alone. That it reaches public addresses where none is named only it knows from `-parentEndpoint`.
fn granted(capabilities: &Capabilities) -> Vec<String> {
    let mut words = vec![format!("-httpHost={}", super::HOST)];
    if capabilities.folders.is_empty() {
        words.push("-dir=none".into());
    }
    for folder in &capabilities.folders {
        let (host, guest) = (folder.host.display().to_string(), &folder.guest);
        let name = if host == *guest { String::new() } else { format!(":{guest}") };
        words.push(format!("-dir={host}{name}{}", if folder.read_only { ":ro" } else { "" }));
    }
    // Names that a list of names can hold.
    let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let names: Vec<&str> = capabilities.environment.iter().map(|(name, _)| name.as_str()).filter(plain).collect();
    words.push(format!("-passEnv={}", if names.is_empty() { "none".into() } else { names.join(",") }));
    if !capabilities.network.allowed.is_empty() {
        words.push(format!("-allowHosts={}", capabilities.network.allowed.join(",")));
    } else if capabilities.network.reach == Reach::Nothing {
        words.push("-allowHosts=none".into());
    }
    words
}

/// `-name`, `--name`, `-name=value`, `--name=value`.
fn flag(word: &str) -> Option<(&str, Option<&str>)> {
    let rest = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
    (!name.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use capsule_hdk::{Folder, Network};

    use super::*;

    #[test]
    fn a_child_is_told_what_it_may_use() {
        let folder = |host: &str, guest: &str, read_only| Folder { host: host.into(), guest: guest.into(), read_only };
        let mut capabilities = Capabilities {
            folders: vec![folder("/a", "/a", false), folder("b", "/data", true)],
            environment: vec![("A".into(), "s3cret".into()), ("B,C".into(), String::new())],
            ..Capabilities::default()
        };
        let expected = ["-httpHost=127.0.0.1", "-dir=/a", "-dir=b:/data:ro", "-passEnv=A", "-allowHosts=none"];
        assert_eq!(granted(&capabilities), expected);
        capabilities.folders.clear();
        capabilities.environment.clear();
        capabilities.network = Network { reach: Reach::Public, allowed: Vec::new() };
        assert_eq!(granted(&capabilities), ["-httpHost=127.0.0.1", "-dir=none", "-passEnv=none"]);
        capabilities.network = Network { reach: Reach::Nothing, allowed: vec!["a".into(), "10.0.0.0/8".into()] };
        assert_eq!(granted(&capabilities).last().map(String::as_str), Some("-allowHosts=a,10.0.0.0/8"));
    }
}
