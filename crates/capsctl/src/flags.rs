//! The flags of `capsctl`, and which command takes which.

use capsule_cmd::capabilities;
use capsule_cmd::flags::{Flag, HELP, Scope, Table, Type, VERSION};
use capsule_cmd::help::{Example, Program, Variable};
use capsule_cmd::limits;
use capsule_cmd::module_source as source;
use capsule_faas_model::names::{FunctionName, Index, Revision};

use crate::call;
use crate::weights;

/// The variable with the token. Not a flag: a command line is seen by every user of the machine.
pub(crate) const TOKEN_VARIABLE: &str = "CAPSULE_FAAS_TOKEN";

const SERVER_GROUP: &str = "Server";
const FUNCTION_GROUP: &str = "Which function";
const CALL_GROUP: &str = "Calls";
const OTHER_GROUP: &str = "Other commands";

pub(crate) const CMD: Flag =
    Flag::value("cmd", "COMMAND", Type::Choice(&NAMES), "What to do; the first word does the same.").group("Command");

pub(crate) const SERVER: Flag = Flag::value(
    "server",
    "URL",
    Type::Checked(check_server),
    "Address of the server, which is a `capsule-http --faas`.",
)
.env("CAPSULE_MAIN_PROCESS_URL")
.default("http://localhost:8080")
.group(SERVER_GROUP);
pub(crate) const TIMEOUT: Flag = Flag::value(
    "timeout",
    "DURATION",
    Type::Duration,
    "The longest wait for the server's answer, an upload included, and for each further piece of the answer. Lines \
     that `logs --follow` waits for have no limit.",
)
.default("5m")
.group(SERVER_GROUP);

pub(crate) const NAME: Flag =
    Flag::value("name", "NAME", Type::Checked(check_name), "Name of the function: letters, digits and . _ - only.")
        .group(FUNCTION_GROUP);
pub(crate) const REVISION: Flag =
    Flag::value("revision", "REVISION", Type::Checked(check_revision), "Revision of the function.")
        .default_note("`default`; `drop`, `logs` and `health` leave the choice to the server, `call` to the route")
        .group(FUNCTION_GROUP);
pub(crate) const INDEX: Flag = Flag::value(
    "index",
    "N",
    Type::Checked(check_index),
    "Which of the revision's processes: `drop`, `logs`, `health` and `call` mean this one alone.",
)
.group(FUNCTION_GROUP);

pub(crate) const DESCRIPTION: Flag =
    Flag::value("description", "TEXT", Type::Text, "What the list of functions says of it.").group("Start");
pub(crate) const PATH: Flag = Flag::value(
    "path",
    "PATH",
    Type::Text,
    "`start`, `publish`: an executable on the server's machine that runs the function as a process of its own. \
     `call`: path and query that the function sees, such as /api?id=1; more than a query needs --index.",
)
.group("Start");
pub(crate) const ENV: Flag = Flag::value(
    "env",
    "JSON",
    Type::Text,
    r#"Environment variables of the function: a JSON array such as ["GREETING=hello","LANG=en"]."#,
)
.secret()
.group("Start");
pub(crate) const REDIS_PREFIX: Flag =
    Flag::value("redisPrefix", "TEXT", Type::Text, "What stands in front of each of the function's keys in Redis.")
        .group("Start");
pub(crate) const STOP_AFTER: Flag = Flag::value(
    "stopAfter",
    "DURATION",
    Type::Duration,
    "Put the function to sleep when nobody called it for this long.",
)
.scope(Scope::Function)
.group("Start");
pub(crate) const WASM: Flag = source::WASM.help(
    "The module. `start`: its path on the server's machine, or the `sha256:...` of one that was published; with --url, \
     where the server saves the download. `publish`: a file on this machine.",
);
pub(crate) const URL: Flag = source::URL.help("The server downloads the module from this address.");
pub(crate) const AUTH_HEADER_NAME: Flag =
    source::AUTH_HEADER_NAME.help("Name of one header for the server's download, such as PRIVATE-TOKEN.");
pub(crate) const AUTH_HEADER_VALUE: Flag = source::AUTH_HEADER_VALUE;

