//! Calling a function: its answer's body to stdout, a failing status to stderr.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use capsule_cmd::exit;
use capsule_cmd::message;
use capsule_cmd::parse::Parsed;
use capsule_cmd::usage::{Problem, Problems};
use capsule_faas_model::target::Selector;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};

use crate::flags;
use crate::run;
use crate::server::Server;

/// What a call is made of.
pub(crate) struct Call {
    selector: Selector,
    method: Method,
    /// Path and query behind the function's own address; empty, or with a slash or a question mark in front.
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Body>,
}

enum Body {
    Text(String),
    Stdin,
}

impl Call {
    /// Reads what belongs to the call itself.
    pub(crate) fn read(parsed: &Parsed, selector: Selector, problems: &mut Problems) -> Option<Call> {
        let body = parsed.text(&flags::BODY).map(|text| match text {
            "-" => Body::Stdin,
            text => Body::Text(text.to_owned()),
        });
        let method = match parsed.text(&flags::METHOD) {
            Some(text) => method(text)?,
            None if body.is_some() => Method::POST,
            None => Method::GET,
        };
        let path = match parsed.text(&flags::PATH) {
            None | Some("/") => String::new(),
            Some(text) if text.starts_with(['/', '?']) => text.to_owned(),
            Some(text) => format!("/{text}"),
        };
        if path.starts_with('/') && selector.index.is_none() {
            let problem = Problem::new("`--path` is given without `--index`");
            problems.push(problem.hint("a function sees the path that follows its index: add `--index=0`"));
        }
        let outside = |part: &str| matches!(part.replace("%2e", ".").replace("%2E", ".").as_str(), "." | "..");
        let only_path = path.split('?').next().unwrap_or_default();
        if path.contains('#') || only_path.split(['/', '\\']).any(outside) {
            let problem =
                Problem::new(format!("`--path`: expected a plain path and query, found `{}`", path.escape_debug()));
            problems.push(problem.hint("`.` and `..` would leave the function, and what follows `#` is never sent"));
        }
        let headers = parsed.texts(&flags::HEADER).into_iter().filter_map(|text| header(text).ok()).collect();
        Some(Call { selector, method, path, headers, body })
    }

    /// Calls the function.
    ///
    /// # Errors
    /// The server cannot be reached, the answer breaks off, or stdout cannot be written.
    pub(crate) async fn run(self, server: &Server) -> anyhow::Result<ExitCode> {
        let body = match self.body {
            None => None,
            Some(Body::Text(text)) => Some(text.into_bytes()),
            Some(Body::Stdin) => Some(read_stdin()?),
        };
        let path = format!("/functions/{}{}", run::path_of(&self.selector), self.path);
        // Without the token: a function is never told it.
        let mut request = server.open_request(self.method, &path)?;
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = server.send(request).await?;
        let status = response.status();
        let code = server.print(response, false).await?;
        if status.as_u16() < 400 {
            return Ok(code);
        }
        message::print(&anyhow!("the call of `{}` was answered with {status}", run::path_of(&self.selector)));
        Ok(ExitCode::from(exit::FAILURE))
    }
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    std::io::stdin().lock().read_to_end(&mut body).context("cannot read standard input")?;
    Ok(body)
}

fn method(text: &str) -> Option<Method> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes()).ok()
}

pub(crate) fn check_method(text: &str) -> Result<(), String> {
    match method(text) {
        Some(_) => Ok(()),
        None => Err(format!("expected a method such as `PUT`, found `{}`", text.escape_debug())),
    }
}

/// Reads `Name: value`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("expected `NAME:VALUE` as HTTP allows it, found `{text}`");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    Ok((name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?))
}

pub(crate) fn check_header(text: &str) -> Result<(), String> {
    header(text).map(drop)
}
