//! The file of functions: what a server starts without being told.
//!
//! ```toml
//! [[function]]
//! name = "hello"
//! revision = "blue"              # `default` when missing
//! description = "says hello"
//! wasm = "hello.wasm"            # or url = "https://..."
//! callTimeout = "2s"             # any flag of a function, in its own spelling
//! stopAfter = 10
//! args = ["-maxMemory=64MiB"]    # or as words
//! env = { GREETING = "hi" }      # or ["GREETING=hi"]
//! allowHosts = ["localhost:6379"]
//! redisPrefix = "hello:"
//! path = ""                      # an executable for a child process
//!
//! [route.hello]
//! blue = 90
//! green = 10
//! ```
//!
//! [`FunctionsFile::parse`] reads it, [`plan`] compares it with the registry.

mod plan;

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use plan::{Step, plan};

use crate::args::{FlagScope, FlagTable};
use crate::names::{FunctionName, Revision};
use crate::refusal::quote;
use crate::route::Weights;
use crate::spec::{Environment, Spec};
use crate::start::StartBody;

/// A function that the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFunction {
    /// The line at which it begins, from 1.
    pub line: usize,
    /// What to start; its `args` hold the flags.
    pub body: StartBody,
}

/// A route that the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRoute {
    /// The line at which it begins, from 1.
    pub line: usize,
    /// Whose calls it splits.
    pub name: FunctionName,
    /// How.
    pub weights: Weights,
}

/// What the file says. No name and revision comes twice; whether routes lead to something is for [`plan`] to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionsFile {
    /// In the order of the file.
    pub functions: Vec<FileFunction>,
    /// In the order of their names.
    pub routes: Vec<FileRoute>,
}

/// Something in the file that cannot be done. The text shows no values of the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct FileProblem {
    /// Where, from 1.
    pub line: usize,
    /// What was expected and what was found.
    pub message: String,
}

impl FunctionsFile {
    /// Reads the file. The flag table says which keys are flags of a function.
    ///
    /// # Errors
    /// All problems in the order of the file; for a file that is no TOML the first one only.
    pub fn parse(text: &str, table: &impl FlagTable) -> Result<Self, Vec<FileProblem>> {
        let lines = Lines::of(text);
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            // The error's own display repeats lines of the file, which may hold secrets.
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            vec![FileProblem { line: lines.at(at), message: format!("no TOML: {message}") }]
        })?;
        let mut reader = Reader { lines, table, problems: Vec::new() };
        let mut file = Self::default();
        for (key, value) in document.get_ref() {
            match key.get_ref().as_ref() {
                "function" => file.functions = reader.functions(value),
                "route" => file.routes = reader.routes(value),
                other => {
                    reader.problem(key.span().start, format!("expected `function` or `route`, found {}", quote(other)))
                }
            }
        }
        if reader.problems.is_empty() {
            return Ok(file);
        }
        reader.problems.sort_by_key(|problem| problem.line);
        Err(reader.problems)
    }
}

struct Reader<'a, T> {
    lines: Lines,
    table: &'a T,
    problems: Vec<FileProblem>,
}