pub(crate) const NEW_REVISION: Flag = Flag::value(
    "newRevision",
    "REVISION",
    Type::Checked(check_revision),
    "`duplicate`: the second name of the revision.",
)
.group(OTHER_GROUP);
pub(crate) const COUNT: Flag =
    Flag::value("count", "N", Type::Checked(check_count), "`scale`: how many processes the revision shall have.")
        .group(OTHER_GROUP);
pub(crate) const WEIGHTS: Flag = Flag::value(
    "weights",
    "REVISION=N,...",
    Type::Checked(weights::check),
    "`route`: how calls without a revision are split, such as blue=90,green=10. `none` sends all to `default`.",
)
.group(OTHER_GROUP);
pub(crate) const FILE: Flag =
    Flag::value("file", "FILE", Type::Path, "`launch`: the functions to start, and their routes.")
        .default("functions.toml")
        .group(OTHER_GROUP);
pub(crate) const FOLLOW: Flag =
    Flag::switch("follow", "`logs`: go on with new lines, until the server or Ctrl-C ends it.").group(OTHER_GROUP);
pub(crate) const LINES: Flag =
    Flag::value("lines", "N", Type::Checked(check_lines), "`logs`: how many of the last lines.")
        .default_note("the server's choice")
        .group(OTHER_GROUP);
pub(crate) const OLDER_THAN: Flag = Flag::value(
    "olderThan",
    "DURATION",
    Type::Duration,
    "`prune`: remove only modules that were stored longer ago than this; `0` for all that nobody refers to.",
)
.default_note("1h")
.group(OTHER_GROUP);
pub(crate) const OUTPUT: Flag =
    Flag::value("output", "FORMAT", Type::Choice(&["table", "json"]), "`processes`: how the list is printed.")
        .default("table")
        .group(OTHER_GROUP);

pub(crate) const METHOD: Flag =
    Flag::value("method", "METHOD", Type::Checked(call::check_method), "`call`: the method.")
        .default_note("POST with --body, else GET")
        .group(CALL_GROUP);
pub(crate) const BODY: Flag =
    Flag::value("body", "TEXT", Type::Text, "`call`: the body; `-` reads it from standard input.").group(CALL_GROUP);
pub(crate) const HEADER: Flag =
    Flag::repeated("header", "NAME:VALUE", Type::Checked(call::check_header), "`call`: a header.")
        .secret()
        .group(CALL_GROUP);

/// Limits and capabilities of a hosted function: the server has its own defaults for them.
const HOSTED: [Flag; 18] = [
    hosted(limits::CALL_TIMEOUT),
    hosted(limits::START_TIMEOUT),
    hosted(limits::MAX_MEMORY),
    hosted(limits::INSTANCES),
    hosted(limits::MAX_CALLS),
    hosted(limits::MAX_QUEUE),
    hosted(limits::QUEUE_TIMEOUT),
    hosted(limits::MAX_BODY),
    hosted(limits::MAX_RESULT),
    hosted(limits::MAX_HOST_MEMORY),
    hosted(limits::MAX_CACHE),
    hosted(limits::MAX_FILES),
    hosted(limits::MAX_WRITTEN),
    hosted(limits::OUTBOUND_TIMEOUT),
    hosted(limits::MAX_OUTBOUND_BODY),
    hosted(limits::MAX_OUTBOUND_CALLS),
    hosted(capabilities::DIR).help(DIR_HELP),
    hosted(capabilities::ALLOW_HOSTS),
];

const DIR_HELP: &str = "A folder of the server's machine that the function may use: the folder, its name in the module (the \
     same when not given), and `ro` for reading only. `none` gives it no folder at all.";

const fn hosted(flag: Flag) -> Flag {
    flag.default("").default_note("the server's")
}

/// The flags that go to the function as they are, beside module, idle time and download.
pub(crate) fn passed_on() -> impl Iterator<Item = &'static Flag> {
    HOSTED.iter()
}

/// The flags that may stand in a function's arguments: those of a file of functions too.
pub(crate) fn of_functions() -> Table {
    let source = [WASM, URL, AUTH_HEADER_NAME, AUTH_HEADER_VALUE, source::REGISTRY, STOP_AFTER];
    Table::new(source.into_iter().chain(HOSTED))
}

