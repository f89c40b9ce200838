//! What each command asks of the server, and what it prints when that is done.

use std::process::ExitCode;

use anyhow::Context as _;
use capsule_cmd::exit;
use capsule_faas_model::names::{FunctionName, Key, Revision};
use capsule_faas_model::route::Weights;
use capsule_faas_model::spec::ModuleHash;
use capsule_faas_model::start::StartBody;
use capsule_faas_model::target::Selector;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::server::Server;
use crate::{launch, processes, publish, weights};

const JSON: &str = "application/json; charset=utf-8";

/// Carries out one command.
///
/// # Errors
/// Whatever kept the server from doing it.
pub(crate) async fn run(server: &Server, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Start(body) => exit::print(&start(server, &body).await?),
        Command::Drop(selector) => {
            let path = path_of(&selector);
            let request = server.request(Method::DELETE, &format!("/functions/drop/{path}"))?;
            server.ask(&format!("drop `{path}`"), request).await?;
            exit::print(&format!("{path} is dropped\n"))
        }
        Command::Duplicate { name, revision, new } => {
            let what = format!("duplicate `{name}/{revision}` to `{new}`");
            let path = format!("/functions/duplicate/{name}/{revision}/{new}");
            let answer = server.ask(&what, server.request(Method::PUT, &path)?).await?;
            if answer.trim() != name.as_str() {
                return Err(server.unexpected(&what, "the name of the function", &answer));
            }
            let url = server.shown(&format!("/functions/{name}/{new}"));
            exit::print(&format!("{name}/{revision} is duplicated to {new}\nurl: {url}\n"))
        }
        Command::Processes { json } => {
            let what = "list the functions";
            let answer = server.ask(what, server.request(Method::GET, "/functions/processes")?).await?;
            let Some(table) = processes::table(&answer, processes::stdout_has_colour()) else {
                return Err(server.unexpected(what, "a JSON object of records", &answer));
            };
            exit::print(&if json { with_newline(answer) } else { table })
        }
        Command::Scale { name, revision, count } => {
            let what = format!("scale `{name}/{revision}` to {count}");
            let path = format!("/functions/scale/{name}/{revision}/{count}");
            server.ask(&what, server.request(Method::PUT, &path)?).await?;
            exit::print(&format!("{name}/{revision} is scaled to {count}\n"))
        }
        Command::Launch(file) => launch::run(server, &file).await,
        Command::Publish { module, start } => publish::run(server, &module, start).await,
        Command::Call(call) => call.run(server).await,
        Command::Route { name, weights } => exit::print(&route(server, &name, weights.as_ref()).await?),
        Command::Rollback(name) => {
            let request = server.request(Method::POST, &format!("/functions/rollback/{name}"))?;
            server.ask(&format!("roll `{name}` back"), request).await?;
            exit::print(&format!("{name} has the route before the last one again\n"))
        }
        Command::Logs { selector, follow, lines } => logs(server, &selector, follow, lines).await,
        Command::Health(selector) => {
            let (what, path) = match selector.as_ref().map(path_of) {
                Some(path) => (format!("see `{path}` healthy"), format!("/functions/health/{path}")),
                None => ("see the server healthy".to_owned(), "/health".to_owned()),
            };
            let answer = server.ask(&what, server.open_request(Method::GET, &path)?).await?;
            exit::print(&if answer.is_empty() { "healthy\n".to_owned() } else { with_newline(answer) })
        }
        Command::Prune { older_than } => {
            let what = "remove what nobody refers to";
            let query = older_than.map(|age| format!("?olderThan={age}")).unwrap_or_default();
            let answer = server.ask(what, server.request(Method::POST, &format!("/functions/prune{query}"))?).await?;
            match serde_json::from_str(&answer) {
                Ok(Removed { removed }) => {
                    let lines = removed.iter().map(|module| format!("{module} is removed\n"));
                    exit::print(&if removed.is_empty() {
                        "nothing to remove\n".to_owned()
                    } else {
                        lines.collect::<String>()
                    })
                }
                Err(_) => Err(server.unexpected(what, "a JSON object with the modules", &answer)),
            }
        }
    }
}

/// What is answered to `prune`.
#[derive(Deserialize)]
struct Removed {
    removed: Vec<ModuleHash>,
}

/// Starts a function, and answers what there is to say: its key and its address.
pub(crate) async fn start(server: &Server, body: &StartBody) -> anyhow::Result<String> {
    let (name, revision) = (&body.name, &body.revision);
    let what = format!("start `{name}/{revision}`");
    let request = server.request(Method::POST, "/functions/start")?.header(CONTENT_TYPE, JSON).body(json(body)?);
    let answer = server.ask(&what, request).await?;
    // A server that hosts nothing answers any path with its one module.
    match answer.trim().parse::<Key>() {
        Ok(key) if key.name == *name && key.revision == *revision => {
            let url = server.shown(&format!("/functions/{name}/{revision}"));
            Ok(format!("{key} is started\nurl: {url}\n"))
        }
        _ => Err(server.unexpected(&what, &format!("a key such as `{name}/{revision}/0`"), &answer)),
    }
}

/// Sets a route, and answers what there is to say.
pub(crate) async fn route(server: &Server, name: &FunctionName, weights: Option<&Weights>) -> anyhow::Result<String> {
    let request = server.request(Method::PUT, &format!("/functions/route/{name}"))?;
    let request = request.header(CONTENT_TYPE, JSON).body(json(&weights)?);
    server.ask(&format!("route `{name}`"), request).await?;
    Ok(format!("{name} is routed to {}\n", weights::shown(weights)))
}

async fn logs(server: &Server, selector: &Selector, follow: bool, lines: Option<String>) -> anyhow::Result<ExitCode> {
    let path = path_of(selector);
    let lines = lines.map(|lines| format!("lines={lines}"));
    let query: Vec<String> = lines.into_iter().chain(follow.then(|| "follow=true".to_owned())).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let request = server.request(Method::GET, &format!("/functions/logs/{path}{mark}{}", query.join("&")))?;
    let what = format!("read the log of `{path}`");
    let response = server.accepted(&what, request).await?;
    server.print(response, follow).await.with_context(|| format!("cannot {what}"))
}

/// `name[/revision[/index]]`.
pub(crate) fn path_of(selector: &Selector) -> String {
    let mut path = selector.name.to_string();
    if let Some(revision) = selector.revision.as_ref().map(Revision::as_str) {
        path = format!("{path}/{revision}");
    }
    match selector.index {
        Some(index) => format!("{path}/{index}"),
        None => path,
    }
}

fn json(value: &impl Serialize) -> anyhow::Result<String> {
    serde_json::to_string(value).context("cannot write the request")
}

fn with_newline(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
