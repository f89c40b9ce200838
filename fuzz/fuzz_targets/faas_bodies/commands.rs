//! A sequence of commands over one registry and the life of one process. After each command the rules hold, the
//! restart of the server included.

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use capsule_faas_model::functions_toml::{FileFunction, FileRoute, FunctionsFile, Step, plan};
use capsule_faas_model::lifecycle::{Admission, Effect, Lifecycle, Now, Running, Sleep};
use capsule_faas_model::names::{FunctionName, Index, Key, Revision};
use capsule_faas_model::record::Record;
use capsule_faas_model::registry::{Change, Registry, Reservation, Scale};
use capsule_faas_model::route::Weights;
use capsule_faas_model::spec::Origin;
use capsule_faas_model::start::StartBody;
use capsule_faas_model::stored::{decode, encode};
use capsule_faas_model::target::Selector;
use jiff::Timestamp;

/// Commands of one sequence at most: a registry grows with each.
const COMMANDS: usize = 64;

/// What a client, the file of functions or the server does. Numbers choose among a few names, or among what is there.
#[derive(Debug, Arbitrary)]
enum Command {
    Start { which: Which, spec: u8, by_file: bool },
    Restart { which: Which, index: u8, spec: u8 },
    Scale { which: Which, count: u16 },
    Finish { nth: u8, well: bool },
    Duplicate { which: Which, new: u8 },
    Drop { which: Which, index: Option<u8> },
    Route { which: Which, weights: Option<[u32; 3]>, by_file: bool },
    Rollback(Which),
    File(Vec<(Which, u8)>),
    Resolve { which: Which, revision: bool, pick: u64 },
    RestartServer,
    Process(Event),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Which {
    name: u8,
    revision: u8,
}

/// What happens to a process.
#[derive(Debug, Arbitrary)]
enum Event {
    Call,
    CallEnds,
    Started,
    StartFails,
    Idle,
    LetGo,
    Stopped,
    Dies(bool),
    Retire,
    Time(u16),
}

impl Which {
    fn name(self) -> FunctionName {
        ["hello", "other"][usize::from(self.name % 2)].parse().expect("a name")
    }

    fn revision(self) -> Revision {
        revision(self.revision)
    }
}

fn revision(number: u8) -> Revision {
    Revision::new(["default", "blue", "green"][usize::from(number % 3)]).expect("a revision")
}

fn index(number: u8) -> Index {
    Index::try_from(u32::from(number % 8)).expect("an index")
}

fn body(which: Which, spec: u8) -> StartBody {
    let json = serde_json::json!({
        "name": which.name().as_str(), "revision": which.revision().as_str(),
        "args": ["", format!("-wasm={}.wasm", spec % 3)], "env": ["A=1"],
    });
    StartBody::parse(json.to_string().as_bytes()).expect("a body")
}

/// Reads commands from the bytes and carries them out.
pub(crate) fn run(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let mut server = Server::default();
    for _ in 0..COMMANDS {
        if bytes.is_empty() {
            break;
        }
        let Ok(command) = Command::arbitrary(&mut bytes) else { break };
        server.step(command);
        server.check();
    }
    server.step(Command::RestartServer);
    server.check();
}

struct Server {
    registry: Registry,
    reservations: Vec<Reservation>,
    process: Process,
}

impl Default for Server {
    fn default() -> Self {
        Self { registry: Registry::new(), reservations: Vec::new(), process: Process::new() }
    }
}

impl Server {
    fn step(&mut self, command: Command) {
        let registry = &mut self.registry;
        let now = Timestamp::UNIX_EPOCH;
        let change = match command {
            Command::Start { which, spec, by_file } => {
                let origin = if by_file { Origin::File } else { Origin::Api };
                self.reservations.extend(super::accepted(registry.reserve_start(body(which, spec), origin, now)));
                return;
            }
            Command::Restart { which, index: number, spec } => {
                let key = Key::new(which.name(), which.revision(), index(number));
                let reserved = registry.reserve_restart(&key, body(which, spec), now);
                self.reservations.extend(super::accepted(reserved));
                return;
            }
            Command::Scale { which, count } => {
                // The bound is a thousand; up to it takes too long to be done often.
                let count = if count < 1_000 { count % 12 } else { count };
                let count = Index::try_from(u32::from(count)).expect("an index");
                match super::accepted(registry.reserve_scale(&which.name(), &which.revision(), count, now)) {
                    Some(Scale::Up(reservations)) => {
                        self.reservations.extend(reservations);
                        return;
                    }
                    Some(Scale::Down(change)) => Some(change),
                    Some(Scale::Same) | None => return,
                }
            }
            Command::Finish { nth, well } => {
                if self.reservations.is_empty() {
                    return;
                }
                let reservation = self.reservations.swap_remove(usize::from(nth) % self.reservations.len());
                if !well {
                    registry.release(reservation);
                    return;
                }
                Some(reservation.change())
            }
            Command::Duplicate { which, new } => {
                super::accepted(registry.duplicate(&which.name(), &which.revision(), &revision(new)))
            }
            Command::Drop { which, index: number } => {
                let selector =
                    Selector { name: which.name(), revision: Some(which.revision()), index: number.map(index) };
                super::accepted(registry.drop(&selector))
            }
            Command::Route { which, weights, by_file } => {
                let Some(weights) = split(weights) else { return };
                super::accepted(match by_file {
                    true => registry.set_route_by_file(&which.name(), weights),
                    false => registry.set_route(&which.name(), weights),
                })
            }
            Command::Rollback(which) => super::accepted(registry.rollback(&which.name())),
            Command::File(functions) => return self.follow(&functions),
            Command::Resolve { which, revision, pick } => {
                let revision = revision.then(|| which.revision());
                let selector = Selector { name: which.name(), revision, index: None };
                if let Some(found) = super::accepted(registry.resolve(&selector, pick)) {
                    assert_eq!(registry.get(&found.key()), Some(found.entry));
                }
                return;
            }
            Command::RestartServer => {
                self.reservations.clear();
                self.registry = restored(&self.registry);
                return;
            }
            Command::Process(event) => return self.process.step(event),
        };
        if let Some(change) = change {
            self.commit(change);
        }
    }

