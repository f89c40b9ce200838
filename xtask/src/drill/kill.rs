//! SIGKILL in the middle of many starts loses none that was answered, and the same script run again changes nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use capsule_test::guests;

use super::Options;
use crate::faas::{Client, Kept, Start, each};

const STARTS: usize = 500;
const CONNECTIONS: usize = 16;

pub(super) fn run(options: &Options) -> Result<String> {
    let kept = Kept::start(&options.programs)?;
    let module = guests::fixture("services.wat")?.display().to_string();
    let start = |client: &mut Client, number: usize| {
        // Each is told who it is, so that an answer shows that a record is its own.
        let env = format!("WHO={number}");
        let key = client.start(&Start { place: &name(number), module: &module, args: &[], env: &[&env] })?;
        ensure!(key == format!("{}/default/0", name(number)), "the start of {number} answered `{key}`");
        Ok(key)
    };

    let (next, answered) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let Ok(mut client) = kept.client() else { return };
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // The server is killed at some point: who has no answer has no promise.
                    let Some(key) = (number < STARTS).then(|| start(&mut client, number).ok()).flatten() else {
                        return;
                    };
                    let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
                    answered.insert(key);
                    if answered.len() == STARTS / 2 {
                        // Fails only when it has ended already, which shows below.
                        let _ = kept.kill();
                    }
                }
            });
        }
    });
    let answered = answered.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(answered.len() >= STARTS / 2, "only {} starts were answered before the kill", answered.len());

    let kept = kept.restarted()?;
    let restored = keys(&kept)?;
    let lost: Vec<_> = answered.difference(&restored).collect();
    ensure!(lost.is_empty(), "{} of {} starts that were answered are lost: {lost:?}", lost.len(), answered.len());
    let answers = |client: &mut Client, number: usize| {
        let key = format!("{}/default/0", name(number));
        if restored.contains(&key) { client.expect(&key, "eWHO", &number.to_string()) } else { Ok(()) }
    };
    each(kept.server.address(), CONNECTIONS, STARTS, answers).context("after the restart")?;
    let script = |client: &mut Client, number: usize| start(client, number).map(drop);
    each(kept.server.address(), CONNECTIONS, STARTS, script).context("the script run again")?;
    let complete = keys(&kept)?;
    ensure!(complete.len() == STARTS, "{} processes instead of {STARTS}", complete.len());

    kept.kill()?;
    let kept = kept.restarted()?;
    each(kept.server.address(), CONNECTIONS, STARTS, script).context("the script after a second kill")?;
    ensure!(keys(&kept)? == complete, "the script changed what is there");
    let answers = |client: &mut Client, number: usize| client.expect(&name(number), "eWHO", &number.to_string());
    each(kept.server.address(), CONNECTIONS, STARTS, answers).context("at the end")?;
    Ok(format!(
        "killed after {} answered starts of {STARTS}, {} restored and all answer, none lost; the script run twice more leaves {STARTS}",
        answered.len(),
        restored.len(),
    ))
}

fn name(number: usize) -> String {
    format!("function-{number}")
}

fn keys(kept: &Kept) -> Result<BTreeSet<String>> {
    Ok(kept.client()?.processes()?.into_iter().map(|(key, _)| key).collect())
}
