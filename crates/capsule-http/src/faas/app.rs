//! Which route answers a request of a server of functions.

use std::sync::Arc;
use std::time::Instant;

use capsule_faas::runtime::Faas;
use capsule_faas_model::Refusal;
use capsule_faas_model::names::{INDEX_PAGE, Key, RESERVED};
use capsule_faas_model::target::{self, Admin, Selector, Target};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;

use super::admin;
use super::answers::{self, Body, SERVER};
use super::call;
use super::metrics;
use super::tokens::{Denied, Tokens};
use crate::answer::{self, Answer};
use crate::app::{App, Tally};
use crate::connections::peer::Peer;
use crate::drain::Drain;
use crate::front::Front;
use crate::listener::Answers;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::module_headers;
use crate::request_id;

/// What a server of functions answers with.
pub(super) struct FaasApp {
    pub(super) faas: Faas,
    pub(super) tokens: Tokens,
    /// The module for all other paths.
    pub(super) module: Option<Arc<App>>,
    pub(super) front: Front,
    pub(super) metrics: Metrics,
    pub(super) drain: Drain,
    /// Uploads at the same time. They wait for their clients, so starts do not wait for them.
    pub(super) uploads: Semaphore,
    /// Clients that follow logs at the same time.
    pub(super) followers: Arc<Semaphore>,
    /// Bytes of a module.
    pub(super) max_module: u64,
    /// The function for all other paths, when there is no module for them.
    pub(super) index: Selector,
}

/// What a request is made of, beside its head.
pub(super) struct Rest<'a, 'b> {
    pub(super) body: Incoming,
    /// On which connection it came.
    pub(super) peer: &'a Arc<Peer>,
    /// Its id.
    pub(super) id: &'a HeaderValue,
    /// When it came.
    pub(super) begin: Instant,
    /// Where a call is counted.
    pub(super) tally: &'a mut Option<Tally<'b>>,
}

/// What a function sees of a request's path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen {
    /// All of it.
    All,
    /// Its end, from this byte on.
    From(usize),
    /// `/`: the path ends with the function.
    Root,
}

impl Seen {
    /// `seen` of `path`.
    fn of(path: &str, seen: &str) -> Seen {
        if path.ends_with(seen) { Seen::From(path.len() - seen.len()) } else { Seen::Root }
    }

    /// The path that the function sees, when that is not all of it.
    pub(super) fn part(self, path: &str) -> Option<&str> {
        match self {
            Seen::All => None,
            Seen::From(start) => Some(&path[start..]),
            Seen::Root => Some("/"),
        }
    }
}

/// An answer on its way out.
pub(super) struct Routed {
    pub(super) answer: Response<Body>,
    /// Who answered, for the log.
    pub(super) function: Option<Key>,
    /// It is in the access log already.
    pub(super) logged: bool,
}

impl From<Response<Body>> for Routed {
    fn from(answer: Response<Body>) -> Routed {
        Routed { answer, function: None, logged: false }
    }
}

impl From<Answer> for Routed {
    fn from(answer: Answer) -> Routed {
        answers::whole(answer).into()
    }
}

impl Answers for FaasApp {
    type Body = Body;

    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        // Taken apart outside of the future, which would hold it twice.
        let begin = Instant::now();
        let (mut head, body) = request.into_parts();
        async move {
            let id = request_id::of(&head.headers);
            let log = self.front.access_log.then(|| Box::new(head_of(&head)));
            let is_head = head.method == Method::HEAD;
            let mut tally = None;
            let rest = Rest { body, peer: &peer, id: &id, begin, tally: &mut tally };
            let Routed { mut answer, function, logged } = self.route(&mut head, rest).await;
            if let Some(tally) = &mut tally {
                tally.status = answer.status().as_u16();
            }
            if let Some(head) = log.filter(|_| !logged) {
                let function = function.map(|key| key.to_string());
                self.front.log(&head, &peer, answer.status(), begin, &id, function.as_deref());
            }
            module_headers::set_id(answer.headers_mut(), id);
            if is_head { without_body(answer) } else { answer }
        }
    }
}

