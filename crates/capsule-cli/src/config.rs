//! The flags of `capsule`, and their values as types.

use std::path::PathBuf;

use capsule_cmd::capabilities::{self, Capabilities};
use capsule_cmd::flags::{Flag, Scope, Table, Type};
use capsule_cmd::help::{Example, Program, Variable};
use capsule_cmd::limits::{self, Limits};
use capsule_cmd::logging;
use capsule_cmd::module_source::{self, ModuleSource};
use capsule_cmd::parse::Parsed;
use capsule_cmd::usage::{Problem, Problems, UsageError};

const PARAMS: Flag = Flag::value(
    "params",
    "TEXT",
    Type::Text,
    "The argument passed to the module's `callHandle`; the word after the module does the same. `-` reads it from \
     standard input: any bytes.",
)
.scope(Scope::Function)
.group("Module");

/// The limits that mean something for one call.
const LIMITS: &[Flag] = &[
    limits::CALL_TIMEOUT.default("none").help(
        "The longest time of the call, the module's start included, or of a plain command. Past it, it is ended.",
    ),
    limits::START_TIMEOUT
        .default("none")
        .help("The longest time of the start of a module that has a handler, within --callTimeout."),
    limits::MAX_MEMORY,
    limits::MAX_TOTAL_MEMORY,
    limits::MAX_MODULE,
    limits::MAX_BODY.help("The largest argument. A larger one is refused."),
    limits::MAX_RESULT,
    limits::MAX_HOST_MEMORY,
    limits::MAX_CACHE,
    limits::MAX_FILES,
    limits::MAX_WRITTEN,
    limits::OUTBOUND_TIMEOUT,
    limits::MAX_OUTBOUND_BODY,
    limits::MAX_OUTBOUND_CALLS,
];

const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "Success."),
    (
        "1",
        "The module or the runner failed. The text of a failure that the module answered is on stdout, where its result would be; every other reason is on stderr.",
    ),
    ("2", "Wrong usage; the reason is on stderr."),
    ("130", "Ended by SIGINT (Ctrl-C); 143 by SIGTERM."),
    ("N", "A plain WASI command ends with its own code from 0 to 125; what it gives above is 1."),
];

/// The program with its flags.
pub(crate) fn program() -> Program {
    // A result is data and errors are told anyway: the log is for those who ask for it, and for warnings.
    let log_level = logging::LOG_LEVEL.default("warn");
    let table = Table::new(
        module_source::FLAGS
            .iter()
            .chain(&[PARAMS])
            .chain(LIMITS)
            .chain(capabilities::FLAGS)
            .chain(&[capabilities::CACHE_DIR, logging::LOG_FORMAT, log_level])
            .copied(),
    );
    Program {
        name: "capsule",
        version: env!("CARGO_PKG_VERSION"),
        about: "Runs a WebAssembly module once: calls its `callHandle` with an argument, prints what the module prints, \
                then the result and a newline. A module without any handler is run as the WASI command that it is, with \
                the words after it and after `--` as its arguments.",
        usage: &[
            "[FLAGS] MODULE [ARGUMENT]",
            "--wasm=MODULE --params=ARGUMENT [FLAGS]",
            "[FLAGS] COMMAND [WORDS] [-- WORDS]",
        ],
        examples: &[
            Example { what: "Call a function with an argument", line: "capsule hello.wasm \"Bob Morane\"" },
            Example { what: "The argument from standard input", line: "capsule hello.wasm --params=- < letter.txt" },
            Example {
                what: "Download the module first",
                line: "capsule --url=https://example.com/hello.wasm --wasm=hello.wasm --params=Bob",
            },
            Example { what: "Run a plain WASI command", line: "capsule tool.wasm -- --verbose in.txt" },
        ],
        variables: &[
            Variable { name: "REDIS_URI", help: "Redis for the module's host functions: redis:// or rediss://." },
            Variable { name: "REDIS_ADDR", help: "Without REDIS_URI: host and port of Redis; localhost:6379." },
            Variable { name: "REDIS_PWD", help: "Password for REDIS_ADDR." },
            Variable { name: "REDIS_DEFAULTDB", help: "Number of the database for REDIS_ADDR; 0." },
            Variable { name: "SSL_CERT_FILE", help: "Certificates to trust in outbound connections (PEM)." },
        ],
        exit_codes: EXIT_CODES,
        table,
    }
}

/// What `callHandle` is called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Argument {
    /// This text, which may be empty.
    Text(String),
    /// What standard input has.
    Stdin,
}

impl Argument {
    fn of(text: &str) -> Argument {
        if text == "-" { Argument::Stdin } else { Argument::Text(text.to_owned()) }
    }
}

/// What the command line asks for. What its words mean depends on the module, which is not known yet.
pub(crate) struct Config {
    pub(crate) source: ModuleSource,
    /// `--params`.
    params: Option<Argument>,
    /// The words after the module.
    words: Vec<String>,
    /// The words after `--`.
    rest: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
}

