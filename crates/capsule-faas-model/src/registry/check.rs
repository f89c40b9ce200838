//! What must always hold. Tests and fuzzers ask after each step; a server may ask when it has restored its registry.

use std::collections::BTreeMap;

use super::{Function, Indexes, ProcessId, Registry};
use crate::names::{FunctionName, Key, Revision};
use crate::route::HISTORY;
use crate::spec::Origin;

impl Registry {
    /// Checks the rules that no sequence of commands can break.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), String> {
        for (name, function) in &self.functions {
            function.check(name)?;
        }
        let mut names: BTreeMap<ProcessId, usize> = BTreeMap::new();
        let mut runs: BTreeMap<ProcessId, (&FunctionName, &crate::spec::Spec)> = BTreeMap::new();
        for found in self.iter() {
            let key = found.key();
            let process = found.entry.process;
            *names.entry(process).or_default() += 1;
            let first = *runs.entry(process).or_insert((found.name, &found.entry.spec));
            hold(first == (found.name, &found.entry.spec), || format!("`{key}`: one process runs two things"))?;
            hold(found.entry.version > 0, || format!("`{key}`: a version below 1"))?;
            hold(process.0.max(found.entry.cache.0) < self.next_id, || format!("`{key}`: an id of the future"))?;
        }
        hold(names == self.names, || "processes are counted wrongly".to_owned())?;
        for (key, reserved) in &self.reserved {
            let own = self.get(key).is_some_and(|entry| entry.process == reserved.process);
            hold(own || !self.names.contains_key(&reserved.process), || format!("`{key}` waits for a named process"))?;
        }
        Ok(())
    }
}

impl Function {
    fn check(&self, name: &FunctionName) -> Result<(), String> {
        hold(!self.revisions.is_empty(), || format!("`{name}` has no revision"))?;
        hold(self.route.history.len() <= HISTORY, || format!("the route of `{name}` remembers too much"))?;
        for revision in self.route.current.iter().flat_map(|weights| weights.used()) {
            let found = self.revisions.contains_key(revision);
            hold(found, || format!("the route of `{name}` leads to `{revision}`, which is not there"))?;
        }
        self.revisions.iter().try_for_each(|(revision, indexes)| indexes.check(name, revision))
    }
}

impl Indexes {
    fn check(&self, name: &FunctionName, revision: &Revision) -> Result<(), String> {
        let Some((lowest, first)) = self.entries.first_key_value() else {
            return Err(format!("`{name}/{revision}` has no index"));
        };
        hold(self.spread.first() == Some(lowest), || format!("`{name}/{revision}`: calls pass by the lowest index"))?;
        for (index, entry) in &self.entries {
            let key = Key::new(name.clone(), revision.clone(), *index);
            let spread = self.spread.contains(index);
            hold(spread == (entry.spec == first.spec), || format!("`{key}`: not like the lowest, or left out"))?;
            hold(entry.origin == first.origin, || format!("`{key}`: two origins in one revision"))?;
            let duplicate_of_file = entry.former.is_some() && entry.origin == Origin::File;
            hold(!duplicate_of_file, || format!("`{key}`: the file duplicates nothing"))?;
        }
        Ok(())
    }
}

fn hold(rule: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if rule { Ok(()) } else { Err(broken()) }
}
