//! A whole server in small: the registry, the lives of its processes and a store, under any sequence of commands, calls,
//! deaths and restarts. After each step the state is one that the rules allow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capsule_faas_model::lifecycle::{Admission, Effect, Lifecycle, Now, Running, Sleep};
use capsule_faas_model::names::Index;
use capsule_faas_model::record::Status;
use capsule_faas_model::registry::{Entry, Scale, Write};
use capsule_faas_model::route::{Route, Weights};
use capsule_faas_model::spec::ModuleHash;
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 2] = ["hello", "other"];
const REVISIONS: [&str; 3] = ["default", "blue", "green"];
const SLEEP: Sleep = Sleep { after: Some(Duration::from_secs(1)), stateless: false };

/// What happens. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Event {
    Start { name: usize, revision: usize, bytes: u8, by_file: bool },
    StartSucceeds(usize),
    StartFails(usize),
    Scale { name: usize, revision: usize, count: u32 },
    Duplicate { name: usize, from: usize, to: usize },
    Drop { name: usize, revision: usize, index: Option<u32> },
    Route { name: usize, weights: Option<[u32; 3]> },
    Rollback(usize),
    Call { name: usize, revision: Option<usize>, pick: u64 },
    CallEnds(usize),
    Started(usize),
    WakeFails(usize),
    Stopped(usize),
    Dies(usize, bool),
    Time(u64),
    ServerRestarts,
}

fn event() -> impl Strategy<Value = Event> {
    let (name, revision, some) = (|| 0..NAMES.len(), || 0..REVISIONS.len(), || 0..8usize);
    prop_oneof![
        4 => (name(), revision(), 0..2u8, prop::bool::weighted(0.1))
            .prop_map(|(name, revision, bytes, by_file)| Event::Start { name, revision, bytes, by_file }),
        4 => some().prop_map(Event::StartSucceeds),
        1 => some().prop_map(Event::StartFails),
        2 => (name(), revision(), 0..4u32).prop_map(|(name, revision, count)| Event::Scale { name, revision, count }),
        2 => (name(), revision(), revision()).prop_map(|(name, from, to)| Event::Duplicate { name, from, to }),
        2 => (name(), revision(), prop::option::of(0..3u32))
            .prop_map(|(name, revision, index)| Event::Drop { name, revision, index }),
        2 => (name(), prop::option::of([0..3u32, 0..3, 0..3])).prop_map(|(name, weights)| Event::Route { name, weights }),
        1 => name().prop_map(Event::Rollback),
        6 => (name(), prop::option::of(revision()), prop::num::u64::ANY)
            .prop_map(|(name, revision, pick)| Event::Call { name, revision, pick }),
        4 => some().prop_map(Event::CallEnds),
        3 => some().prop_map(Event::Started),
        1 => some().prop_map(Event::WakeFails),
        3 => some().prop_map(Event::Stopped),
        1 => (some(), prop::bool::ANY).prop_map(|(process, order)| Event::Dies(process, order)),
        3 => (0..3_000u64).prop_map(Event::Time),
        1 => Just(Event::ServerRestarts),
    ]
}

/// What a process is busy with on behalf of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Start,
    Stop,
}

#[derive(Default)]
struct World {
    registry: Registry,
    processes: BTreeMap<ProcessId, Lifecycle>,
    jobs: BTreeMap<ProcessId, Job>,
    reservations: Vec<Reservation>,
    /// The process of each call that runs.
    calls: Vec<ProcessId>,
    stored: BTreeMap<Key, Entry>,
    routes: BTreeMap<FunctionName, Route>,
    elapsed: Duration,
}