impl FaasApp {
    /// What answers. All but calls are in boxes: the future of every call would be as large as theirs.
    async fn route<'a>(self: &'a Arc<Self>, head: &mut Parts, rest: Rest<'_, 'a>) -> Routed {
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        match head.uri.path() {
            "/health" if reads => of_server(answers::whole(self.health())).into(),
            "/metrics" if reads => match self.tokens.check(&head.headers) {
                Ok(()) => Box::pin(self.metrics()).await.into(),
                Err(denied) => self.denied(head, &denied, &rest),
            },
            path => {
                if let Some(tail) =
                    path.strip_prefix("/functions").filter(|tail| tail.is_empty() || tail.starts_with('/'))
                {
                    let tail = tail.strip_prefix('/').unwrap_or_default();
                    // Most calls: a name alone.
                    let target = match self.faas.named(tail) {
                        Some(selector) => Ok(Target::Call { selector, path: "/" }),
                        None => target::parse(tail),
                    };
                    match target {
                        Ok(Target::Call { selector, path }) => {
                            let path = Seen::of(head.uri.path(), path);
                            call::call(self, &selector, path, head, rest).await
                        }
                        Ok(Target::Admin(act)) => self.administer(&act, head, rest).await,
                        Err(refusal) => {
                            let word = tail.split('/').next().unwrap_or_default();
                            self.refuse(&refusal, word, head, &rest)
                        }
                    }
                } else if let Some(tail) = path.strip_prefix("/notify/") {
                    self.notified(tail).into()
                } else {
                    Box::pin(self.other(head, rest)).await
                }
            }
        }
    }

    /// An administrative act, for those who may.
    async fn administer(&self, act: &Admin, head: &mut Parts, rest: Rest<'_, '_>) -> Routed {
        if act.is_guarded()
            && let Err(denied) = self.tokens.check(&head.headers)
        {
            return self.denied(head, &denied, &rest);
        }
        let id = rest.id.to_str().unwrap_or_default();
        of_server(Box::pin(admin::carry_out(self, act, head, rest.body, rest.peer, id)).await).into()
    }

    /// The answer to a path below `/functions` that begins with `word` and asks for nothing. Without a token, nobody learns what
    /// is wrong with an administrative one.
    fn refuse(&self, refusal: &Refusal, word: &str, head: &Parts, rest: &Rest<'_, '_>) -> Routed {
        if !RESERVED.contains(&word) {
            return answers::refused(refusal).into();
        }
        match self.tokens.check(&head.headers) {
            Err(denied) if word != "health" => self.denied(head, &denied, rest),
            _ => of_server(answers::whole(answers::refused(refusal))).into(),
        }
    }

    /// A child process says that it stops. It is believed when it is seen.
    fn notified(&self, tail: &str) -> Answer {
        match target::notify(tail) {
            Err(refusal) => answers::refused(&refusal),
            Ok(selector) => match self.faas.notified(&selector) {
                Ok(()) => answers::document(&json!({"noticed": selector.to_string()})),
                Err(error) => answers::failed(&error),
            },
        }
    }

    /// Paths that belong to nobody else: the module of the command line, the function `index.page`, or a line of text.
    async fn other<'a>(&'a self, head: &mut Parts, rest: Rest<'_, 'a>) -> Routed {
        if head.method == Method::CONNECT {
            return answers::problem(StatusCode::NOT_IMPLEMENTED, "this server is not a proxy", None).into();
        }
        if let Some(module) = &self.module {
            self.tokens.remove(&mut head.headers);
            // What this server has taken for its id.
            head.headers.insert(request_id::HEADER, rest.id.clone());
            let (empty, ()) = Request::new(()).into_parts();
            let request = Request::from_parts(std::mem::replace(head, empty), rest.body);
            let answer = Arc::clone(module).answer(request, Arc::clone(rest.peer)).await;
            return Routed { answer: answers::whole(answer), function: None, logged: true };
        }
        if self.faas.check(&self.index).is_ok() {
            return call::call(self, &self.index, Seen::All, head, rest).await;
        }
        answer::text(StatusCode::OK, format!("Capsule {}[faas]", env!("CARGO_PKG_VERSION"))).into()
    }

    fn health(&self) -> Answer {
        let processes = self.faas.stats();
        let awake = processes.iter().filter(|process| process.status == capsule_faas_model::record::Status::Started);
        answers::document(&json!({"status": "ok", "processes": processes.len(), "awake": awake.count()}))
    }

    /// The server's counters, those of its module, and those of its functions.
    pub(super) async fn metrics(&self) -> Answer {
        let processes = self.faas.stats();
        let mut text = match &self.module {
            Some(module) => module.module_metrics().await,
            None => None,
        };
        let mut sum = metrics::sum(&processes);
        if let Some(module) = &self.module {
            sum += &module.function.stats();
        }
        let mut all = self.metrics.text(text.take().as_deref(), &sum);
        all.push_str(&metrics::text(&processes));
        answer::with(StatusCode::OK, HeaderValue::from_static(CONTENT_TYPE), all)
    }

    /// The answer to a request without a valid token, which is a line in the log.
    fn denied(&self, head: &Parts, denied: &Denied, rest: &Rest<'_, '_>) -> Routed {
        tracing::warn!(
            target: "audit",
            act = "denied",
            method = head.method.as_str(),
            path = head.uri.path(),
            reason = ?denied,
            client = %self.front.client(head, rest.peer),
            request_id = rest.id.to_str().unwrap_or_default(),
        );
        of_server(answers::whole(admin::denied(denied))).into()
    }
}

/// `/metrics` alone, for those who collect numbers and have no token.
pub(super) struct MetricsOnly(pub(super) Arc<FaasApp>);

impl Answers for MetricsOnly {
    type Body = Body;

    async fn answer(self: Arc<Self>, request: Request<Incoming>, _: Arc<Peer>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        let reads = is_head || request.method() == Method::GET;
        let answer = match request.uri().path() {
            "/metrics" if reads => self.0.metrics().await,
            _ => answers::problem(StatusCode::NOT_FOUND, "this port has `GET /metrics` alone", None),
        };
        let answer = answers::whole(answer);
        if is_head { without_body(answer) } else { answer }
    }
}

/// An answer of administration, which says what server this is.
fn of_server(mut answer: Response<Body>) -> Response<Body> {
    let version = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    answer.headers_mut().insert(HeaderName::from_static(SERVER), version);
    answer
}

/// What the log needs of a request.
fn head_of(given: &Parts) -> Parts {
    let mut headers = HeaderMap::new();
    for value in given.headers.get_all("x-forwarded-for") {
        headers.append("x-forwarded-for", value.clone());
    }
    let (mut head, ()) = Request::new(()).into_parts();
    (head.method, head.uri, head.headers) = (given.method.clone(), given.uri.clone(), headers);
    head
}

fn without_body(answer: Response<Body>) -> Response<Body> {
    let (head, body) = answer.into_parts();
    match body {
        Either::Left(body) => answers::whole(answer::head_of(Response::from_parts(head, body))),
        Either::Right(_) => Response::from_parts(head, Either::Left(Full::default())),
    }
}

/// The function for paths that belong to nobody.
pub(super) fn index_page() -> Selector {
    let name = INDEX_PAGE.parse().expect("it is a name");
    Selector { name, revision: None, index: None }
}