impl<T: FlagTable> Reader<'_, T> {
    fn problem(&mut self, at: usize, message: impl Into<String>) {
        self.problems.push(FileProblem { line: self.lines.at(at), message: message.into() });
    }

    /// The value, or a problem at that place.
    fn accept<V>(&mut self, at: usize, result: Result<V, impl fmt::Display>) -> Option<V> {
        result.map_err(|error| self.problem(at, error.to_string())).ok()
    }

    fn functions(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<FileFunction> {
        let DeValue::Array(items) = value.get_ref() else {
            self.problem(value.span().start, "`function`: expected tables such as `[[function]]`, found another value");
            return Vec::new();
        };
        let mut functions = Vec::new();
        let mut lines: BTreeMap<(FunctionName, Revision), usize> = BTreeMap::new();
        for item in items {
            let DeValue::Table(fields) = item.get_ref() else {
                self.problem(
                    item.span().start,
                    "`function`: expected tables such as `[[function]]`, found another value",
                );
                continue;
            };
            let Some(function) = self.function(item.span().start, fields) else { continue };
            let StartBody { name, revision, .. } = &function.body;
            match lines.get(&(name.clone(), revision.clone())) {
                Some(first) => {
                    let message = format!("`{name}/{revision}` is already in line {first}");
                    self.problem(item.span().start, message);
                }
                None => {
                    lines.insert((name.clone(), revision.clone()), function.line);
                    functions.push(function);
                }
            }
        }
        functions
    }

    /// One `[[function]]`; none after a problem.
    fn function(&mut self, start: usize, fields: &DeTable<'_>) -> Option<FileFunction> {
        let before = self.problems.len();
        let (mut name, mut revision, mut description) = (None, Revision::default(), String::new());
        let mut spec = Spec::default();
        // As in a start body, the first argument stands for the program.
        let mut flags = vec![String::new()];
        let mut words = Vec::new();
        let mut has_module = false;
        for (key, value) in fields {
            let at = key.span().start;
            let key = key.get_ref().as_ref();
            match key {
                "name" => name = self.text(key, value).and_then(|text| self.accept(at, FunctionName::new(&text))),
                "revision" => {
                    let text = self.text(key, value).filter(|text| !text.is_empty());
                    let read = text.and_then(|text| self.accept(at, Revision::new(&text)));
                    revision = read.unwrap_or(revision);
                }
                "description" => description = self.text(key, value).unwrap_or_default(),
                "path" => spec.path = self.text(key, value).filter(|text| !text.is_empty()),
                "redisPrefix" => spec.redis_prefix = self.text(key, value).filter(|text| !text.is_empty()),
                "allowHosts" => spec.allow_hosts = self.texts(key, value),
                "args" => words = self.texts(key, value),
                "env" => {
                    let pairs = self.pairs(value);
                    spec.env = self.accept(at, Environment::new(pairs)).unwrap_or_default();
                }
                _ => match self.table.find(key).filter(|flag| flag.scope == FlagScope::Function) {
                    Some(flag) => {
                        has_module |= matches!(flag.name, "wasm" | "url");
                        flags.extend(self.scalar(key, value).map(|value| format!("-{}={value}", flag.name)));
                    }
                    None => self.problem(at, format!("unknown key {}", quote(key))),
                },
            }
        }
        has_module |= words.iter().any(|word| {
            let word = word.trim_start_matches('-');
            ["wasm", "url"]
                .iter()
                .any(|flag| word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
        });
        if before == self.problems.len() && name.is_none() {
            self.problem(start, "expected a `name` for the function, found none");
        }
        if before == self.problems.len() && !has_module {
            self.problem(start, "expected `wasm` or `url` for the function, found neither");
        }
        if before < self.problems.len() {
            return None;
        }
        flags.append(&mut words);
        spec.args = flags;
        Some(FileFunction { line: self.lines.at(start), body: StartBody { name: name?, revision, description, spec } })
    }

    fn routes(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<FileRoute> {
        let DeValue::Table(routes) = value.get_ref() else {
            self.problem(value.span().start, "`route`: expected tables such as `[route.hello]`, found another value");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in routes {
            let at = key.span().start;
            let Some(name) = self.accept(at, FunctionName::new(key.get_ref())) else { continue };
            let DeValue::Table(fields) = value.get_ref() else {
                self.problem(at, format!("`route.{name}`: expected weights such as `blue = 90`, found another value"));
                continue;
            };
            let before = self.problems.len();
            let mut weights = BTreeMap::new();
            for (key, value) in fields {
                let at = key.span().start;
                let number = value.get_ref().as_integer();
                let weight = number.and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
                match (self.accept(at, Revision::new(key.get_ref())), weight) {
                    (Some(revision), Some(weight)) => drop(weights.insert(revision, weight)),
                    (Some(revision), None) => {
                        let expected = format!("a whole number from 0 to {}", u32::MAX);
                        self.problem(
                            at,
                            format!("`route.{name}.{revision}`: expected {expected}, found another value"),
                        );
                    }
                    (None, _) => {}
                }
            }
            if before == self.problems.len()
                && let Some(weights) = self.accept(at, Weights::new(weights))
            {
                found.push(FileRoute { line: self.lines.at(at), name, weights });
            }
        }
        found
    }

    fn text(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = value.get_ref().as_str().filter(|text| !text.contains('\0')).map(str::to_owned);
        if text.is_none() {
            self.problem(value.span().start, format!("`{key}`: expected a text, found another value"));
        }
        text
    }

    fn texts(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        let DeValue::Array(items) = value.get_ref() else {
            self.problem(value.span().start, format!("`{key}`: expected an array of texts, found another value"));
            return Vec::new();
        };
        items.iter().filter_map(|item| self.text(key, item)).collect()
    }

    /// `env`: a table of texts, or an array of `NAME=value`.
    fn pairs(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        match value.get_ref() {
            DeValue::Table(variables) => variables
                .iter()
                .filter_map(|(name, value)| {
                    let name = name.get_ref();
                    if name.contains('=') {
                        self.problem(value.span().start, "`env`: expected names without `=`, found one with");
                        return None;
                    }
                    self.scalar("env", value).map(|value| format!("{name}={value}"))
                })
                .collect(),
            _ => self.texts("env", value),
        }
    }

    /// A text, number or boolean as a flag's value.
    fn scalar(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) if !text.contains('\0') => Some(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(value) => Some(value.to_string()),
            _ => {
                self.problem(
                    value.span().start,
                    format!("`{key}`: expected a text, number or boolean, found another value"),
                );
                None
            }
        }
    }
}

/// Where the lines of a text end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a place in the text, from 1.
    fn at(&self, at: usize) -> usize {
        1 + self.0.partition_point(|end| *end < at)
    }
}
