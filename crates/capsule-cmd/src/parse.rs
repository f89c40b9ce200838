//! From words to values: Go's flag syntax over a [`Table`].
//!
//! `-name=value`, `--name=value`, `-name value` and `--name value` are the same; a switch takes a value only with `=`;
//! an empty value unsets a flag; operands and flags may be mixed until `--`. The parsers of the usual libraries read
//! Go's `-wasm=x` as a cluster of short flags, so these few rules are written here.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use crate::flags::{COMPLETIONS, Flag, HELP, Kind, Table, Type, VERSION};
use crate::redact;
use crate::suggest;
use crate::units;
use crate::usage::{Problem, Problems, UsageError};

/// The checked values of one command line, with the defaults of its table.
#[derive(Clone)]
pub struct Parsed {
    table: Table,
    /// Values by flag name, never empty. A switch has one of `true`, `false`.
    given: HashMap<&'static str, Vec<String>>,
    operands: Vec<String>,
    rest: Option<Vec<String>>,
}

/// What was given, with secrets masked: it may go to a log.
impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Parsed");
        for flag in self.given() {
            let values: Vec<String> =
                self.texts(flag).into_iter().map(|text| redact::value(flag.secret, text)).collect();
            shown.field(flag.name, &values);
        }
        shown.field("operands", &self.operands).field("rest", &self.rest).finish()
    }
}

impl Parsed {
    /// True when the flag was given on the command line or by its environment variable.
    pub fn is_given(&self, flag: &Flag) -> bool {
        self.given.contains_key(flag.name)
    }

    /// True when the switch is on.
    pub fn switch(&self, flag: &Flag) -> bool {
        matches!(self.text(flag).map(units::boolean), Some(Ok(true)))
    }

    /// The value, or the default; `None` when there is neither.
    pub fn text(&self, flag: &Flag) -> Option<&str> {
        let given = self.given.get(flag.name).and_then(|values| values.last()).map(String::as_str);
        given.or_else(|| Some(self.default_of(flag)).filter(|default| !default.is_empty()))
    }

    /// All values of a repeated flag in their order; the default alone when none was given.
    pub fn texts(&self, flag: &Flag) -> Vec<&str> {
        match self.given.get(flag.name) {
            Some(values) => values.iter().map(String::as_str).collect(),
            None => self.text(flag).into_iter().collect(),
        }
    }

    /// A duration; `None` when it is off or has no value.
    ///
    /// # Panics
    /// When the flag is not of [`Type::Duration`]: a mistake in the program.
    pub fn duration(&self, flag: &Flag) -> Option<Duration> {
        assert!(matches!(flag.value_type(), Some(Type::Duration)), "--{} is not a duration", flag.name);
        self.text(flag).and_then(|text| units::duration(text).expect("the parser checked it"))
    }

    /// A size in bytes; `None` when it is off or has no value.
    ///
    /// # Panics
    /// When the flag is not of [`Type::Size`]: a mistake in the program.
    pub fn size(&self, flag: &Flag) -> Option<u64> {
        assert!(matches!(flag.value_type(), Some(Type::Size)), "--{} is not a size", flag.name);
        self.text(flag).and_then(|text| units::size(text).expect("the parser checked it"))
    }

    /// A count; `None` when it is off or has no value.
    ///
    /// # Panics
    /// When the flag is not of [`Type::Count`]: a mistake in the program.
    pub fn count(&self, flag: &Flag) -> Option<u64> {
        assert!(matches!(flag.value_type(), Some(Type::Count)), "--{} is not a count", flag.name);
        self.text(flag).and_then(|text| units::count(text).expect("the parser checked it"))
    }

    /// A port number; `None` when it has no value.
    ///
    /// # Panics
    /// When the flag is not of [`Type::Port`]: a mistake in the program.
    pub fn port(&self, flag: &Flag) -> Option<u16> {
        assert!(matches!(flag.value_type(), Some(Type::Port)), "--{} is not a port", flag.name);
        self.text(flag).map(|text| units::port(text).expect("the parser checked it"))
    }

    /// The words that are not flags, before `--`.
    pub fn operands(&self) -> &[String] {
        &self.operands
    }

    /// The words after `--`; `None` when there was no `--`.
    pub fn rest(&self) -> Option<&[String]> {
        self.rest.as_deref()
    }

