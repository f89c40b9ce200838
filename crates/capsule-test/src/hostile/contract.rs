//! The contract of a hostile module: the comment at the head of its text. Lines `;; KEY: VALUE` are for the machine, all others
//! say in words what it does. The keys are described in `fixtures/hostile/README.md`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::pattern::Pattern;

/// What a module is asked to do, and what has to come of it.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The name of its file, without extension.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Flags of the function, in which `Contract::with` fills in names.
    pub flags: Vec<String>,
    /// Environment variables of the function, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where the trick is.
    pub at: Entry,
    /// What it is sent.
    pub send: String,
    /// How often, one after the other.
    pub times: usize,
    /// By how many clients at once.
    pub together: usize,
    /// What has to come of it.
    pub expect: Outcome,
    /// Headers that the answer has, as `name: value`.
    pub has: Vec<String>,
    /// Names of headers that it has not.
    pub lacks: Vec<String>,
    /// What a good call right after it is answered.
    pub then: Outcome,
    /// What is in the server's log, when the function is gone.
    pub log: Vec<Pattern>,
    /// Memory in bytes that the server may have more than before, while the module does it.
    pub peak: u64,
}

/// By which way a module is made to do its trick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Its start: it cannot be registered, and no server starts with it.
    Start,
    /// A call over HTTP.
    Http,
    /// A question for its health.
    Health,
    /// A question for its metrics, on a server of its own: a server of functions asks none of them.
    Metrics,
    /// A call by `capsule`, in a terminal.
    Text,
}

/// What comes of a trick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status and text.
    Answer(u16, Pattern),
    /// The end of a program with this code, and this text on stderr.
    Exit(i32, Pattern),
}

/// Memory that a trick may cost when its contract does not say: what a function is given on the stage, some times over.
const PEAK: u64 = 192 << 20;
/// What a good call is sent.
pub(super) const GOOD: &str = "good";

impl Contract {
    /// Reads the head of a module.
    ///
    /// # Errors
    /// The file, or what is wrong with its head.
    pub fn read(path: &Path) -> anyhow::Result<Contract> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Contract::parse(path, &text).with_context(|| format!("the head of `{}`", path.display()))
    }

    fn parse(path: &Path, text: &str) -> anyhow::Result<Contract> {
        let mut contract = Contract {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_owned(),
            flags: Vec::new(),
            env: Vec::new(),
            at: Entry::Http,
            send: "trick".to_owned(),
            times: 1,
            together: 1,
            expect: Outcome::Exit(0, Pattern::new("")),
            has: Vec::new(),
            lacks: Vec::new(),
            then: Outcome::Answer(200, Pattern::new(GOOD)),
            log: Vec::new(),
            peak: PEAK,
        };
        let (mut words, mut expected) = (false, false);
        for line in text.lines().map_while(|line| line.strip_prefix(";;")).map(str::trim) {
            let Some((key, value)) = pair(line) else {
                words |= !line.is_empty();
                continue;
            };
            match key {
                "flags" => contract.flags.extend(value.split_whitespace().map(str::to_owned)),
                "env" => contract.env.push(value.to_owned()),
                "at" => contract.at = entry(value)?,
                "send" => contract.send = body(value)?,
                "times" => contract.times = value.parse().context("`times` is no number")?,
                "together" => contract.together = value.parse().context("`together` is no number")?,
                "expect" => (contract.expect, expected) = (outcome(value)?, true),
                "has" => contract.has.push(value.to_owned()),
                "lacks" => contract.lacks.push(value.to_owned()),
                "then" => contract.then = outcome(value)?,
                "log" => contract.log.push(quoted(value)?),
                "peak" => contract.peak = value.parse::<u64>().context("`peak` is no number of MiB")? << 20,
                other => bail!("unknown key `{other}`"),
            }
        }
        ensure!(words, "no words say what the module does");
        ensure!(expected, "no line `expect`");
        contract.can_fail()?;
        Ok(contract)
    }

    /// A module that did nothing would not come out as expected.
    fn can_fail(&self) -> anyhow::Result<()> {
        let (Outcome::Answer(_, text) | Outcome::Exit(_, text)) = &self.expect;
        ensure!(!text.is_anything(), "`expect` accepts any text");
        let seen = !self.log.is_empty() || !self.has.is_empty();
        let good = Outcome::Answer(200, Pattern::new(GOOD));
        ensure!(seen || self.expect != good, "what is expected is what a good call is answered too");
        Ok(())
    }

    /// The time limit of its calls, when it names one.
    ///
    /// # Errors
    /// Not a number of seconds or milliseconds.
    pub fn time_limit(&self) -> anyhow::Result<Option<Duration>> {
        let named = self.flags.iter().find_map(|flag| flag.trim_start_matches('-').strip_prefix("callTimeout="));
        named.map(duration).transpose()
    }

    /// Flags and variables, in which names in braces are replaced.
    pub(super) fn with(&self, names: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let fill = |texts: &[String]| {
            let filled = texts.iter().map(|text| {
                names.iter().fold(text.clone(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
            });
            filled.collect()
        };
        (fill(&self.flags), fill(&self.env))
    }
}

/// `key: value`, where the key is one word in small letters.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ")?;
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase());
    is_word.then(|| (key, value.trim()))
}