impl Config {
    /// Checks everything, then fails with all problems at once.
    pub(crate) fn read(parsed: &Parsed) -> Result<Config, UsageError> {
        let mut problems = Problems::new();
        let (source, words) = ModuleSource::read(parsed, &mut problems);
        if source.is_none() && problems.is_empty() {
            problems.push(Problem::new("no module is named").hint("`capsule MODULE` or `capsule --wasm=MODULE`"));
        }
        let params = parsed.text(&PARAMS).map(Argument::of);
        if let (Some(_), [word, ..]) = (&params, words) {
            let problem = Problem::new(format!("the argument is given twice: by `--params` and as `{word}`"));
            problems.push(problem.hint("leave one of them out"));
        }
        let capabilities = Capabilities::read(parsed, &mut problems);
        let config = Config {
            // Only used when there are no problems.
            source: source.unwrap_or_else(|| ModuleSource { path: PathBuf::new(), download: None }),
            params,
            words: words.to_vec(),
            rest: parsed.rest().unwrap_or_default().to_vec(),
            limits: Limits::read(parsed),
            capabilities,
        };
        problems.finish()?;
        Ok(config)
    }

    /// The argument for a module with a handler: there is at most one.
    pub(crate) fn argument(&self) -> Result<Argument, UsageError> {
        match (&self.params, &self.words[..]) {
            (Some(argument), _) => Ok(argument.clone()),
            (None, []) => Ok(Argument::Text(String::new())),
            (None, [word]) => Ok(Argument::of(word)),
            (None, [_, second, ..]) => {
                let problem = Problem::new(format!("unexpected word `{second}`: a module takes one argument"));
                Err(UsageError::one(problem.hint("put quotes around an argument of several words")))
            }
        }
    }

    /// WASI's arguments for a module with a handler.
    pub(crate) fn arguments(&self) -> Vec<String> {
        [self.name()].into_iter().chain(self.rest.iter().cloned()).collect()
    }

    /// WASI's arguments for a plain command.
    pub(crate) fn command_arguments(&self) -> Result<Vec<String>, UsageError> {
        if self.params.is_some() {
            let problem = Problem::new(format!(
                "`{}` is a plain WASI command, `--params` is for modules with a handler",
                self.name()
            ));
            return Err(UsageError::one(problem.hint("a command's arguments are the words after it, or after `--`")));
        }
        Ok([self.name()].into_iter().chain(self.words.iter().cloned()).chain(self.rest.iter().cloned()).collect())
    }

    /// The module as it was named.
    pub(crate) fn name(&self) -> String {
        self.source.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capsule_cmd::help::Request;

    fn read(words: &[&str]) -> Result<Config, UsageError> {
        match program().parse(words.iter().map(Into::into), |_| None)? {
            Request::Run(parsed) => Config::read(&parsed),
            Request::Print(text) => panic!("asks for a text: {text}"),
        }
    }

    #[test]
    fn the_table_is_sound() {
        assert_eq!(program().table.mistakes(), [""; 0]);
    }

    #[test]
    fn arguments() {
        let text = |text: &str| Argument::Text(text.into());
        for (words, expected) in [
            (&["a.wasm"][..], text("")),
            (&["a.wasm", "Bob"], text("Bob")),
            (&["a.wasm", ""], text("")),
            (&["-wasm=a.wasm", "Bob"], text("Bob")),
            (&["--wasm", "a.wasm", "--params", "-5"], text("-5")),
            (&["--params=a=b", "a.wasm"], text("a=b")),
            (&["--params=one", "--params=two", "a.wasm"], text("two")),
            (&["--params=", "a.wasm"], text("")),
            (&["--params=-", "a.wasm"], Argument::Stdin),
            (&["a.wasm", "-"], Argument::Stdin),
            (&["a.wasm", "Bob", "--", "-x"], text("Bob")),
        ] {
            let config = read(words).unwrap();
            assert_eq!(config.argument().unwrap(), expected, "{words:?}");
            assert_eq!(config.source.path, PathBuf::from("a.wasm"), "{words:?}");
        }
    }

    #[test]
    fn arguments_of_wasi() {
        let config = read(&["c.wasm", "a", "--maxMemory=1MiB", "b", "--", "--flag", "-"]).unwrap();
        assert_eq!(config.command_arguments().unwrap(), ["c.wasm", "a", "b", "--flag", "-"]);
        assert_eq!(config.arguments(), ["c.wasm", "--flag", "-"]);
    }

    #[test]
    fn no_time_limit_unless_asked_for() {
        assert_eq!(read(&["a.wasm"]).unwrap().limits.call_timeout, None);
        let given = read(&["a.wasm", "--callTimeout=2s"]).unwrap().limits.call_timeout;
        assert_eq!(given, Some(std::time::Duration::from_secs(2)));
    }
}
