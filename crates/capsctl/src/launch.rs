//! Everything in a file of functions, started through the server's API: the functions in their order, then the routes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use capsule_cmd::flags::{Kind, Scope, Table};
use capsule_cmd::message::HintExt as _;
use capsule_cmd::{exit, redact};
use capsule_faas_model::args::{FlagInfo, FlagScope, FlagTable};
use capsule_faas_model::functions_toml::FunctionsFile;

use crate::flags;
use crate::run;
use crate::server::Server;

/// The flags of a function, for the keys of the file.
struct Keys(Table);

impl FlagTable for Keys {
    fn find(&self, typed: &str) -> Option<FlagInfo> {
        self.0.resolve(typed).map(|flag| FlagInfo {
            name: flag.name,
            scope: if flag.scope == Scope::Function { FlagScope::Function } else { FlagScope::Server },
            switch: matches!(flag.kind, Kind::Switch),
            secret: flag.secret,
        })
    }

    fn mask(&self, secret: bool, value: &str) -> String {
        redact::value(secret, value)
    }
}

/// Starts what the file names; stops at the first that fails. Nothing is sent while the file has a mistake.
///
/// # Errors
/// The file cannot be read or has mistakes, or what the server says.
pub(crate) async fn run(server: &Server, path: &Path) -> anyhow::Result<ExitCode> {
    let file = read(path)?;
    let count = file.functions.len();
    for (started, function) in file.functions.iter().enumerate() {
        let result = run::start(server, &function.body).await;
        let place = || format!("line {} of `{}`", function.line, path.display());
        let said = result
            .with_context(place)
            .hint(format!("of {count} functions {started} were started before this one, and no route was set"))?;
        exit::print(&said)?;
    }
    for route in &file.routes {
        let result = run::route(server, &route.name, Some(&route.weights)).await;
        exit::print(&result.with_context(|| format!("line {} of `{}`", route.line, path.display()))?)?;
    }
    Ok(ExitCode::from(exit::SUCCESS))
}

fn read(path: &Path) -> anyhow::Result<FunctionsFile> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    match FunctionsFile::parse(&text, &Keys(flags::of_functions())) {
        Ok(file) => Ok(file),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("`{shown}` cannot be used\n{}", lines.join("\n"))
        }
    }
}