/// What makes a function, for `start` and `publish`.
const START: &[Flag] = &[NAME, REVISION, DESCRIPTION, PATH, ENV, REDIS_PREFIX, STOP_AFTER, WASM];

/// A command, and the flags that mean something to it beside those of the server.
struct Use {
    name: &'static str,
    flags: &'static [Flag],
    /// Takes the limits and capabilities of a hosted function too.
    hosts: bool,
}

const fn uses(name: &'static str, flags: &'static [Flag]) -> Use {
    Use { name, flags, hosts: false }
}

const COMMANDS: [Use; 13] = [
    Use {
        name: "start",
        flags: &[
            NAME,
            REVISION,
            DESCRIPTION,
            PATH,
            ENV,
            REDIS_PREFIX,
            STOP_AFTER,
            WASM,
            URL,
            AUTH_HEADER_NAME,
            AUTH_HEADER_VALUE,
            source::REGISTRY,
        ],
        hosts: true,
    },
    uses("drop", &[NAME, REVISION, INDEX]),
    uses("duplicate", &[NAME, REVISION, NEW_REVISION]),
    uses("processes", &[OUTPUT]),
    uses("scale", &[NAME, REVISION, COUNT]),
    uses("launch", &[FILE]),
    Use { name: "publish", flags: START, hosts: true },
    uses("call", &[NAME, REVISION, INDEX, PATH, METHOD, BODY, HEADER]),
    uses("route", &[NAME, WEIGHTS]),
    uses("rollback", &[NAME]),
    uses("logs", &[NAME, REVISION, INDEX, FOLLOW, LINES]),
    uses("health", &[NAME, REVISION, INDEX]),
    uses("prune", &[OLDER_THAN]),
];

/// The names of all commands.
pub(crate) const NAMES: [&str; COMMANDS.len()] = {
    let mut names = [""; COMMANDS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = COMMANDS[index].name;
        index += 1;
    }
    names
};

/// True when the flag means something to the command.
pub(crate) fn belongs(flag: &Flag, command: &str) -> bool {
    let mut all = [CMD, SERVER, TIMEOUT, HELP, VERSION].iter();
    all.any(|known| known.name == flag.name)
        || COMMANDS.iter().filter(|known| known.name == command).any(|known| {
            let hosted = HOSTED.iter().filter(|_| known.hosts);
            known.flags.iter().chain(hosted).any(|known| known.name == flag.name)
        })
}

/// The program with its flags.
pub(crate) fn program() -> Program {
    let own = [CMD, SERVER, TIMEOUT, NAME, REVISION, INDEX];
    let start = [
        WASM,
        URL,
        AUTH_HEADER_NAME,
        AUTH_HEADER_VALUE,
        source::REGISTRY,
        DESCRIPTION,
        PATH,
        ENV,
        REDIS_PREFIX,
        STOP_AFTER,
    ];
    let others = [METHOD, BODY, HEADER, NEW_REVISION, COUNT, WEIGHTS, FILE, FOLLOW, LINES, OLDER_THAN, OUTPUT];
    Program {
        name: "capsctl",
        version: env!("CARGO_PKG_VERSION"),
        about: "Steers a `capsule-http --faas`: starts functions, drops, lists and calls them, and splits calls between \
                their revisions.",
        usage: &[
            "start --name=NAME --wasm=PATH [FLAGS]",
            "publish --wasm=FILE [--name=NAME] [FLAGS]",
            "launch [--file=functions.toml]",
            "drop --name=NAME [--revision=R [--index=N]]",
            "duplicate --name=NAME --revision=R --newRevision=R2",
            "scale --name=NAME --revision=R --count=N",
            "processes [--output=json]",
            "call --name=NAME [--revision=R [--index=N]] [--body=TEXT] [FLAGS]",
            "route --name=NAME --weights=blue=90,green=10",
            "rollback --name=NAME",
            "logs --name=NAME [--revision=R [--index=N]] [--lines=N] [--follow]",
            "health [--name=NAME [--revision=R [--index=N]]]",
            "prune [--olderThan=DURATION]",
            "--cmd=COMMAND [FLAGS]",
        ],
        examples: &[
            Example {
                what: "Start a function that sleeps when nobody called it for ten seconds",
                line: "capsctl start --name=hello --revision=green --wasm=./hello.wasm --stopAfter=10 --env='[\"MESSAGE=hi\"]'",
            },
            Example {
                what: "Send a module of this machine to the server and start it",
                line: "capsctl publish --wasm=hello.wasm --name=hello --revision=blue",
            },
            Example { what: "Call it", line: "capsctl call --name=hello --revision=blue --body='Bob Morane'" },
            Example {
                what: "One call of ten to the new revision",
                line: "capsctl route --name=hello --weights=green=90,blue=10",
            },
            Example { what: "Watch what it prints", line: "capsctl logs --name=hello --follow" },
        ],
        variables: &[
            Variable {
                name: TOKEN_VARIABLE,
                help: "The server's token, needed for everything but `call` and `health`, and sent with nothing else. Never shown.",
            },
            Variable { name: "SSL_CERT_FILE", help: "Certificates to trust (PEM), for a server with https." },
        ],
        exit_codes: &[
            ("0", "Success."),
            (
                "1",
                "The server refused, cannot be reached, or answered a call with a status from 400; the reason is on stderr.",
            ),
            ("2", "Wrong usage; the reason is on stderr."),
        ],
        table: Table::new(own.into_iter().chain(start).chain(HOSTED).chain(others)),
    }
}

