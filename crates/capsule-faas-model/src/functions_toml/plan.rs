//! What the file of functions asks for, compared with what is registered.

use std::collections::BTreeSet;

use super::{FileProblem, FunctionsFile};
use crate::names::{FunctionName, Key, Revision};
use crate::registry::Registry;
use crate::route::Weights;
use crate::spec::{ModuleHash, Origin};
use crate::start::StartBody;
use crate::target::Selector;

/// One thing to do. Each is a command of the [`Registry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start a function that is not there: [`Registry::reserve_start`] with [`Origin::File`].
    Start(StartBody),
    /// Replace the process of a key: [`Registry::reserve_restart`].
    Restart(Key, StartBody),
    /// Split calls, or, with none, take the file's own route back: [`Registry::set_route_by_file`].
    Route(FunctionName, Option<Weights>),
    /// Forget a revision that the file no longer names: [`Registry::drop`].
    Drop(Selector),
}

/// What is to be done so that the registry follows the file: starts and restarts first, then routes, then drops, so that
/// calls have left a revision before it goes. What has not changed is in no step, even where it was scaled by a command.
///
/// A function is restarted when its entry in the file has changed, or its bytes have: `module` answers the bytes that a
/// body stands for now, or none to leave them out of the comparison (the stored bytes then win).
///
/// # Errors
/// A function of the file that a command has started, or a route to a revision that is nowhere, each at its line.
pub fn plan(
    file: &FunctionsFile,
    registry: &Registry,
    mut module: impl FnMut(&StartBody) -> Option<ModuleHash>,
) -> Result<Vec<Step>, Vec<FileProblem>> {
    let mut problems = Vec::new();
    let mut steps = Vec::new();
    let mut wanted: BTreeSet<(&FunctionName, &Revision)> = BTreeSet::new();
    for function in &file.functions {
        let body = &function.body;
        wanted.insert((&body.name, &body.revision));
        let selector = Selector { name: body.name.clone(), revision: Some(body.revision.clone()), index: None };
        let Ok(entries) = registry.select(&selector) else {
            steps.push(Step::Start(body.clone()));
            continue;
        };
        if let Some(clash) = entries.iter().find(|found| found.entry.origin != Origin::File) {
            let message = format!("`{selector}` is in the file, but `{}` was started by a command", clash.key());
            problems.push(FileProblem { line: function.line, message });
            continue;
        }
        let bytes = module(body);
        for found in entries {
            let spec = &found.entry.spec;
            let same_bytes = bytes.is_none() || bytes == spec.module;
            if !spec.same_words(&body.spec) || !same_bytes || found.entry.description != body.description {
                steps.push(Step::Restart(found.key(), body.clone()));
            }
        }
    }
    for route in &file.routes {
        let known = |revision: &&Revision| {
            let selector = Selector { name: route.name.clone(), revision: Some((*revision).clone()), index: None };
            // A revision that the file gives up is dropped in a moment.
            wanted.contains(&(&route.name, *revision))
                || registry
                    .select(&selector)
                    .is_ok_and(|found| found.iter().all(|found| found.entry.origin == Origin::Api))
        };
        match route.weights.iter().map(|(revision, _)| revision).find(|revision| !known(revision)) {
            Some(revision) => problems.push(FileProblem {
                line: route.line,
                message: format!("`route.{}`: there is no revision `{revision}`", route.name),
            }),
            None => {
                let weights = Some(route.weights.clone());
                if registry.route(&route.name).is_none_or(|current| current.from_file != weights) {
                    steps.push(Step::Route(route.name.clone(), weights));
                }
            }
        }
    }
    for (name, route) in registry.routes() {
        if route.from_file.is_some() && !file.routes.iter().any(|route| route.name == *name) {
            steps.push(Step::Route(name.clone(), None));
        }
    }
    let given_up = registry
        .iter()
        .filter(|found| found.entry.origin == Origin::File && !wanted.contains(&(found.name, found.revision)))
        .map(|found| (found.name, found.revision))
        .collect::<BTreeSet<_>>();
    steps.extend(given_up.into_iter().map(|(name, revision)| {
        Step::Drop(Selector { name: name.clone(), revision: Some(revision.clone()), index: None })
    }));
    if problems.is_empty() { Ok(steps) } else { Err(problems) }
}
