//! The stand-in for a runner, everywhere but on wasm32: host functions in memory, for plain `cargo test`.
//!
//! Every thread has its own, so tests that run at the same time do not see each other.
//!
//! ```
//! use capsule_mdk::{cache, print, standin};
//!
//! standin::set_env("MESSAGE", "hello");
//! print(capsule_mdk::get_env("MESSAGE"));
//! assert_eq!(standin::printed(), ["hello"]);
//! assert_eq!(cache::get("absent").unwrap_err().to_string(), "key not found");
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use capsule_abi::outbound::{self, OutboundBody};
use capsule_abi::{frame, keys};

/// A request that the module sent through [`crate::http`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentRequest {
    /// Upper case.
    pub method: String,
    /// The absolute URI.
    pub uri: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes; JSON is compact.
    pub body: Vec<u8>,
}

type Store = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct World {
    env: BTreeMap<String, String>,
    files: Store,
    cache: Store,
    redis: Store,
    redis_failure: Option<String>,
    printed: Vec<String>,
    logged: Vec<String>,
    talk: Option<Vec<u8>>,
    answers: VecDeque<(u16, String, Vec<u8>)>,
    sent: Vec<SentRequest>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

fn with<T>(use_world: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(use_world)
}

/// Forgets everything on this thread.
pub fn reset() {
    with(|world| *world = World::default());
}

/// Sets an environment variable.
pub fn set_env(name: &str, value: &str) {
    with(|world| world.env.insert(name.to_owned(), value.to_owned()));
}

/// Puts a file at a path, as the module writes it.
pub fn set_file(path: &str, content: impl Into<Vec<u8>>) {
    with(|world| world.files.insert(path.as_bytes().to_vec(), content.into()));
}

/// The content of a file, or `None`.
#[must_use]
pub fn file(path: &str) -> Option<Vec<u8>> {
    with(|world| world.files.get(path.as_bytes()).cloned())
}

/// What was printed, line by line.
#[must_use]
pub fn printed() -> Vec<String> {
    with(|world| world.printed.clone())
}

/// What was printed since the last time, line by line.
#[must_use]
pub fn take_printed() -> Vec<String> {
    with(|world| std::mem::take(&mut world.printed))
}

/// What was logged, line by line, without timestamps.
#[must_use]
pub fn logged() -> Vec<String> {
    with(|world| world.logged.clone())
}

/// Sets what the host answers to [`crate::talk`].
pub fn set_talk(answer: impl Into<Vec<u8>>) {
    with(|world| world.talk = Some(answer.into()));
}

/// Makes every Redis function fail with this message, or work again (`None`).
pub fn set_redis_failure(message: Option<&str>) {
    with(|world| world.redis_failure = message.map(str::to_owned));
}

/// Scripts the answer to one request of [`crate::http`]. They are used up in order; without one left a request fails.
pub fn answer_http(status: u16, content_type: &str, body: impl Into<Vec<u8>>) {
    with(|world| world.answers.push_back((status, content_type.to_owned(), body.into())));
}

/// The requests that the module sent.
#[must_use]
pub fn sent() -> Vec<SentRequest> {
    with(|world| world.sent.clone())
}

// The host's side. The documents take the same way as between a module and a runner.

pub(crate) fn print(text: &[u8]) {
    with(|world| world.printed.push(text_of(text)));
}

pub(crate) fn log(text: &[u8]) {
    with(|world| world.logged.push(text_of(text)));
}

pub(crate) fn talk(_message: &[u8]) -> Vec<u8> {
    with(|world| world.talk.clone()).unwrap_or_else(|| "Hello 😀 I'm the host".into())
}

pub(crate) fn get_env(name: &[u8]) -> Vec<u8> {
    with(|world| world.env.get(&text_of(name)).cloned()).unwrap_or_default().into()
}

pub(crate) fn read_file(path: &[u8]) -> Vec<u8> {
    let content = with(|world| world.files.get(path).cloned());
    framed(content.ok_or_else(|| format!("open {}: no such file or directory", text_of(path))))
}

pub(crate) fn write_file(path: &[u8], content: &[u8]) -> Vec<u8> {
    with(|world| world.files.insert(path.to_vec(), content.to_vec()));
    framed(Ok(path.to_vec()))
}

pub(crate) fn http(document: &[u8]) -> Vec<u8> {
    framed(send(document))
}

fn send(document: &[u8]) -> Result<Vec<u8>, String> {
    let request = outbound::parse_request(document).map_err(|error| error.to_string())?;
    let described = format!("{} {}", request.method, request.uri);
    let sent = SentRequest {
        method: request.method.into_owned(),
        uri: request.uri.into_owned(),
        headers: request.headers.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        body: match request.body {
            OutboundBody::Empty | OutboundBody::EmptyJson => Vec::new(),
            OutboundBody::Bytes(bytes) => bytes.into_owned(),
            OutboundBody::Json(text) => text.into_owned().into_bytes(),
        },
    };
    let answer = with(|world| {
        world.sent.push(sent);
        world.answers.pop_front()
    });
    let (status, content_type, body) = answer.ok_or_else(|| format!("no answer is scripted for {described}"))?;
    let mut out = Vec::new();
    outbound::write_response(&mut out, status, [("content-type", content_type.as_bytes())].into_iter(), &body);
    Ok(out)
}

pub(crate) fn cache_set(key: &[u8], value: &[u8]) -> Vec<u8> {
    with(|world| world.cache.insert(key.to_vec(), value.to_vec()));
    framed(Ok(key.to_vec()))
}

pub(crate) fn cache_get(key: &[u8]) -> Vec<u8> {
    framed(with(|world| world.cache.get(key).cloned()).ok_or_else(|| "key not found".to_owned()))
}

pub(crate) fn cache_del(key: &[u8]) -> Vec<u8> {
    with(|world| world.cache.remove(key));
    framed(Ok(key.to_vec()))
}

pub(crate) fn cache_keys(pattern: &[u8]) -> Vec<u8> {
    framed(Ok(with(|world| matching(&world.cache, pattern))))
}

pub(crate) fn redis_set(key: &[u8], value: &[u8]) -> Vec<u8> {
    redis(|store| {
        store.insert(key.to_vec(), value.to_vec());
        Ok(key.to_vec())
    })
}

pub(crate) fn redis_get(key: &[u8]) -> Vec<u8> {
    redis(|store| store.get(key).cloned().ok_or_else(|| "redis: nil".to_owned()))
}

pub(crate) fn redis_del(key: &[u8]) -> Vec<u8> {
    redis(|store| {
        store.remove(key);
        Ok(key.to_vec())
    })
}

pub(crate) fn redis_keys(pattern: &[u8]) -> Vec<u8> {
    redis(|store| Ok(matching(store, pattern)))
}

fn redis(command: impl FnOnce(&mut Store) -> Result<Vec<u8>, String>) -> Vec<u8> {
    framed(with(|world| match &world.redis_failure {
        Some(message) => Err(message.clone()),
        None => command(&mut world.redis),
    }))
}

fn framed(result: Result<Vec<u8>, String>) -> Vec<u8> {
    match &result {
        Ok(payload) => frame::encode(Ok(payload)),
        Err(message) => frame::encode(Err(message.as_bytes())),
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The keys document of a store.
fn matching(store: &Store, pattern: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    keys::write(&mut out, store.keys().filter(|key| matches(pattern, key)).map(|key| &**key));
    out
}

/// Whether a key matches a pattern as Redis KEYS understands it. Recursion only goes on at a `*`, one level each.
fn matches(pattern: &[u8], key: &[u8]) -> bool {
    match (pattern, key) {
        ([], _) => key.is_empty(),
        ([b'*', pattern @ ..], _) => (0..=key.len()).any(|skipped| matches(pattern, &key[skipped..])),
        (_, []) => false,
        ([b'?', pattern @ ..], [_, key @ ..]) => matches(pattern, key),
        ([b'[', set @ ..], [letter, key @ ..]) => {
            let (hit, pattern) = class(set, *letter);
            hit && matches(pattern, key)
        }
        ([b'\\', wanted, pattern @ ..] | [wanted, pattern @ ..], [letter, key @ ..]) => {
            wanted == letter && matches(pattern, key)
        }
    }
}

/// Whether a letter is in the class that starts after `[`, and what follows the class.
fn class(set: &[u8], letter: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut hit = false;
    loop {
        match rest {
            [] => return (hit != negated, rest),
            [b']', after @ ..] => return (hit != negated, after),
            [b'\\', one, after @ ..] => {
                hit |= *one == letter;
                rest = after;
            }
            [from, b'-', to, after @ ..] => {
                hit |= (*from.min(to)..=*from.max(to)).contains(&letter);
                rest = after;
            }
            [one, after @ ..] => {
                hit |= *one == letter;
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache, http, redis};

    #[test]
    fn files_environment_and_talk() {
        set_env("A", "1");
        assert_eq!((crate::get_env("A"), crate::get_env("B")), ("1".into(), String::new()));
        assert_eq!(crate::read_file("x").unwrap_err().message(), "open x: no such file or directory");
        crate::write_file("x", "content").unwrap();
        assert_eq!((crate::read_file("x").unwrap(), file("x").unwrap()), (b"content".to_vec(), b"content".to_vec()));
        assert_eq!(crate::talk("hi"), "Hello 😀 I'm the host".as_bytes());
        set_talk("yes");
        assert_eq!(crate::talk("hi"), b"yes");
        crate::log("l");
        assert_eq!((logged(), printed()), (vec!["l".to_owned()], vec![]));
        reset();
        assert_eq!(file("x"), None);
    }

    #[test]
    fn cache_and_redis() {
        for key in ["one", "two", "three"] {
            cache::set(key, b"\0v").unwrap();
            redis::set(key, key).unwrap();
        }
        assert_eq!(cache::get("one").unwrap(), b"\0v");
        cache::del("one").unwrap();
        cache::del("one").unwrap();
        assert_eq!(cache::get("one").unwrap_err().message(), "key not found");
        assert_eq!(cache::keys("t*").unwrap(), ["three", "two"]);
        redis::del("two").unwrap();
        assert_eq!(redis::get("two").unwrap_err().message(), "redis: nil");
        assert_eq!(redis::keys("*").unwrap(), ["one", "three"]);
        set_redis_failure(Some("connection refused"));
        assert_eq!(redis::set("a", "b").unwrap_err().message(), "connection refused");
    }

    #[test]
    fn patterns_are_those_of_redis() {
        for (pattern, key, expected) in [
            ("*", "", true),
            ("h?llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b", "xxaxxb", true),
            ("[", "a", false),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), key.as_bytes()), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn requests_are_recorded_and_answers_are_scripted() {
        answer_http(201, "application/json", "{ \"a\": 1 }");
        answer_http(200, "application/octet-stream", b"\xff".to_vec());
        let answer = http::post("http://h/").json(&["x"]).unwrap().header("X-A", "\"").send().unwrap();
        assert_eq!((answer.status(), answer.is_json(), answer.body()), (201, true, &b"{\"a\":1}"[..]));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(http::request("PUT", "http://h/").body(b"\xfe".to_vec()).send().unwrap().body(), b"\xff");
        assert_eq!(http::get("http://h/").send().unwrap_err().message(), "no answer is scripted for GET http://h/");
        let sent = sent();
        assert_eq!(sent[0].headers[1], ("X-A".to_owned(), "\"".to_owned()));
        assert_eq!((&*sent[0].body, &*sent[1].body, &*sent[2].body), (&b"[\"x\"]"[..], &b"\xfe"[..], &b""[..]));
    }
}
