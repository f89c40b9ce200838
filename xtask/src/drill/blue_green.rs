//! No call fails while traffic moves between revisions and revisions come, go and are scaled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use capsule_test::client::Response;
use capsule_test::guests;

use super::Options;
use super::pace::{Pace, wait_until};
use crate::faas::{Client, Kept, Start};

const SECONDS: u32 = 30;
const ROUNDS: u32 = 3;
/// Method, path behind `/functions/` and body; `start` starts what is missing. All in turn leave what there was before them.
pub(crate) const ACTS: [(&str, &str, &str); 12] = [
    ("PUT", "route/hello", r#"{"blue":90,"green":10}"#),
    ("PUT", "scale/hello/green/3", ""),
    ("PUT", "route/hello", r#"{"blue":50,"green":50}"#),
    ("DELETE", "drop/hello/old", ""),
    ("PUT", "route/hello", r#"{"blue":10,"green":90}"#),
    ("PUT", "scale/hello/green/1", ""),
    ("PUT", "route/hello", r#"{"green":1}"#),
    ("DELETE", "drop/hello/blue", ""),
    ("start", "blue", "hey"),
    ("start", "old", "hey"),
    ("POST", "rollback/hello", ""),
    ("PUT", "route/hello", r#"{"blue":1}"#),
];

pub(super) fn run(options: &Options) -> Result<String> {
    let kept = Kept::start(&options.programs)?;
    let mut admin = kept.client()?;
    prepare(&mut admin)?;

    let (blue, green) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let call = |client: &mut Client| {
        let counter = if is_of_blue(&client.call("hello", "Bob")?)? { &blue } else { &green };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let seconds = options.seconds.unwrap_or(SECONDS);
    let acts = ROUNDS * ACTS.len() as u32;
    let meanwhile = || {
        let begin = Instant::now();
        for number in 1..=acts {
            wait_until(begin + Duration::from_secs(seconds.into()) * number / (acts + 1));
            act(&mut admin, number as usize - 1)?;
        }
        Ok(())
    };
    let pace = Pace { connections: 16, calls_per_second: 2000, seconds };
    let seen = pace.run(kept.server.address(), call, meanwhile)?;
    let (blue, green) = (blue.into_inner(), green.into_inner());
    ensure!(blue > 0 && green > 0, "only one revision was called: {blue} and {green} calls");
    Ok(format!(
        "{} calls at {:.0}/s, {blue} of blue and {green} of green, {acts} acts, no call failed; {}",
        seen.timings.count(),
        seen.calls_per_second,
        seen.timings
    ))
}

/// Starts the revisions of `hello`.
pub(crate) fn prepare(admin: &mut Client) -> Result<()> {
    for (revision, module) in [("blue", "hey"), ("green", "faas-hello-orange"), ("old", "hey")] {
        start(admin, revision, module)?;
    }
    admin.admin("PUT", "/functions/route/hello", br#"{"blue":1}"#)?;
    Ok(())
}

/// The act of this number, from 0 on.
pub(crate) fn act(admin: &mut Client, number: usize) -> Result<()> {
    match ACTS[number % ACTS.len()] {
        ("start", revision, module) => start(admin, revision, module),
        (method, path, body) => admin.admin(method, &format!("/functions/{path}"), body.as_bytes()).map(drop),
    }
}

/// Whether `blue` gave this answer to `Bob`, not `green`; an error when it is neither's.
pub(crate) fn is_of_blue(answer: &Response) -> Result<bool> {
    match (answer.status, answer.header("x-capsule-revision"), answer.text().as_str()) {
        (200, Some("blue"), "👋 Hey Bob !") => Ok(true),
        (200, Some("green"), "🟠 👋 Hey Bob !") => Ok(false),
        (status, revision, text) => bail!("{status} of {revision:?}: `{text}`"),
    }
}

fn start(admin: &mut Client, revision: &str, module: &str) -> Result<()> {
    let module = guests::function(&format!("{module}/{module}.wasm"))?.display().to_string();
    admin.start(&Start { place: &format!("hello/{revision}"), module: &module, args: &[], env: &[] })?;
    Ok(())
}
