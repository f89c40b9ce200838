//! Every module of `fixtures/hostile/` does its trick on a real server, beside a neighbour who is served all the while. Order and
//! outcome are checked here; `cargo xtask hostile` holds the same modules to the figures.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use capsule_test::hostile::{Contract, Margins, Programs, Stage, contracts};
use capsule_test::program::Program;

/// Servers at the same time: most tricks end by waiting for a time limit.
const STAGES: usize = 4;

#[test]
fn every_hostile_module_is_held() {
    let contracts = contracts().unwrap();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        let mut stage = None;
        while let Some(contract) = contracts.get(next.fetch_add(1, Ordering::Relaxed)) {
            match play(stage.take(), contract) {
                Ok(sound) => stage = Some(sound),
                Err(error) => failures.lock().unwrap().push(format!("{}: {error:#}", contract.name)),
            }
        }
        if let Some(Err(error)) = stage.map(Stage::finish) {
            failures.lock().unwrap().push(format!("{error:#}"));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..STAGES {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), contracts.len(), failures.join("\n"));
}

/// Lets a module play on a server, a new one when there is none.
fn play(stage: Option<Stage>, contract: &Contract) -> anyhow::Result<Stage> {
    let mut stage = match stage {
        Some(stage) => stage,
        None => {
            let (http, terminal) = (Program::of_workspace("capsule-http")?, Program::of_workspace("capsule")?);
            Stage::start(Programs { http, terminal }, Margins::WIDE)?
        }
    };
    stage.play(contract)?;
    Ok(stage)
}
