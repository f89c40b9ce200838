//! A command line as one typed command.

use std::path::PathBuf;

use capsule_cmd::flags::Flag;
use capsule_cmd::parse::Parsed;
use capsule_cmd::usage::{Problem, Problems, UsageError};
use capsule_faas_model::names::{FunctionName, Index, Revision};
use capsule_faas_model::route::Weights;
use capsule_faas_model::spec::{Environment, Spec};
use capsule_faas_model::start::StartBody;
use capsule_faas_model::target::Selector;

use crate::call::Call;
use crate::flags;
use crate::weights;

/// What is asked of the server.
pub(crate) enum Command {
    Start(StartBody),
    Drop(Selector),
    Duplicate {
        name: FunctionName,
        revision: Revision,
        new: Revision,
    },
    Processes {
        json: bool,
    },
    Scale {
        name: FunctionName,
        revision: Revision,
        count: Index,
    },
    Launch(PathBuf),
    /// Sends the file, then starts the function that has it as its module, if there is one.
    Publish {
        module: PathBuf,
        start: Option<StartBody>,
    },
    Call(Call),
    /// No weights: everything goes to the default revision.
    Route {
        name: FunctionName,
        weights: Option<Weights>,
    },
    Rollback(FunctionName),
    Logs {
        selector: Selector,
        follow: bool,
        lines: Option<String>,
    },
    /// Of the server itself when no function is named.
    Health(Option<Selector>),
    /// Modules that were stored longer ago; the server's choice when none is given.
    Prune {
        older_than: Option<String>,
    },
}

impl Command {
    /// Checks everything, then fails with all problems at once.
    ///
    /// # Errors
    /// Wrong usage; or an `--env` that is no JSON array of `NAME=value`, which is a failure as it is in the reference.
    pub(crate) fn read(parsed: &Parsed) -> anyhow::Result<Command> {
        let name = command_name(parsed)?;
        let mut reader = Reader { parsed, command: name, problems: Problems::new() };
        reader.check_flags();
        let command = reader.read();
        reader.problems.finish()?;
        // A command that could not be read left a problem.
        let Some(command) = command else { return Err(no_command().into()) };
        command.with_environment(parsed)
    }

    /// Adds the environment: the one value that is not wrong usage when it is wrong.
    fn with_environment(mut self, parsed: &Parsed) -> anyhow::Result<Command> {
        if let Command::Start(body) | Command::Publish { start: Some(body), .. } = &mut self
            && let Some(text) = parsed.text(&flags::ENV)
        {
            body.spec.env = Environment::from_json(text).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        }
        Ok(self)
    }
}

/// The first word, or `--cmd`.
fn command_name(parsed: &Parsed) -> Result<&str, UsageError> {
    let mut words = parsed.operands().iter().chain(parsed.rest().unwrap_or_default()).map(String::as_str);
    let name = match (parsed.text(&flags::CMD), words.next()) {
        (Some(name), None) | (None, Some(name)) => name,
        (Some(name), Some(word)) if name == word => name,
        (Some(name), Some(word)) => {
            let message = format!("two commands: `--cmd={name}` and `{}`", word.escape_debug());
            return Err(UsageError::one(
                Problem::new(message).hint("every other word belongs to a flag: `--name=hello`"),
            ));
        }
        (None, None) => return Err(no_command()),
    };
    if !flags::NAMES.contains(&name) {
        let problem = Problem::new(format!("unknown command `{}`", name.escape_debug()));
        return Err(UsageError::one(problem.hint(format!("the commands are {}", flags::NAMES.join(", ")))));
    }
    match words.next() {
        None => Ok(name),
        Some(word) => {
            let problem = Problem::new(format!("unexpected word `{}` after `{name}`", word.escape_debug()));
            Err(UsageError::one(problem.hint("every other word belongs to a flag: `--name=hello`")))
        }
    }
}

fn no_command() -> UsageError {
    UsageError::one(Problem::new("no command").hint(format!("the commands are {}", flags::NAMES.join(", "))))
}

/// Reads the flags of one command. What is missing becomes a problem and a `None`.
struct Reader<'a> {
    parsed: &'a Parsed,
    command: &'a str,
    problems: Problems,
}

impl<'a> Reader<'a> {
    /// A flag that means nothing to the command would be a wish that nobody hears. Variables are there for all commands.
    fn check_flags(&mut self) {
        for flag in self.parsed.given().filter(|flag| flag.env.is_none()) {
            if !flags::belongs(flag, self.command) {
                self.problems.push(Problem::new(format!("`--{}` means nothing to `{}`", flag.name, self.command)));
            }
        }
    }

