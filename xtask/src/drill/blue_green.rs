//! No call fails while traffic moves between revisions and revisions come, go and are scaled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use capsule_test::guests;

use super::Options;
use super::pace::{Pace, wait_until};
use crate::faas::{Client, Kept, Start};

const SECONDS: u32 = 30;
const ROUNDS: u32 = 3;
/// Method, path behind `/functions/` and body; `start` starts what is missing.
const ACTS: [(&str, &str, &str); 12] = [
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
    for (revision, module) in [("blue", "hey"), ("green", "faas-hello-orange"), ("old", "hey")] {
        start(&mut admin, revision, module)?;
    }
    admin.admin("PUT", "/functions/route/hello", br#"{"blue":1}"#)?;

    let (blue, green) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let call = |client: &mut Client| {
        let answer = client.call("hello", "Bob")?;
        let counter = match (answer.status, answer.header("x-capsule-revision"), answer.text().as_str()) {
            (200, Some("blue"), "👋 Hey Bob !") => &blue,
            (200, Some("green"), "🟠 👋 Hey Bob !") => &green,
            (status, revision, text) => bail!("{status} of {revision:?}: `{text}`"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let seconds = options.seconds.unwrap_or(SECONDS);
    let acts = ROUNDS * ACTS.len() as u32;
    let meanwhile = || {
        let begin = Instant::now();
        for number in 1..=acts {
            wait_until(begin + Duration::from_secs(seconds.into()) * number / (acts + 1));
            match ACTS[(number as usize - 1) % ACTS.len()] {
                ("start", revision, module) => start(&mut admin, revision, module)?,
                (method, path, body) => {
                    admin.admin(method, &format!("/functions/{path}"), body.as_bytes())?;
                }
            }
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

fn start(admin: &mut Client, revision: &str, module: &str) -> Result<()> {
    let module = guests::function(&format!("{module}/{module}.wasm"))?.display().to_string();
    admin.start(&Start { place: &format!("hello/{revision}"), module: &module, args: &[], env: &[] })?;
    Ok(())
}