    /// The flags that were given, in the order of the table.
    pub fn given(&self) -> impl Iterator<Item = &Flag> {
        self.table.flags().iter().filter(|flag| self.is_given(flag))
    }

    /// The table's default; a flag that the program does not offer has the default of its record.
    fn default_of(&self, flag: &Flag) -> &'static str {
        self.table.find(flag.name).unwrap_or(flag).default
    }

    /// True when the user asked for help, version or completions.
    fn asks(&self) -> bool {
        [&HELP, &VERSION].into_iter().any(|flag| self.switch(flag)) || self.is_given(&COMPLETIONS)
    }
}

/// Reads words and environment variables. `args` does not contain the name of the program.
///
/// # Errors
/// Every problem at once: unknown flags, missing and wrong values, words that are not UTF-8. None of them hides an
/// answer to `--help`, `--version` or `--completions`.
pub fn parse(
    table: &Table,
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Parsed, UsageError> {
    let mut problems = Problems::new();
    let mut parsed = Parsed { table: table.clone(), given: HashMap::new(), operands: Vec::new(), rest: None };
    let mut words = args.into_iter().enumerate();
    while let Some((index, word)) = words.next() {
        let Ok(word) = word.into_string() else {
            problems.push(Problem::new(format!("argument {} is not valid UTF-8", index + 1)));
            continue;
        };
        if let Some(rest) = &mut parsed.rest {
            rest.push(word);
            continue;
        }
        if word == "--" {
            parsed.rest = Some(Vec::new());
            continue;
        }
        let Some(body) = flag_body(&word) else {
            parsed.operands.push(word);
            continue;
        };
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(flag) = table.resolve(name) else {
            problems.push(unknown(table, name));
            continue;
        };
        let value = match (inline, flag.kind) {
            (Some(value), _) => value.to_owned(),
            (None, Kind::Switch) => "true".to_owned(),
            (None, Kind::Value(_) | Kind::Repeated(_)) => match words.next().map(|(_, next)| next.into_string()) {
                Some(Ok(next)) => next,
                Some(Err(_)) => {
                    problems.push(Problem::new(format!("the value of `--{}` is not valid UTF-8", flag.name)));
                    continue;
                }
                None => {
                    let problem = Problem::new(format!("`--{}` needs a value, found the end of the line", flag.name));
                    problems.push(problem.hint(format!("write `{}`", flag.form())));
                    continue;
                }
            },
        };
        parsed.take(flag, value, &format!("--{}", flag.name), &mut problems);
    }
    for flag in table.flags() {
        let Some(variable) = flag.env.filter(|_| !parsed.is_given(flag)) else { continue };
        match env(variable).map(OsString::into_string) {
            None => {}
            Some(Ok(value)) => parsed.take(flag, value, variable, &mut problems),
            Some(Err(_)) => problems.push(Problem::new(format!("`{variable}` is not valid UTF-8"))),
        }
    }
    if parsed.asks() {
        return Ok(parsed);
    }
    problems.finish()?;
    Ok(parsed)
}

impl Parsed {
    /// Keeps one value; `origin` is the flag or the variable that a problem names.
    fn take(&mut self, flag: &Flag, value: String, origin: &str, problems: &mut Problems) {
        if value.is_empty() {
            self.given.remove(flag.name);
            return;
        }
        if let Err(message) = flag.check(&value) {
            problems.push(Problem::new(format!("`{origin}`: {message}")));
            return;
        }
        let values = self.given.entry(flag.name).or_default();
        if !matches!(flag.kind, Kind::Repeated(_)) {
            values.clear();
        }
        values.push(value);
    }
}

/// What follows the dashes; `None` for an operand. A lone `-` is an operand, as in Go.
fn flag_body(word: &str) -> Option<&str> {
    let body = word.strip_prefix('-').filter(|body| !body.is_empty())?;
    Some(body.strip_prefix('-').unwrap_or(body))
}

fn unknown(table: &Table, name: &str) -> Problem {
    let problem = Problem::new(format!("unknown flag `--{}`", suggest::shown(name)));
    match suggest::closest(name, table.flags().iter().map(|flag| flag.name)) {
        Some(close) => problem.hint(format!("did you mean `--{close}`?")),
        None => problem.hint("`--help` lists all flags; what follows `--` is never read as a flag"),
    }
}
