//! Commands that need no new process: duplicate, drop, route, rollback.

use super::{Change, Entry, Registry, Write};
use crate::names::{FunctionName, Key, Revision};
use crate::refusal::Refusal;
use crate::route::{Route, Weights};
use crate::spec::Origin;
use crate::target::Selector;

impl Registry {
    /// Gives the processes of a revision a second revision name, index for index. They live until the last name is
    /// dropped.
    ///
    /// The change is empty when that name already is theirs.
    ///
    /// # Errors
    /// There is no such revision; or a conflict: the new name belongs to other processes, or is being started.
    pub fn duplicate(&self, name: &FunctionName, revision: &Revision, new: &Revision) -> Result<Change, Refusal> {
        let (_, source) = self.function(name)?.1.find(name, revision.as_str())?;
        if revision == new {
            return Ok(Change::default());
        }
        let target = self.indexes(name, new);
        self.check_not_reserved(name, new, None)?;
        let taken = |entry: &Entry, index| source.entries.get(index).is_none_or(|other| other.process != entry.process);
        if target.is_some_and(|target| target.entries.iter().any(|(index, entry)| taken(entry, index))) {
            return Err(Refusal::conflict(format!("`{name}/{new}` exists, and is not `{name}/{revision}`")));
        }
        // A revision has one origin, and duplicates count as the API's.
        let of_file = target.is_some_and(|target| target.entries.values().any(|entry| entry.origin == Origin::File));
        let adds = |index| target.is_none_or(|target| !target.entries.contains_key(index));
        if of_file && source.entries.keys().any(adds) {
            return Err(Refusal::conflict(format!(
                "`{name}/{new}` was started by {}; a duplicate cannot add an index to it",
                Origin::File.label()
            )));
        }
        let mut writes = Vec::new();
        for (index, entry) in &source.entries {
            let before = target.and_then(|target| target.entries.get(index));
            let put = match before {
                None => Entry {
                    version: 1,
                    former: Some(revision.clone()),
                    origin: Origin::Api,
                    claimed: true,
                    ..Entry::clone(entry)
                },
                // Named again after a restart of the server: the next start must not take it over.
                Some(before) if !before.claimed => {
                    Entry { version: before.version + 1, claimed: true, ..Entry::clone(before) }
                }
                Some(_) => continue,
            };
            let key = Key::new(name.clone(), new.clone(), *index);
            writes.push(Write::Put { key, entry: put, expected: before.map(|before| before.version) });
        }
        Ok(Change { writes })
    }

    /// Forgets what a selector names: one index, or all of a revision (`default` when it names none).
    ///
    /// # Errors
    /// There is no such thing; or a conflict: the revision has weight in the route, or is being started.
    pub fn drop(&self, selector: &Selector) -> Result<Change, Refusal> {
        let found = self.select(selector)?;
        let name = &selector.name;
        let revision = selector.revision.clone().unwrap_or_default();
        self.check_not_reserved(name, &revision, selector.index)?;
        let (_, function) = self.function(name)?;
        let goes = self.indexes(name, &revision).is_some_and(|indexes| indexes.entries.len() == found.len());
        if goes && function.route.current.as_ref().is_some_and(|weights| weights.uses(&revision)) {
            return Err(Refusal::conflict(format!(
                "`{name}/{revision}` has weight in the route of `{name}`; change the route first"
            )));
        }
        let mut writes: Vec<Write> =
            found.iter().map(|found| Write::Remove { key: found.key(), expected: found.entry.version }).collect();
        if goes && function.revisions.len() == 1 && function.route.version > 0 {
            writes.push(Write::RemoveRoute { name: name.clone(), expected: function.route.version });
        }
        Ok(Change { writes })
    }

    /// Splits the calls of a function by weight; none sends all of them to `default` again.
    ///
    /// The change is empty when the route already is so.
    ///
    /// # Errors
    /// There is no such function; invalid when a revision of the weights is unknown.
    pub fn set_route(&self, name: &FunctionName, weights: Option<Weights>) -> Result<Change, Refusal> {
        let (_, function) = self.function(name)?;
        self.check_weights(name, weights.as_ref())?;
        if function.route.current == weights {
            return Ok(Change::default());
        }
        Ok(put_route(name, &function.route, function.route.set(weights)))
    }

    /// The same by the file of functions, which remembers what it asked for: what the file still says changes nothing that
    /// a command has set since.
    ///
    /// # Errors
    /// As [`Registry::set_route`].
    pub fn set_route_by_file(&self, name: &FunctionName, weights: Option<Weights>) -> Result<Change, Refusal> {
        let (_, function) = self.function(name)?;
        self.check_weights(name, weights.as_ref())?;
        if function.route.from_file == weights {
            return Ok(Change::default());
        }
        let before = &function.route;
        // A route that the file takes back may no longer be the file's.
        let kept = weights.is_none() && before.current != before.from_file;
        let mut next = before.set(if kept { before.current.clone() } else { weights.clone() });
        next.from_file = weights;
        Ok(put_route(name, before, next))
    }

    /// Restores the route before the current one; up to ten times in a row.
    ///
    /// # Errors
    /// There is no such function; or a conflict: there is nothing to go back to, or that route leads to a revision that is
    /// gone.
    pub fn rollback(&self, name: &FunctionName) -> Result<Change, Refusal> {
        let (_, function) = self.function(name)?;
        let before = &function.route;
        let next = before
            .back()
            .ok_or_else(|| Refusal::conflict(format!("function `{name}` has no route before the current one")))?;
        let default = Revision::default();
        let used: Vec<&Revision> = match &next.current {
            Some(weights) => weights.used().collect(),
            None => vec![&default],
        };
        if let Some(gone) = used.into_iter().find(|revision| !function.revisions.contains_key(*revision)) {
            return Err(Refusal::conflict(format!(
                "the route before of `{name}` leads to the revision `{gone}`, which is gone"
            )));
        }
        Ok(put_route(name, before, next))
    }

    fn check_weights(&self, name: &FunctionName, weights: Option<&Weights>) -> Result<(), Refusal> {
        let mut named = weights.into_iter().flat_map(Weights::iter).map(|(revision, _)| revision);
        match named.find(|revision| self.indexes(name, revision).is_none()) {
            Some(revision) => Err(Refusal::invalid(format!("function `{name}` has no revision `{revision}`"))),
            None => Ok(()),
        }
    }
}

fn put_route(name: &FunctionName, before: &Route, route: Route) -> Change {
    Change { writes: vec![Write::PutRoute { name: name.clone(), route, expected: before.version }] }
}
