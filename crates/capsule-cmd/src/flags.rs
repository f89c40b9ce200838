//! The flag table: one record describes a flag completely.
//!
//! Parsing, help, completions and the argument lists of hosted functions all come from a
//! [`Table`]. A program composes its table from the shared records of this crate and from its own.

use crate::units;

/// What kind of flag it is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// On or off: `--faas`, `--faas=true`. Never takes the next word.
    Switch,
    /// One value; the last one wins.
    Value(Type),
    /// A value each time it is given; all are kept in order.
    Repeated(Type),
}

/// What a value must look like. The parser checks it, so that every wrong value is reported at once.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// Any text.
    Text,
    /// A path of a file or folder.
    Path,
    /// A duration, or off. See [`units::duration`].
    Duration,
    /// A size in bytes, or off. See [`units::size`].
    Size,
    /// A number of things, or off. See [`units::count`].
    Count,
    /// A port number. See [`units::port`].
    Port,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// What this function accepts; its error is `expected ..., found ...`, with the value only after `, found`: the
    /// error of a secret is cut there.
    Checked(fn(&str) -> Result<(), String>),
}

impl Type {
    /// Checks one value.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Text | Self::Path => Ok(()),
            Self::Duration => units::duration(text).map(drop),
            Self::Size => units::size(text).map(drop),
            Self::Count => units::count(text).map(drop),
            Self::Port => units::port(text).map(drop),
            Self::Choice(words) if words.contains(&text) => Ok(()),
            Self::Choice(words) => Err(format!("expected `{}`, found `{text}`", words.join("` or `"))),
            Self::Checked(check) => check(text),
        }
    }
}

/// Whom a flag configures. A server that hosts functions takes only function flags from a function's start body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The program itself: ports, certificates, logs.
    Runner,
    /// One module: source, limits, capabilities.
    Function,
    /// Means something for both.
    Both,
}

/// One flag. Records are constants: start with [`Flag::switch`], [`Flag::value`] or [`Flag::repeated`].
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name in camelCase, without dashes.
    pub name: &'static str,
    /// Switch, value or repeated value.
    pub kind: Kind,
    /// What stands for the value in the help, like `PATH`; empty for a switch.
    pub metavar: &'static str,
    /// Whom it configures; the program unless said otherwise.
    pub scope: Scope,
    /// The environment variable that gives the value when the command line does not.
    pub env: Option<&'static str>,
    /// The value is never shown in errors, logs and records.
    pub secret: bool,
    /// The value that holds when none is given, as it would be typed; empty for none.
    pub default: &'static str,
    /// How the help describes a default that depends on the surroundings; empty to show `default`.
    pub default_note: &'static str,
    /// One or two sentences.
    pub help: &'static str,
    /// The heading under which the help lists it.
    pub group: &'static str,
}

impl Flag {
    /// A flag that is on or off.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Switch, "", help)
    }

    /// A flag with one value.
    pub const fn value(name: &'static str, metavar: &'static str, of: Type, help: &'static str) -> Self {
        Self::new(name, Kind::Value(of), metavar, help)
    }

    /// A flag that may be given several times.
    pub const fn repeated(name: &'static str, metavar: &'static str, of: Type, help: &'static str) -> Self {
        Self::new(name, Kind::Repeated(of), metavar, help)
    }

    const fn new(name: &'static str, kind: Kind, metavar: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind,
            metavar,
            scope: Scope::Runner,
            env: None,
            secret: false,
            default: "",
            default_note: "",
            help,
            group: "Flags",
        }
    }

    /// Sets the environment variable.
    #[must_use]
    pub const fn env(mut self, variable: &'static str) -> Self {
        self.env = Some(variable);
        self
    }

    /// Marks the value as a secret.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Sets the default, as it would be typed.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = value;
        self
    }

    /// Describes a default that depends on the surroundings.
    #[must_use]
    pub const fn default_note(mut self, note: &'static str) -> Self {
        self.default_note = note;
        self
    }

    /// Sets the scope.
    #[must_use]
    pub const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the heading.
    #[must_use]
    pub const fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    /// Replaces the help text, for a program where the flag means something more special.
    #[must_use]
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// How it is typed: `--wasm=PATH`, `--faas`.
    pub fn form(&self) -> String {
        match self.kind {
            Kind::Switch => format!("--{}", self.name),
            Kind::Value(_) | Kind::Repeated(_) => format!("--{}={}", self.name, self.metavar),
        }
    }

    /// The type of its values; none for a switch.
    pub fn value_type(&self) -> Option<Type> {
        match self.kind {
            Kind::Switch => None,
            Kind::Value(of) | Kind::Repeated(of) => Some(of),
        }
    }

    /// Checks one value; a secret is not repeated in the error.
    ///
    /// # Errors
    /// What was expected and, unless it is a secret, what was found.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let checked = match self.value_type() {
            None => units::boolean(text).map(drop),
            Some(of) => of.check(text),
        };
        match checked {
            Err(message) if self.secret => Err(message.split(", found").next().unwrap_or_default().to_owned()),
            other => other,
        }
    }
}