impl World {
    fn now(&self) -> Now {
        Now { elapsed: self.elapsed, wall: now() + self.elapsed }
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::Start { name, revision, bytes, by_file } => {
                let mut body = body(NAMES[name], REVISIONS[revision], "a");
                body.spec.module = Some(ModuleHash::from_digest(&[bytes; 32]));
                let origin = if by_file { Origin::File } else { Origin::Api };
                if let Ok(reservation) = self.registry.reserve_start(body, origin, now()) {
                    self.reserved(reservation);
                }
            }
            Event::StartSucceeds(at) => self.finish(at, true),
            Event::StartFails(at) => self.finish(at, false),
            Event::Scale { name: at, revision: of, count } => {
                let count = Index::try_from(count).unwrap();
                match self.registry.reserve_scale(&name(NAMES[at]), &revision(REVISIONS[of]), count, now()) {
                    Ok(Scale::Up(reservations)) => reservations.into_iter().for_each(|each| self.reserved(each)),
                    Ok(Scale::Down(change)) => self.commit(change),
                    Ok(Scale::Same) => {}
                    Err(refusal) => assert_eq!(count.get() == 0, refusal.status() == 422, "{refusal}"),
                }
            }
            Event::Duplicate { name: at, from, to } => {
                let (name, from, to) = (name(NAMES[at]), revision(REVISIONS[from]), revision(REVISIONS[to]));
                if let Ok(change) = self.registry.duplicate(&name, &from, &to) {
                    self.commit(change);
                    // Done once, it is done.
                    assert!(self.registry.duplicate(&name, &from, &to).unwrap().is_empty());
                }
            }
            Event::Drop { name, revision, index } => {
                let index = index.map(|index| format!("/{index}")).unwrap_or_default();
                let selector = selector(&format!("{}/{}{index}", NAMES[name], REVISIONS[revision]));
                if let Ok(change) = self.registry.drop(&selector) {
                    self.commit(change);
                    assert!(self.registry.resolve(&selector, 0).is_err());
                }
            }
            Event::Route { name: at, weights } => {
                let weights = match weights {
                    None => None,
                    Some(weights) => {
                        let pairs = REVISIONS.iter().zip(weights).filter(|(_, weight)| *weight > 0);
                        match Weights::new(pairs.map(|(name, weight)| (revision(name), weight)).collect()) {
                            Ok(weights) => Some(weights),
                            Err(_) => return,
                        }
                    }
                };
                if let Ok(change) = self.registry.set_route(&name(NAMES[at]), weights) {
                    self.commit(change);
                }
            }
            Event::Rollback(at) => {
                if let Ok(change) = self.registry.rollback(&name(NAMES[at])) {
                    self.commit(change);
                    assert!(self.registry.resolve(&selector(NAMES[at]), 0).is_ok());
                }
            }
            Event::Call { name, revision, pick } => {
                let revision = revision.map(|revision| format!("/{}", REVISIONS[revision])).unwrap_or_default();
                let Ok(found) = self.registry.resolve(&selector(&format!("{}{revision}", NAMES[name])), pick) else {
                    return;
                };
                let (id, now) = (found.entry.process, self.now());
                match self.processes.get_mut(&id).unwrap().call(now) {
                    Admission::Go => self.calls.push(id),
                    Admission::Start => self.effect(id, Some(Effect::Start)),
                    Admission::Wait => assert!(self.jobs.contains_key(&id), "a call waits for nothing"),
                    Admission::Later(wait) => assert!(!wait.is_zero() && wait <= Duration::from_secs(30)),
                    Admission::Gone => panic!("a name leads to a process that is gone"),
                }
            }
            Event::CallEnds(at) if !self.calls.is_empty() => {
                let id = self.calls.remove(at % self.calls.len());
                let now = self.now();
                // The process may have died and been forgotten before its call was over.
                let effect = self.processes.get_mut(&id).and_then(|process| process.call_ended(now.elapsed));
                self.effect(id, effect);
            }
            Event::Started(at) => {
                self.job_done(at, Job::Start, |process, now| process.started(now, Running::default()))
            }
            Event::WakeFails(at) => self.job_done(at, Job::Start, |process, now| process.start_failed(now, "no")),
            Event::Stopped(at) => self.job_done(at, Job::Stop, Lifecycle::stopped),
            Event::Dies(at, order) => {
                let Some(id) = self.processes.keys().nth(at).copied() else { return };
                // While it is started for a reservation, that tells how it went.
                if self.is_reserved(id) {
                    return;
                }
                let now = self.now();
                let effect = self.processes.get_mut(&id).unwrap().died(now, order, "died");
                self.jobs.remove(&id);
                self.effect(id, effect);
            }
            Event::Time(milliseconds) => {
                self.elapsed += Duration::from_millis(milliseconds);
                let now = self.now();
                let effects: Vec<_> = self.processes.iter_mut().map(|(id, process)| (*id, process.idle(now))).collect();
                for (id, effect) in effects {
                    assert!(effect.is_none() || !self.calls.contains(&id), "put to sleep under a call");
                    self.effect(id, effect);
                }
            }
            Event::ServerRestarts => {
                let registry = Registry::restore(self.stored.clone(), self.routes.clone());
                let processes: BTreeSet<ProcessId> = registry.iter().map(|found| found.entry.process).collect();
                *self = Self {
                    processes: processes.into_iter().map(|id| (id, Lifecycle::asleep(SLEEP))).collect(),
                    registry,
                    stored: std::mem::take(&mut self.stored),
                    routes: std::mem::take(&mut self.routes),
                    ..Self::default()
                };
            }
            Event::CallEnds(_) => {}
        }
    }

    fn is_reserved(&self, id: ProcessId) -> bool {
        self.reservations.iter().any(|reservation| reservation.is_new() && reservation.entry().process == id)
    }

    fn reserved(&mut self, reservation: Reservation) {
        if reservation.is_new() {
            let before = self.processes.insert(reservation.entry().process, Lifecycle::starting(SLEEP));
            assert!(before.is_none(), "an id is used twice");
        }
        self.reservations.push(reservation);
    }

    fn finish(&mut self, at: usize, well: bool) {
        if self.reservations.is_empty() {
            return;
        }
        let reservation = self.reservations.remove(at % self.reservations.len());
        let (id, now) = (reservation.entry().process, self.now());
        if !well {
            if reservation.is_new() {
                self.processes.remove(&id);
            }
            self.registry.release(reservation);
            return;
        }
        if reservation.is_new() {
            assert_eq!(self.processes.get_mut(&id).unwrap().started(now, Running::default()), None);
        }
        self.commit(reservation.change());
        assert!(self.registry.get(reservation.key()).is_some());
    }

    fn job_done(&mut self, at: usize, job: Job, event: impl FnOnce(&mut Lifecycle, Now) -> Option<Effect>) {
        let mut waiting = self.jobs.iter().filter(|(_, other)| **other == job);
        let Some(id) = waiting.nth(at).map(|(id, _)| *id) else { return };
        self.jobs.remove(&id);
        let now = self.now();
        let effect = event(self.processes.get_mut(&id).unwrap(), now);
        self.effect(id, effect);
    }

    fn effect(&mut self, id: ProcessId, effect: Option<Effect>) {
        match effect {
            None => {}
            Some(Effect::Forget) => assert!(self.processes.remove(&id).is_some(), "forgotten twice"),
            Some(effect) => {
                let job = if effect == Effect::Start { Job::Start } else { Job::Stop };
                assert_eq!(self.jobs.insert(id, job), None, "two jobs at once");
                assert!(job == Job::Start || !self.calls.contains(&id), "stopped under a call");
            }
        }
    }

    /// Writes, commits, and retires what has no name any more.
    fn commit(&mut self, change: Change) {
        for write in change.writes() {
            match write.clone() {
                Write::Put { key, entry, expected } => {
                    assert_eq!(entry.version, expected.unwrap_or(0) + 1);
                    let before = self.stored.insert(key, entry).map(|entry| entry.version);
                    assert_eq!(before, expected);
                }
                Write::Remove { key, expected } => {
                    assert_eq!(self.stored.remove(&key).map(|entry| entry.version), Some(expected));
                }
                Write::PutRoute { name, route, expected } => {
                    assert_eq!(route.version, expected + 1);
                    assert_eq!(self.routes.insert(name, route).map_or(0, |route| route.version), expected);
                }
                Write::RemoveRoute { name, expected } => {
                    assert_eq!(self.routes.remove(&name).map(|route| route.version), Some(expected));
                }
            }
        }
        let now = self.now();
        for id in self.registry.commit(change).unwrap() {
            let effect = self.processes.get_mut(&id).unwrap().retire(now);
            self.effect(id, effect);
        }
    }

    /// What must always hold.
    fn check(&self) {
        self.registry.check().unwrap();
        // Every name leads to a process that is not on its way out.
        for found in self.registry.iter() {
            let process = self.processes.get(&found.entry.process).expect("a name has a process");
            assert!(!matches!(process.status(), Status::Finished | Status::Cancelled), "{}", found.key());
        }
        for (id, process) in &self.processes {
            let calls = self.calls.iter().filter(|call| *call == id).count();
            assert_eq!(process.running_calls() as usize, calls, "calls are counted wrongly");
            // Nothing waits for ever: what starts or retires is somebody's job, or has calls that will end.
            let named = self.registry.names_of(*id).next().is_some();
            let at_work = self.jobs.contains_key(id) || self.is_reserved(*id);
            assert!(process.status() != Status::Waiting || at_work, "nobody starts it");
            assert!(named || at_work || calls > 0, "nobody ends it");
        }
        // The store holds what the registry holds.
        let registered: BTreeMap<Key, &Entry> = self.registry.iter().map(|found| (found.key(), found.entry)).collect();
        assert_eq!(self.stored.keys().collect::<Vec<_>>(), registered.keys().collect::<Vec<_>>());
        for (key, entry) in &self.stored {
            assert_eq!((entry.version, entry.process), (registered[key].version, registered[key].process));
        }
        for (name, route) in &self.routes {
            assert_eq!(self.registry.route(name), Some(route));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_sequence_leaves_an_allowed_state(events in prop::collection::vec(event(), 1..80)) {
        let mut world = World::default();
        for event in &events {
            world.step(event);
            world.check();
        }
        // In the end everything can be dropped, and nothing is left.
        for _ in 0..8 {
            world.step(&Event::StartFails(0));
        }
        while !world.reservations.is_empty() {
            world.step(&Event::StartFails(0));
        }
        for name in 0..NAMES.len() {
            world.step(&Event::Route { name, weights: None });
            for revision in 0..REVISIONS.len() {
                world.step(&Event::Drop { name, revision, index: None });
            }
        }
        while !world.calls.is_empty() {
            world.step(&Event::CallEnds(0));
        }
        while !world.jobs.is_empty() {
            world.step(&Event::Started(0));
            world.step(&Event::Stopped(0));
        }
        world.check();
        prop_assert!(world.registry.is_empty() && world.processes.is_empty());
        prop_assert!(world.stored.is_empty() && world.routes.is_empty());
    }
}