fn entry(word: &str) -> anyhow::Result<Entry> {
    Ok(match word {
        "start" => Entry::Start,
        "http" => Entry::Http,
        "health" => Entry::Health,
        "metrics" => Entry::Metrics,
        "text" => Entry::Text,
        other => bail!("`at` is `{other}`, expected start, http, health, metrics or text"),
    })
}

/// A text, or `TEXT * COUNT`.
fn body(value: &str) -> anyhow::Result<String> {
    Ok(match value.split_once(" * ") {
        Some((text, count)) => text.repeat(count.parse().context("`send` is repeated no number of times")?),
        None => value.to_owned(),
    })
}

/// `STATUS "TEXT"` or `exit CODE "TEXT"`.
fn outcome(value: &str) -> anyhow::Result<Outcome> {
    let (first, text) = value.split_once('"').context("no text in quotes")?;
    let text = Pattern::new(text.strip_suffix('"').context("no quote at the end")?);
    Ok(match first.trim().split_once(' ') {
        Some(("exit", code)) => Outcome::Exit(code.parse().context("no exit code")?, text),
        _ => Outcome::Answer(first.trim().parse().context("no status")?, text),
    })
}

fn quoted(value: &str) -> anyhow::Result<Pattern> {
    let text = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Ok(Pattern::new(text.context("no text in quotes")?))
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let parsed = match text.strip_suffix("ms") {
        Some(number) => number.parse().map(Duration::from_millis),
        None => text.trim_end_matches('s').parse().map(Duration::from_secs),
    };
    parsed.with_context(|| format!("`{text}` is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Contract> {
        Contract::parse(Path::new("/x/loop.wat"), text)
    }

    #[test]
    fn a_head_is_read() {
        let contract = parse(
            ";; Loops: for ever.\n;; flags: -callTimeout=300ms -dir={dir}\n;; env: A={dir}/x\n;; at: health\n\
             ;; send: ab * 3\n;; expect: 504 \"a \"b\" ...\"\n;; has: a: b\n;; log: \"x\"\n;; peak: 2\n(module)\n;; no: key\n",
        )
        .unwrap();
        assert_eq!((contract.name.as_str(), contract.at, contract.send.as_str()), ("loop", Entry::Health, "ababab"));
        assert_eq!(contract.expect, Outcome::Answer(504, Pattern::new("a \"b\" ...")));
        assert_eq!(contract.then, Outcome::Answer(200, Pattern::new("good")));
        assert_eq!(contract.time_limit().unwrap(), Some(Duration::from_millis(300)));
        let (flags, env) = contract.with(&[("dir", "/d")]);
        assert_eq!((flags.join(" ").as_str(), env.join(" ").as_str()), ("-callTimeout=300ms -dir=/d", "A=/d/x"));
        assert_eq!((contract.has, contract.peak), (vec!["a: b".to_owned()], 2 << 20));
        let exit = parse(";; Words.\n;; at: text\n;; expect: exit 1 \"no\"\n(module)").unwrap();
        assert_eq!(exit.expect, Outcome::Exit(1, Pattern::new("no")));
    }

    #[test]
    fn a_head_that_is_no_contract_is_refused() {
        for (head, expected) in [
            (";; expect: 200 \"\"\n", "no words say"),
            (";; Words.\n", "no line `expect`"),
            (";; Words.\n;; exepct: 200 \"\"\n", "unknown key `exepct`"),
            (";; Words.\n;; expect: 200\n", "no text in quotes"),
            (";; Words.\n;; expect: x \"\"\n", "no status"),
            (";; Words.\n;; at: where\n", "`at` is `where`"),
            (";; Words.\n;; expect: 500 \"...\"\n", "`expect` accepts any text"),
            (";; Words.\n;; expect: 200 \"good\"\n", "what is expected is what a good call"),
        ] {
            let error = format!("{:#}", parse(head).unwrap_err());
            assert!(error.starts_with(expected), "{head}: {error}");
        }
    }
}