    /// One command at a time plans, writes and commits: nothing is stale.
    fn commit(&mut self, change: Change) {
        let (puts, removals): (Vec<Key>, Vec<Key>) =
            (change.puts().cloned().collect(), change.removals().cloned().collect());
        let ended = self.registry.commit(change).expect("the change was planned just now");
        assert!(puts.iter().all(|key| self.registry.get(key).is_some()));
        assert!(removals.iter().all(|key| self.registry.get(key).is_none()));
        assert!(ended.iter().all(|process| self.registry.names_of(*process).next().is_none()));
    }

    /// Does what a file of functions asks for; the second time, nothing is left to do but what could not be done.
    fn follow(&mut self, functions: &[(Which, u8)]) {
        let mut file = FunctionsFile::default();
        for (which, spec) in functions.iter().take(6) {
            let body = body(*which, *spec);
            let known = file
                .functions
                .iter()
                .any(|other| (&other.body.name, &other.body.revision) == (&body.name, &body.revision));
            if !known {
                let weights = Weights::new(BTreeMap::from([(body.revision.clone(), 1)])).expect("one above zero");
                if !file.routes.iter().any(|route| route.name == body.name) {
                    file.routes.push(FileRoute { line: 1, name: body.name.clone(), weights });
                }
                file.functions.push(FileFunction { line: 1, body });
            }
        }
        let Ok(steps) = plan(&file, &self.registry, |_| None) else { return };
        let now = Timestamp::UNIX_EPOCH;
        let mut refused = false;
        for step in steps {
            let change = match step {
                Step::Start(body) => {
                    self.registry.reserve_start(body, Origin::File, now).map(|reserved| reserved.change())
                }
                Step::Restart(key, body) => {
                    self.registry.reserve_restart(&key, body, now).map(|reserved| reserved.change())
                }
                Step::Route(name, weights) => self.registry.set_route_by_file(&name, weights),
                Step::Drop(selector) => self.registry.drop(&selector),
            };
            match change {
                Ok(change) => self.commit(change),
                Err(refusal) => {
                    super::shown(&refusal);
                    refused = true;
                }
            }
        }
        if !refused {
            assert_eq!(plan(&file, &self.registry, |_| None), Ok(Vec::new()));
        }
    }

    fn check(&self) {
        self.registry.check().expect("the rules hold");
        self.process.check();
        if let Some(found) = self.registry.iter().next() {
            let record = Record::new(&found.key(), found.entry, &self.process.life, &super::Flags);
            let json = serde_json::to_vec(&record).expect("a record is JSON");
            assert_eq!(serde_json::from_slice::<Record>(&json).ok(), Some(record));
        }
    }
}

/// What a restart of the server makes of a registry, through bytes.
fn restored(registry: &Registry) -> Registry {
    let entries = registry.iter().map(|found| (found.key(), decode(&encode(found.entry)).expect("an entry")));
    let routes = registry.routes().map(|(name, route)| (name.clone(), decode(&encode(route)).expect("a route")));
    Registry::restore(entries, routes)
}

/// Weights of the three revisions; `None` when they are none.
fn split(weights: Option<[u32; 3]>) -> Option<Option<Weights>> {
    let Some(weights) = weights else { return Some(None) };
    let named = (0..).map(revision).zip(weights).filter(|(_, weight)| *weight > 0);
    super::accepted(Weights::new(named.collect())).map(Some)
}

/// The life of one process, under events in any order.
struct Process {
    life: Lifecycle,
    calls: u32,
    elapsed: Duration,
    forgotten: bool,
}

impl Process {
    fn new() -> Self {
        let sleep = Sleep { after: Some(Duration::from_secs(1)), stateless: true };
        Self { life: Lifecycle::starting(sleep), calls: 0, elapsed: Duration::ZERO, forgotten: false }
    }

    fn step(&mut self, event: Event) {
        let now = Now { elapsed: self.elapsed, wall: Timestamp::UNIX_EPOCH + self.elapsed };
        let effect = match event {
            Event::Call => {
                let admission = self.life.call(now);
                assert!(!self.forgotten || admission == Admission::Gone);
                self.calls += u32::from(admission == Admission::Go);
                None
            }
            Event::CallEnds if self.calls > 0 => {
                self.calls -= 1;
                self.life.call_ended(now.elapsed)
            }
            Event::CallEnds => None,
            Event::Started => self.life.started(now, Running::default()),
            Event::StartFails => self.life.start_failed(now, "no"),
            Event::Idle => self.life.idle(now),
            Event::LetGo => self.life.let_go(),
            Event::Stopped => self.life.stopped(now),
            Event::Dies(order) => self.life.died(now, order, "died"),
            Event::Retire => self.life.retire(now),
            Event::Time(milliseconds) => {
                self.elapsed += Duration::from_millis(milliseconds.into());
                None
            }
        };
        match effect {
            Some(Effect::Stop) => assert_eq!(self.calls, 0, "stopped under a call"),
            Some(Effect::Forget) => assert!(!std::mem::replace(&mut self.forgotten, true), "forgotten twice"),
            Some(Effect::Start) | None => {}
        }
    }

    fn check(&self) {
        assert_eq!(self.life.running_calls(), self.calls);
        assert!(self.life.idle_at().is_none() || self.calls == 0);
    }
}