fn check_server(text: &str) -> Result<(), String> {
    let wrong =
        || format!("expected an address such as `http://localhost:8080`, found `{}`", capsule_cmd::redact::url(text));
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none() => {
            Ok(())
        }
        _ => Err(wrong()),
    }
}

/// The error of the model without its subject: the flag is named already.
fn without_subject<T>(checked: Result<T, impl ToString>) -> Result<(), String> {
    checked.map(drop).map_err(|error| {
        let text = error.to_string();
        text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned())
    })
}

fn check_name(text: &str) -> Result<(), String> {
    without_subject(FunctionName::new(text))
}

fn check_revision(text: &str) -> Result<(), String> {
    without_subject(Revision::new(text))
}

fn check_index(text: &str) -> Result<(), String> {
    without_subject(text.parse::<Index>())
}

fn check_count(text: &str) -> Result<(), String> {
    match text.parse::<Index>() {
        Ok(count) if count.get() > 0 => Ok(()),
        _ => Err(format!("expected a number from 1 to {}, found `{}`", Index::MAX, text.escape_debug())),
    }
}

fn check_lines(text: &str) -> Result<(), String> {
    match text.parse::<Index>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("expected a number from 0 to {}, found `{}`", Index::MAX, text.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_mistakes_and_every_flag_a_command() {
        let program = program();
        assert_eq!(program.table.mistakes(), [""; 0]);
        let information = ["help", "version", "completions"];
        for flag in program.table.flags().iter().filter(|flag| !information.contains(&flag.name)) {
            assert!(NAMES.iter().any(|command| belongs(flag, command)), "{}", flag.name);
        }
        for known in COMMANDS.iter().flat_map(|known| known.flags) {
            assert!(program.table.find(known.name).is_some(), "{}", known.name);
        }
        assert!(belongs(&limits::MAX_MEMORY, "publish") && !belongs(&limits::MAX_MEMORY, "drop"));
        assert!(
            program
                .usage
                .iter()
                .all(|form| form.starts_with("--cmd") || NAMES.iter().any(|name| form.starts_with(name)))
        );
    }

    #[test]
    fn every_limit_and_capability_of_a_function_is_passed_on() {
        // The environment has a flag of its own; which of its variables a server passes on is the server's to say.
        let others = [capabilities::ENV.name, capabilities::PASS_ENV.name];
        let function = |flag: &&Flag| flag.scope == Scope::Function && !others.contains(&flag.name);
        for flag in limits::FLAGS.iter().chain(capabilities::FLAGS).filter(function) {
            assert!(passed_on().any(|known| known.name == flag.name), "{}", flag.name);
        }
    }
}
