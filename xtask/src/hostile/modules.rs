//! The hostile modules, one after the other on one server beside a neighbour. A server that has not survived one is replaced.

use std::path::Path;

use anyhow::{Context as _, Result};
use capsule_test::hostile::{Contract, Margins, Programs, Stage};
use capsule_test::program::Program;

use super::Report;

/// Plays all of them.
pub(super) fn run(folder: &Path, contracts: &[Contract], report: &mut Report) {
    let mut stage: Option<Stage> = None;
    for contract in contracts {
        let played = match stage.take().map_or_else(|| start(folder), Ok) {
            Ok(mut on) => on.play(contract).map(|seen| {
                stage = Some(on);
                seen.to_string()
            }),
            Err(error) => Err(error),
        };
        report.add(&contract.name, played);
    }
    if let Some(stage) = stage {
        report.add("the server after all of them", stage.finish());
    }
}

/// On a machine that does nothing else.
fn start(folder: &Path) -> Result<Stage> {
    let programs =
        Programs { http: Program::at(folder.join("capsule-http")), terminal: Program::at(folder.join("capsule")) };
    Stage::start(programs, Margins::IDLE).context("the server does not start")
}
