//! Administration: what each route does, and what it answers. One line in the log for each act, without secrets.

use std::sync::Arc;
use std::time::Duration;

use capsule_cmd::units;
use capsule_faas::runtime::{FaasError, Health};
use capsule_faas_model::Refusal;
use capsule_faas_model::names::FunctionName;
use capsule_faas_model::record::Status;
use capsule_faas_model::route::Weights;
use capsule_faas_model::spec::Origin;
use capsule_faas_model::start::StartBody;
use capsule_faas_model::target::{Admin, Selector};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::answers::{self, Body};
use super::app::FaasApp;
use super::call::failed_hook;
use super::logs;
use super::tokens::{Denied, TOKEN, TOKEN_FILE};
use crate::answer::{self, Answer};
use crate::connections::peer::Peer;
use crate::document;
use crate::module_headers::Own;
use crate::receiving::{self, Refused};

/// Bytes of a start body: arguments and environment, no module.
const MAX_START: usize = 1 << 20;
/// Bytes of weights.
const MAX_WEIGHTS: usize = 64 << 10;
/// Modules that were stored a moment ago may get their record in a moment.
const PRUNED_AGE: Duration = Duration::from_secs(60 * 60);

/// The answer to a request without a valid token.
pub(super) fn denied(denied: &Denied) -> Answer {
    match denied {
        Denied::Off => answers::problem(
            StatusCode::FORBIDDEN,
            "administration is off: the server was started without a token",
            Some(&format!("start it with `{TOKEN}` or `{TOKEN_FILE}`")),
        ),
        Denied::Missing | Denied::Wrong => {
            let error = if *denied == Denied::Missing { "the token is missing" } else { "the token is wrong" };
            let hint = format!("send it as the header `{TOKEN}`, or as `Authorization: Bearer`");
            let mut answer = answers::problem(StatusCode::UNAUTHORIZED, error, Some(&hint));
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
    }
}

/// Carries out what a route asks for. The token has been checked.
pub(super) async fn carry_out(
    app: &FaasApp,
    admin: &Admin,
    head: &Parts,
    body: Incoming,
    peer: &Arc<Peer>,
    id: &str,
) -> Response<Body> {
    if !has_method(admin, &head.method) {
        return answers::whole(wrong_method(admin, &head.method));
    }
    let mut subject = subject(admin);
    let result = match admin {
        Admin::Logs(selector) => match logs::answer(app, selector, head.uri.query().unwrap_or_default(), peer) {
            Ok(answer) => return answer,
            Err(error) => Err(Failed::Faas(error)),
        },
        _ => act(app, admin, head, body, peer, &mut subject).await,
    };
    let answer = result.unwrap_or_else(Failed::answer);
    if admin.is_guarded() && admin.method() != "GET" {
        tracing::info!(
            target: "audit",
            act = word(admin),
            subject,
            status = answer.status().as_u16(),
            client = %app.front.client(head, peer),
            request_id = id,
        );
    }
    answers::whole(answer)
}

/// Why an act failed.
enum Failed {
    Faas(FaasError),
    Body(Refused),
}

impl Failed {
    fn answer(self) -> Answer {
        match self {
            Failed::Faas(error) => {
                if error.status() == 500 {
                    tracing::error!("{error}");
                }
                answers::failed(&error)
            }
            Failed::Body(refused) => answers::not_taken(refused),
        }
    }
}

impl From<FaasError> for Failed {
    fn from(error: FaasError) -> Failed {
        Failed::Faas(error)
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        Failed::Faas(refusal.into())
    }
}

async fn act(
    app: &FaasApp,
    admin: &Admin,
    head: &Parts,
    body: Incoming,
    peer: &Arc<Peer>,
    subject: &mut String,
) -> Result<Answer, Failed> {
    let faas = &app.faas;
    Ok(match admin {
        Admin::Start => {
            let received = receiving::read(body, MAX_START, "", peer).await.map_err(Failed::Body)?;
            let body = StartBody::parse(&received.bytes)?;
            *subject = format!("{}/{}", body.name, body.revision);
            let key = faas.start(body, Origin::Api).await?;
            *subject = key.to_string();
            answer::text(StatusCode::OK, key.to_string())
        }
        Admin::Processes => answers::document(&faas.processes()),
        Admin::Modules => {
            if body.size_hint().lower() > app.max_module {
                let text =
                    format!("the module is larger than the limit of {} bytes (flag `--maxModule`)", app.max_module);
                return Err(Failed::Body((StatusCode::PAYLOAD_TOO_LARGE, text.into())));
            }
            let _turn = app.uploads.acquire().await;
            let stored = faas.upload(receiving::pieces(body, peer)).await?;
            *subject = stored.to_string();
            answers::document(&json!({"module": stored.to_string()}))
        }
        Admin::Prune => {
            let removed = faas.prune(older_than(head.uri.query().unwrap_or_default())?).await?;
            *subject = format!("{} modules", removed.len());
            answers::document(&json!({"removed": removed.iter().map(ToString::to_string).collect::<Vec<_>>()}))
        }
        Admin::Duplicate { name, revision, new } => {
            faas.duplicate(name.clone(), revision.clone(), new.clone()).await?;
            answer::text(StatusCode::OK, name.to_string())
        }
        Admin::Drop(selector) => {
            faas.drop(selector.clone()).await?;
            answers::document(&json!({"dropped": selector.to_string()}))
        }
        Admin::Scale { name, revision, count } => {
            faas.scale(name.clone(), revision.clone(), *count).await?;
            answers::document(&json!({"scaled": format!("{name}/{revision}"), "count": count}))
        }
        Admin::Route(name) => {
            let received = receiving::read(body, MAX_WEIGHTS, "", peer).await.map_err(Failed::Body)?;
            faas.set_route(name.clone(), Weights::parse(&received.bytes)?).await?;
            route(app, name)
        }
        Admin::Rollback(name) => {
            faas.rollback(name.clone()).await?;
            route(app, name)
        }
        Admin::Health(selector) => health(faas.health(selector).await?),
        Admin::Logs(_) => answer::internal(),
    })
}

/// The route of a function, as it is now.
fn route(app: &FaasApp, name: &FunctionName) -> Answer {
    let registry = app.faas.registry();
    let weights = registry.route(name).and_then(|route| route.current.as_ref());
    answers::document(&json!({"function": name, "route": weights}))
}

/// The module's own answer, or how the function is. One that sleeps is well: a call wakes it.
fn health(health: Health) -> Answer {
    let state = |status: Status, more: serde_json::Value| {
        let code = match status {
            Status::Failed | Status::Killed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        let mut document = json!({"status": status.label()});
        if let (Some(document), serde_json::Value::Object(more)) = (document.as_object_mut(), more) {
            document.extend(more);
        }
        answer::with(code, answer::JSON, document.to_string())
    };
    match health {
        Health::NotRunning { status, reason: None } => state(status, json!({})),
        Health::NotRunning { status, reason: Some(reason) } => state(status, json!({"reason": reason})),
        Health::Awake => state(Status::Started, json!({})),
        Health::Busy => state(Status::Started, json!({"busy": true})),
        Health::Document(bytes) => document::to_answer(&bytes, Own::Id).unwrap_or_else(|problem| {
            answers::problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("OnHealthCheck: {problem}"), None)
        }),
        Health::Child(answer) => answer.map(Full::new),
        Health::Failed(error) => failed_hook(&error),
    }
}

fn older_than(query: &str) -> Result<Duration, Refusal> {
    match query.split_once('=') {
        _ if query.is_empty() => Ok(PRUNED_AGE),
        Some(("olderThan", text)) => match units::duration(text) {
            Ok(age) => Ok(age.unwrap_or_default()),
            Err(problem) => Err(Refusal::invalid(format!("`olderThan`: {problem}"))),
        },
        _ => Err(Refusal::invalid("the query: expected `olderThan=DURATION`, found something else")),
    }
}

fn has_method(admin: &Admin, method: &Method) -> bool {
    method.as_str() == admin.method() || (method == Method::HEAD && allows_head(admin))
}

/// A log can be endless, and HEAD would have to read it.
fn allows_head(admin: &Admin) -> bool {
    admin.method() == "GET" && !matches!(admin, Admin::Logs(_))
}

fn wrong_method(admin: &Admin, method: &Method) -> Answer {
    let allowed = if allows_head(admin) { "GET, HEAD" } else { admin.method() };
    let error = format!("expected {}, found {}", admin.method(), method.as_str());
    let mut answer = answers::problem(StatusCode::METHOD_NOT_ALLOWED, &error, None);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// What an act is called in the log.
fn word(admin: &Admin) -> &'static str {
    match admin {
        Admin::Start => "start",
        Admin::Processes => "processes",
        Admin::Modules => "modules",
        Admin::Prune => "prune",
        Admin::Duplicate { .. } => "duplicate",
        Admin::Drop(_) => "drop",
        Admin::Health(_) => "health",
        Admin::Logs(_) => "logs",
        Admin::Route(_) => "route",
        Admin::Rollback(_) => "rollback",
        Admin::Scale { .. } => "scale",
    }
}

/// Whom an act concerns, as far as the path says.
fn subject(admin: &Admin) -> String {
    let shown = |selector: &Selector| selector.to_string();
    match admin {
        Admin::Duplicate { name, revision, new } => format!("{name}/{revision} as {new}"),
        Admin::Drop(selector) | Admin::Health(selector) | Admin::Logs(selector) => shown(selector),
        Admin::Route(name) | Admin::Rollback(name) => name.to_string(),
        Admin::Scale { name, revision, count } => format!("{name}/{revision} to {count}"),
        Admin::Start | Admin::Processes | Admin::Modules | Admin::Prune => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        assert_eq!(older_than("").unwrap(), PRUNED_AGE);
        assert_eq!(older_than("olderThan=2m").unwrap(), Duration::from_secs(120));
        assert_eq!(older_than("olderThan=0").unwrap(), Duration::ZERO);
        assert!(older_than("olderThan=soon").is_err() && older_than("x=1").is_err());
    }
}