    fn read(&mut self) -> Option<Command> {
        Some(match self.command {
            "start" => Command::Start(self.start()?),
            "drop" => Command::Drop(self.selector()?),
            "duplicate" => {
                let (name, new) = (self.name(), self.required(&flags::NEW_REVISION));
                Command::Duplicate { name: name?, revision: self.revision(), new: new?.parse().ok()? }
            }
            "processes" => Command::Processes { json: self.parsed.text(&flags::OUTPUT) == Some("json") },
            "scale" => {
                let (name, count) = (self.name(), self.required(&flags::COUNT));
                Command::Scale { name: name?, revision: self.revision(), count: count?.parse().ok()? }
            }
            "launch" => Command::Launch(self.parsed.text(&flags::FILE)?.into()),
            "publish" => self.publish()?,
            "call" => {
                let selector = self.selector()?;
                Command::Call(Call::read(self.parsed, selector, &mut self.problems)?)
            }
            "route" => {
                let (name, weights) = (self.name(), self.required(&flags::WEIGHTS));
                Command::Route { name: name?, weights: weights::parse(weights?).ok()? }
            }
            "rollback" => Command::Rollback(self.name()?),
            "logs" => Command::Logs {
                selector: self.selector()?,
                follow: self.parsed.switch(&flags::FOLLOW),
                lines: self.parsed.text(&flags::LINES).map(str::to_owned),
            },
            "health" if [flags::NAME, flags::REVISION, flags::INDEX].iter().any(|flag| self.parsed.is_given(flag)) => {
                Command::Health(Some(self.selector()?))
            }
            "health" => Command::Health(None),
            "prune" => Command::Prune { older_than: self.parsed.text(&flags::OLDER_THAN).map(str::to_owned) },
            _ => return None,
        })
    }

    fn start(&mut self) -> Option<StartBody> {
        let (wasm, url) = (self.parsed.text(&flags::WASM), self.parsed.text(&flags::URL));
        if wasm.is_none() && url.is_none() {
            let problem = Problem::new("no module is named");
            self.problems.push(problem.hint("`--wasm=PATH` on the server's machine, or `--url=URL`"));
        }
        let mut args = self.arguments(wasm.unwrap_or_default(), url.unwrap_or_default());
        match (self.parsed.text(&flags::AUTH_HEADER_NAME), self.parsed.text(&flags::AUTH_HEADER_VALUE)) {
            (Some(name), Some(value)) => {
                args.push(format!("-authHeaderName={name}"));
                args.push(format!("-authHeaderValue={value}"));
            }
            (Some(_), None) => {
                let problem = Problem::new("`--authHeaderName` is given without `--authHeaderValue`");
                self.problems.push(problem.hint("the value can also come from `CAPSULE_AUTH_HEADER_VALUE`"));
            }
            // The variable may be there for other programs.
            (None, _) => {}
        }
        self.body(args)
    }

    fn publish(&mut self) -> Option<Command> {
        let module = self.required(&flags::WASM).map(PathBuf::from);
        let others = |flag: &&Flag| flags::belongs(flag, "publish") && !flags::belongs(flag, "prune");
        let given = self.parsed.given().filter(others).any(|flag| flag.name != flags::WASM.name);
        // The module's hash is known when the server has it.
        let start = if given { Some(self.body(self.arguments("", ""))?) } else { None };
        Some(Command::Publish { module: module?, start })
    }

    /// The arguments of a function, as the reference's client writes them; the first stands for the program's name.
    fn arguments(&self, wasm: &str, url: &str) -> Vec<String> {
        let stop_after = self.parsed.text(&flags::STOP_AFTER).unwrap_or_default();
        let mut args =
            vec![String::new(), format!("-wasm={wasm}"), format!("-stopAfter={stop_after}"), format!("-url={url}")];
        for flag in flags::passed_on().filter(|flag| self.parsed.is_given(flag)) {
            args.extend(self.parsed.texts(flag).into_iter().map(|value| format!("-{}={value}", flag.name)));
        }
        args
    }

    /// A start body without its environment.
    fn body(&mut self, args: Vec<String>) -> Option<StartBody> {
        Some(StartBody {
            name: self.name()?,
            revision: self.revision(),
            description: self.parsed.text(&flags::DESCRIPTION).unwrap_or_default().to_owned(),
            spec: Spec {
                path: self.parsed.text(&flags::PATH).map(str::to_owned),
                args,
                redis_prefix: self.parsed.text(&flags::REDIS_PREFIX).map(str::to_owned),
                ..Spec::default()
            },
        })
    }

    fn name(&mut self) -> Option<FunctionName> {
        self.required(&flags::NAME)?.parse().ok()
    }

    fn revision(&self) -> Revision {
        self.parsed.text(&flags::REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// A function, and what was said of its revision and index.
    fn selector(&mut self) -> Option<Selector> {
        let index = self.parsed.text(&flags::INDEX).and_then(|text| text.parse().ok());
        let named = self.parsed.is_given(&flags::REVISION) || index.is_some();
        Some(Selector { name: self.name()?, revision: named.then(|| self.revision()), index })
    }

    fn required(&mut self, flag: &Flag) -> Option<&'a str> {
        let value = self.parsed.text(flag);
        if value.is_none() {
            self.problems.push(Problem::new(format!("`{}` needs `{}`", self.command, flag.form())));
        }
        value
    }
}
