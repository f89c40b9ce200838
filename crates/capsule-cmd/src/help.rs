//! Texts made from the flag table: `--help` and `--version`.

use std::fmt::Write as _;

use crate::completions::{self, Shell};
use crate::flags::{COMPLETIONS, Flag, HELP, Kind, Scope, Table, VERSION};
use crate::parse::{Parsed, parse};
use crate::usage::UsageError;

/// Help is wrapped at this many columns: it fits the narrowest usual terminal.
const WIDTH: usize = 80;

/// An environment variable that is no flag.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does, and its default. One or two sentences.
    pub help: &'static str,
}

/// One command line that teaches, with what it does.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What it shows, without a final dot.
    pub what: &'static str,
    /// The line as it is typed.
    pub line: &'static str,
}

/// A program as its users see it.
#[derive(Debug, Clone)]
pub struct Program {
    /// The name of the executable.
    pub name: &'static str,
    /// The version that `--version` prints.
    pub version: &'static str,
    /// What it does, in one to three sentences.
    pub about: &'static str,
    /// The forms of its command line, without its name.
    pub usage: &'static [&'static str],
    /// Command lines to learn from.
    pub examples: &'static [Example],
    /// Environment variables beside those of the flags.
    pub variables: &'static [Variable],
    /// Exit codes with their meaning; [`crate::exit::CODES`] unless the program has more.
    pub exit_codes: &'static [(&'static str, &'static str)],
    /// All flags.
    pub table: Table,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Print this text to stdout and exit with 0.
    Print(String),
    /// Run with these values.
    Run(Box<Parsed>),
}

impl Program {
    /// Reads the words after the program's name, and environment variables through `env`.
    ///
    /// # Errors
    /// All problems of the command line. A line without any word is not one: the program decides.
    pub fn parse(
        &self,
        args: impl IntoIterator<Item = std::ffi::OsString>,
        env: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Request, UsageError> {
        let parsed = parse(&self.table, args, env)?;
        if parsed.switch(&HELP) {
            return Ok(Request::Print(self.help()));
        }
        if parsed.switch(&VERSION) {
            return Ok(Request::Print(self.version_line()));
        }
        if let Some(shell) = parsed.text(&COMPLETIONS).and_then(Shell::named) {
            return Ok(Request::Print(completions::script(shell, self)));
        }
        Ok(Request::Run(Box::new(parsed)))
    }

    /// `name version`, with a newline.
    pub fn version_line(&self) -> String {
        format!("{} {}\n", self.name, self.version)
    }

    /// The text of `--help`.
    pub fn help(&self) -> String {
        let mut out = format!("{} {}\n", self.name, self.version);
        wrap(&mut out, "", self.about);
        out.push_str("\nUsage:\n");
        for form in self.usage {
            let _ = writeln!(out, "  {} {form}", self.name);
        }
        if !self.examples.is_empty() {
            out.push_str("\nExamples:\n");
            for example in self.examples {
                let _ = writeln!(out, "  # {}\n  {}", example.what, example.line);
            }
        }
        for (group, flags) in self.groups() {
            let _ = writeln!(out, "\n{group}:");
            for flag in flags {
                let _ = writeln!(out, "  {}", flag.form());
                wrap(&mut out, "        ", &described(flag));
            }
        }
        let variables = self.all_variables();
        if !variables.is_empty() {
            out.push_str("\nEnvironment:\n");
            for (name, help) in variables {
                let _ = writeln!(out, "  {name}");
                wrap(&mut out, "        ", &help);
            }
        }
        out.push_str("\nExit codes:\n");
        for (code, meaning) in self.exit_codes {
            let _ = writeln!(out, "  {code}  {meaning}");
        }
        out.push_str("\nSyntax:\n");
        wrap(&mut out, "  ", SYNTAX);
        out
    }

    /// The words that a command line may begin with, for a program that has commands: those that its forms of usage begin with.
    pub(crate) fn commands(&self) -> Vec<&'static str> {
        let first = self.usage.iter().filter_map(|form| form.split_whitespace().next());
        first.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())).collect()
    }

    /// The groups in the order in which the table names them first.
    fn groups(&self) -> Vec<(&'static str, Vec<&Flag>)> {
        let mut groups: Vec<(&'static str, Vec<&Flag>)> = Vec::new();
        for flag in self.table.flags() {
            match groups.iter_mut().find(|(name, _)| *name == flag.group) {
                Some((_, flags)) => flags.push(flag),
                None => groups.push((flag.group, vec![flag])),
            }
        }
        groups
    }

    /// Every environment variable: those of the program, then those that stand for a flag.
    fn all_variables(&self) -> Vec<(&'static str, String)> {
        let own = self.variables.iter().map(|variable| (variable.name, variable.help.to_owned()));
        let flags = self.table.flags().iter().filter_map(|flag| {
            let name = flag.env?;
            Some((name, format!("Stands for `--{}` when the command line does not give it.", flag.name)))
        });
        own.chain(flags).collect()
    }
}

/// The rules of the command line, for the end of the help.
const SYNTAX: &str = "One dash or two, `=` or the next word: -name=value, --name=value, -name value and \
    --name value are the same, and --http-port is --httpPort. A switch takes a value only with `=`. An empty value \
    (--name=) means not given. The last one wins, unless the flag is repeatable. A limit is switched off by `0` or \
    `none`. Durations: 500ms, 10s, 2m, or seconds. Sizes: 64MiB, 10MB, or bytes. Words after `--` are never flags.";

/// The value that holds when none is given, as a reader should see it.
fn default_text(flag: &Flag) -> Option<&'static str> {
    [flag.default_note, flag.default].into_iter().find(|text| !text.is_empty())
}

/// The help sentence with what the flag's kind adds to it.
fn meaning(flag: &Flag) -> String {
    let mut text = flag.help.to_owned();
    if let Kind::Repeated(_) = flag.kind {
        text.push_str(" Repeatable.");
    }
    if let Some(crate::flags::Type::Choice(words)) = flag.value_type() {
        let _ = write!(text, " One of: {}.", words.join(", "));
    }
    if flag.scope == Scope::Both {
        text.push_str(" For the program and for a hosted function.");
    }
    text
}

fn described(flag: &Flag) -> String {
    let mut text = meaning(flag);
    if let Some(default) = default_text(flag) {
        let _ = write!(text, " Default: {default}.");
    }
    if let Some(name) = flag.env {
        let _ = write!(text, " Environment: {name}.");
    }
    text
}

/// Appends text in lines of at most [`WIDTH`] columns; a longer word stays whole.
fn wrap(out: &mut String, indent: &str, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(indent);
            column = indent.len() + length;
        } else {
            out.push(' ');
            column += 1 + length;
        }
        out.push_str(word);
    }
    out.push('\n');
}
