//! A hostile module plays: its trick, a good call after it, its end; and the server is looked at all the while.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};

use super::contract::{Contract, Entry, GOOD, Outcome};
use super::memory::{Change, Memory};
use super::pattern::Pattern;
use super::seen::Seen;
use super::stage::{Stage, problem};
use crate::client::{Connection, Response};
use crate::process::{Finished, Stream};
use crate::server::HttpServer;

/// What the start and the end of a program may take beside what it does, on a machine that is busy.
const PROCESS: Duration = Duration::from_secs(20);
/// `OnStop` may take a second, and that it is given up one more.
const DROP: Duration = Duration::from_secs(2);
/// A server for one module.
const ALONE: [&str; 2] = ["--httpHost=127.0.0.1", "--httpPort=0"];
/// An answer that is shown is cut here.
const SHOWN: usize = 160;
/// A function that there is not.
const NOBODY: &str = "/functions/nobody";

/// What came of the trick itself.
struct Trick {
    outcome: String,
    took: Duration,
    late: Option<Duration>,
    then: Option<(String, Duration)>,
}

impl Stage {
    /// Lets a module play.
    ///
    /// # Errors
    /// What did not come out as it has to.
    pub fn play(&mut self, contract: &Contract) -> anyhow::Result<Seen> {
        let process = self.server.process.id();
        self.neighbour.served(self.margins.neighbour)?;
        Memory::forget(process)?;
        let before = self.memory()?;
        let instances = self.metric("capsule_instances")?;
        let trick = match contract.at {
            Entry::Start => self.refused(contract),
            Entry::Http | Entry::Health => self.hosted(contract),
            Entry::Metrics => self.alone(contract),
            Entry::Text => self.in_a_terminal(contract),
        };
        ensure!(self.server.process.is_running(), "the server is gone: {:#}", error_of(trick));
        let served = self.neighbour.served(self.margins.neighbour)?;
        let trick = trick?;
        for expected in &contract.log {
            let found = |line: &str| expected.is_in(line).then_some(());
            self.server
                .process
                .wait_for(Stream::Stderr, found)
                .map_err(|_| anyhow!("no line `{expected}` in the log"))?;
        }
        let gone = Instant::now();
        let after = self.settled(before, instances)?;
        let settled = gone.elapsed();
        let peak = after.peak.saturating_sub(before.now);
        let change = Change { from: before.now, to: after.peak };
        ensure!(peak <= contract.peak, "it took {change} for a while, {} MiB are allowed", contract.peak >> 20);
        let longest = served.longest;
        ensure!(longest <= self.margins.neighbour, "the neighbour waited {longest:?}");
        let Trick { outcome, took, late, then } = trick;
        let neighbour = (longest, served.calls);
        Ok(Seen { outcome, took, late, then, neighbour, memory: (before, after), settled })
    }

    /// A module that cannot be started: neither here nor on a server of its own.
    fn refused(&mut self, contract: &Contract) -> anyhow::Result<Trick> {
        let Outcome::Answer(status, text) = &contract.expect else { bail!("a start is answered with a status") };
        let (mut outcome, mut took, mut late) = (String::new(), Duration::ZERO, None);
        // At the first time it is compiled too.
        for _ in 0..=self.margins.attempts {
            let begin = Instant::now();
            let answer = self.register(contract)?;
            took = begin.elapsed();
            check(answer.status, &problem(&answer), *status, text).context("its start")?;
            outcome = shown(answer.status, &problem(&answer));
            late = self.late(contract, text, took, Duration::ZERO)?;
            if late.is_none_or(|late| late <= self.margins.late) {
                break;
            }
        }
        self.check_late(late)?;
        self.is_unknown(contract).context("after its start was refused")?;
        let words = self.words(contract)?;
        let begin = Instant::now();
        let finished = self.programs.http.clone().args(ALONE).args(words).run()?;
        ensure!(begin.elapsed() <= PROCESS, "a server of its own took {:?} to refuse it", begin.elapsed());
        ensure!(finished.code == Some(1) && text.is_in(&finished.stderr()), "alone, expected `{text}`: {finished:?}");
        Ok(Trick { outcome, took, late, then: None })
    }

    /// A function of this server.
    fn hosted(&mut self, contract: &Contract) -> anyhow::Result<Trick> {
        let answer = self.register(contract)?;
        ensure!(answer.status == 200, "it does not start: {} {}", answer.status, problem(&answer));
        let played = self.tricks(contract).and_then(|(outcome, took, late)| {
            let (then, after) = self.good(&contract.then, &format!("/functions/{}", contract.name), self.address())?;
            Ok(Trick { outcome, took, late, then: Some((then, after)) })
        });
        let dropped = self.remove(contract);
        let played = played?;
        let took = dropped?;
        ensure!(took <= DROP + self.margins.late, "to drop it took {took:?}");
        Ok(played)
    }