/// `--help`: its answer comes before any complaint.
pub const HELP: Flag = Flag::switch("help", "Print this help and exit.").group("Information");
/// `--version`.
pub const VERSION: Flag = Flag::switch("version", "Print name and version and exit.").group("Information");
/// `--completions`.
pub const COMPLETIONS: Flag = Flag::value(
    "completions",
    "SHELL",
    Type::Choice(&["bash", "zsh", "fish"]),
    "Print a completion script for this shell and exit.",
)
.group("Information");

/// The flags of one program, in the order of its help.
#[derive(Debug, Clone)]
pub struct Table {
    flags: Vec<Flag>,
}

impl Table {
    /// A table of these flags, then `--help`, `--version` and `--completions`.
    pub fn new(flags: impl IntoIterator<Item = Flag>) -> Self {
        let mut flags: Vec<Flag> = flags.into_iter().collect();
        flags.extend([HELP, VERSION, COMPLETIONS]);
        Self { flags }
    }

    /// All flags.
    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    /// The flag of this exact name.
    pub fn find(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// The flag that a person means: `httpPort`, or `http-port`, or `h` for help.
    pub fn resolve(&self, typed: &str) -> Option<&Flag> {
        self.find(typed).or_else(|| match typed {
            "h" => self.find(HELP.name),
            _ if typed.contains('-') => self.flags.iter().find(|flag| kebab(flag.name) == typed),
            _ => None,
        })
    }

    /// The environment variables that carry secrets of this program: no module may read them.
    pub fn secret_variables(&self) -> impl Iterator<Item = &'static str> {
        self.flags.iter().filter(|flag| flag.secret).filter_map(|flag| flag.env)
    }

    /// What is wrong with the table itself; every program has a test that this is empty.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (index, flag) in self.flags.iter().enumerate() {
            let name = flag.name;
            let mut wrong = |what: &str| mistakes.push(format!("--{name}: {what}"));
            if self.flags[..index].iter().any(|other| other.name == name) {
                wrong("defined twice");
            }
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                wrong("a name has letters and digits only");
            }
            if !flag.help.ends_with('.') {
                wrong("help is missing or is not a sentence");
            }
            if flag.group.is_empty() {
                wrong("no group");
            }
            if flag.metavar.is_empty() != matches!(flag.kind, Kind::Switch) {
                wrong("a value has a metavariable, a switch has none");
            }
            if !flag.default.is_empty()
                && let Err(message) = flag.check(flag.default)
            {
                wrong(&format!("default: {message}"));
            }
        }
        mistakes
    }
}

/// `httpPort` as `http-port`.
fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kebab_names_resolve() {
        let table = Table::new([
            Flag::value("httpPort", "PORT", Type::Port, "Port."),
            Flag::value("maxHostMemory", "SIZE", Type::Size, "Size."),
        ]);
        for (typed, expected) in [
            ("httpPort", Some("httpPort")),
            ("http-port", Some("httpPort")),
            ("max-host-memory", Some("maxHostMemory")),
            ("h", Some("help")),
            ("http-Port", None),
            ("-httpPort", None),
            ("http--port", None),
            ("httpport", None),
            ("", None),
        ] {
            assert_eq!(table.resolve(typed).map(|flag| flag.name), expected, "{typed}");
        }
    }

    #[test]
    fn mistakes_are_found() {
        let table = Table::new([
            Flag::switch("same", "Help."),
            Flag::switch("same", "Help."),
            Flag::switch("bad-name", "Help."),
            Flag::switch("silent", ""),
            Flag::value("bare", "", Type::Text, "Help."),
            Flag::value("port", "PORT", Type::Port, "Help.").default("high"),
        ]);
        assert_eq!(
            table.mistakes(),
            [
                "--same: defined twice",
                "--bad-name: a name has letters and digits only",
                "--silent: help is missing or is not a sentence",
                "--bare: a value has a metavariable, a switch has none",
                "--port: default: expected a port number from 0 to 65535, found `high`",
            ]
        );
        assert_eq!(Table::new([]).mistakes(), [""; 0]);
    }

    #[test]
    fn choices_and_secrets() {
        let format = Flag::value("f", "F", Type::Choice(&["text", "json"]), "F.");
        assert_eq!(format.check("xml").unwrap_err(), "expected `text` or `json`, found `xml`");
        let pin = Flag::value("pin", "N", Type::Count, "Pin.").secret();
        assert_eq!(pin.check("12x").unwrap_err(), "expected a whole number or `none`");
    }
}