    /// All calls of the trick; answers the longest, and the latest.
    fn tricks(&mut self, contract: &Contract) -> anyhow::Result<(String, Duration, Option<Duration>)> {
        let Outcome::Answer(status, text) = &contract.expect else { bail!("a call is answered with a status") };
        for attempt in 1.. {
            let (mut longest, mut outcome) = (Duration::ZERO, String::new());
            for _ in 0..contract.times {
                let took;
                (took, outcome) = self.at_once(contract, *status, text)?;
                longest = longest.max(took);
            }
            let late = self.late(contract, text, longest, Duration::ZERO)?;
            if attempt >= self.margins.attempts || late.is_none_or(|late| late <= self.margins.late) {
                self.check_late(late)?;
                return Ok((outcome, longest, late));
            }
        }
        unreachable!("there is an attempt")
    }

    /// One call by each client, all at once; answers the longest time, and one of the outcomes.
    fn at_once(&self, contract: &Contract, status: u16, text: &Pattern) -> anyhow::Result<(Duration, String)> {
        let address = self.address();
        let call = || -> anyhow::Result<(Duration, String)> {
            let mut connection = Connection::open(address)?;
            let (name, body) = (&contract.name, &contract.send);
            let request = match contract.at {
                Entry::Health => format!("GET /functions/health/{name} HTTP/1.1\r\nHost: stage\r\n\r\n"),
                _ => {
                    let length = body.len();
                    format!("POST /functions/{name} HTTP/1.1\r\nHost: stage\r\nContent-Length: {length}\r\n\r\n{body}")
                }
            };
            // Before the server can have it: whoever is interrupted here must not find the answer too early.
            let begin = Instant::now();
            connection.write(request.as_bytes())?;
            let answer = connection.read_response("POST")?;
            let took = begin.elapsed();
            let answered = if contract.at == Entry::Health { problem(&answer) } else { answer.text() };
            check(answer.status, &answered, status, text).with_context(|| format!("after {took:?}"))?;
            check_headers(&answer, contract)?;
            nothing_is_left(&mut connection, &answer)?;
            Ok((took, shown(answer.status, &answered)))
        };
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..contract.together).map(|_| scope.spawn(call)).collect();
            let (mut longest, mut outcome) = (Duration::ZERO, String::new());
            for call in calls {
                let took;
                (took, outcome) = call.join().map_err(|_| anyhow!("a client panicked"))??;
                longest = longest.max(took);
            }
            Ok((longest, outcome))
        })
    }

    /// A call that does not ask for the trick.
    fn good(
        &self,
        expected: &Outcome,
        path: &str,
        address: std::net::SocketAddr,
    ) -> anyhow::Result<(String, Duration)> {
        let Outcome::Answer(status, text) = expected else { bail!("a call is answered with a status") };
        let begin = Instant::now();
        let answer = Connection::open(address)?.send("POST", path, &[], GOOD.as_bytes())?;
        let took = begin.elapsed();
        check(answer.status, &answer.text(), *status, text).context("the good call after it")?;
        Ok((answer.status.to_string(), took))
    }

    /// A server of its own, which is asked for its metrics.
    fn alone(&mut self, contract: &Contract) -> anyhow::Result<Trick> {
        let Outcome::Answer(status, text) = &contract.expect else { bail!("a call is answered with a status") };
        let server = self.programs.http.clone().args(ALONE).args(self.words(contract)?);
        let server = HttpServer::launch(server)?;
        let begin = Instant::now();
        let answer = server.get("/metrics")?;
        let took = begin.elapsed();
        let first = answer.text().lines().next().unwrap_or_default().to_owned();
        check(answer.status, &first, *status, text)?;
        let late = self.late(contract, text, took, Duration::ZERO)?;
        self.check_late(late)?;
        let then = self.good(&contract.then, "/", server.address())?;
        server.stop()?.success().context("its server did not stop in good order")?;
        Ok(Trick { outcome: shown(answer.status, &first), took, late, then: Some(then) })
    }

    /// `capsule`, whose argument is the trick.
    fn in_a_terminal(&mut self, contract: &Contract) -> anyhow::Result<Trick> {
        let Outcome::Exit(code, text) = &contract.expect else { bail!("a program ends with an exit code") };
        let Outcome::Answer(_, then) = &contract.then else { bail!("a good call prints a text") };
        let words = self.words(contract)?;
        let run = |argument: &str| -> anyhow::Result<(Finished, Duration)> {
            let begin = Instant::now();
            let program = self.programs.terminal.clone().args(&words).arg(format!("--params={argument}"));
            let finished = program.run()?;
            Ok((finished, begin.elapsed()))
        };
        // The first one compiles the module, the second one shows what a run takes beside its call.
        run(GOOD)?;
        let (good, beside) = run(GOOD)?;
        ensure!(good.code == Some(0) && then.is(good.stdout().trim_end()), "a good call: {good:?}");
        let (finished, took) = run(&contract.send)?;
        ensure!(finished.code == Some(*code) && text.is_in(&finished.stderr()), "expected `{text}`: {finished:?}");
        let late = self.late(contract, text, took, beside)?;
        self.check_late(late)?;
        let stderr = finished.stderr();
        let line = stderr.lines().find(|line| text.is_in(line)).unwrap_or_default();
        let outcome = format!("exit {code} `{}`", cut(line));
        Ok(Trick { outcome, took, late, then: Some(("exit 0".to_owned(), beside)) })
    }

    /// How much later than its limit something came that was ended by it; `beside` is what it takes without its call.
    fn late(
        &self,
        contract: &Contract,
        text: &Pattern,
        took: Duration,
        beside: Duration,
    ) -> anyhow::Result<Option<Duration>> {
        if !text.is_late() {
            return Ok(None);
        }
        let limit = contract.time_limit()?.unwrap_or(self.margins.time_limit);
        // The server's clock begins a little later, so that it cannot be early.
        ensure!(took + Duration::from_millis(2) >= limit, "it came after {took:?}, before its limit of {limit:?}");
        Ok(Some(took.saturating_sub(limit + beside)))
    }

    fn check_late(&self, late: Option<Duration>) -> anyhow::Result<()> {
        let late = late.unwrap_or_default();
        ensure!(late <= self.margins.late, "it came {late:?} after its time limit");
        Ok(())
    }

    /// Waits until nothing is left of the module: no instance, and no memory beyond the margin.
    fn settled(&mut self, before: Memory, instances: f64) -> anyhow::Result<Memory> {
        let begin = Instant::now();
        loop {
            let after = self.memory()?;
            let left = self.metric("capsule_instances")? - instances;
            if left <= 0.0 && after.now <= before.now + self.margins.memory {
                return Ok(after);
            }
            let change = Change { from: before.now, to: after.now };
            ensure!(begin.elapsed() < self.margins.settle, "what is left of it: {left} instances, {change}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Compares an answer with what is expected.
fn check(status: u16, text: &str, expected: u16, pattern: &Pattern) -> anyhow::Result<()> {
    let matches = status == expected && pattern.is(text);
    ensure!(matches, "expected {expected} `{pattern}`, found {}", shown(status, text));
    Ok(())
}

/// An answer on one line.
fn shown(status: u16, text: &str) -> String {
    format!("{status} `{}`", cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}... ({} bytes)", text[..end].escape_debug(), text.len()),
        None => text.escape_debug().to_string(),
    }
}

/// What comes next on a connection is the answer to the next request, and no second one to the last.
fn nothing_is_left(connection: &mut Connection, answer: &Response) -> anyhow::Result<()> {
    if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        let rest = connection.read_to_end()?;
        ensure!(rest.is_empty(), "behind the answer: `{}`", cut(&String::from_utf8_lossy(&rest)));
        return Ok(());
    }
    let next = connection.send("GET", NOBODY, &[], b"")?;
    ensure!(next.status == 404, "the next answer on its connection: {}", shown(next.status, &next.text()));
    Ok(())
}

fn check_headers(answer: &Response, contract: &Contract) -> anyhow::Result<()> {
    for wanted in &contract.has {
        let (name, value) = wanted.split_once(": ").context("`has` is no `name: value`")?;
        let found = answer.headers.iter().any(|(known, found)| known.eq_ignore_ascii_case(name) && found == value);
        ensure!(found, "no header `{wanted}` in {:?}", answer.headers);
    }
    for name in &contract.lacks {
        ensure!(answer.header(name).is_none(), "a header `{name}` in {:?}", answer.headers);
    }
    Ok(())
}

fn error_of(trick: anyhow::Result<Trick>) -> anyhow::Error {
    trick.err().unwrap_or_else(|| anyhow!("it went on until then"))
}
