//! The headers that a module gives its answers, as those of HTTP.
//!
//! Functions mostly answer with the same few sets of headers: each thread keeps the last ones beside their text, so that they
//! are checked and converted once.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use capsule_abi::exchange::ResponseHead;
use capsule_abi::response;
use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::request_id;

/// Headers that every answer of a server gets, in the order in which they stand in front of a module's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// The id of the request.
    Id,
    /// And the revision of the function that answered.
    IdAndRevision,
}

/// The header that says which revision answered.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("x-capsule-revision");

impl Own {
    fn names(self) -> &'static [HeaderName] {
        static NAMES: [HeaderName; 2] = [request_id::HEADER, REVISION];
        match self {
            Own::Id => &NAMES[..1],
            Own::IdAndRevision => &NAMES,
        }
    }
}

/// Puts the id of a request into the headers of its answer.
pub(crate) fn set_id(headers: &mut HeaderMap, id: HeaderValue) {
    set(headers, 0, request_id::HEADER, id);
}

/// Puts the revision that answered there.
pub(crate) fn set_revision(headers: &mut HeaderMap, revision: HeaderValue) {
    set(headers, 1, REVISION, revision);
}

fn set(headers: &mut HeaderMap, place: usize, name: HeaderName, value: HeaderValue) {
    // Most answers have a place for it, which takes less time than to find it by its hash.
    match headers.iter_mut().nth(place) {
        Some((found, old)) if *found == name => *old = value,
        _ => drop(headers.insert(name, value)),
    }
}

/// Headers that belong to a connection or to the length of a message, not to an answer (RFC 9110 section 7.6.1): a module
/// that sets them could smuggle a second answer.
static NOT_THE_MODULES: [HeaderName; 9] = [
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    TRAILER,
    PROXY_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Sets that a thread keeps.
const KEPT: usize = 16;
/// Longer texts are not kept.
const LONGEST_KEPT: usize = 1024;

/// The headers of an answer.
#[derive(Debug)]
pub(crate) struct ModuleHeaders {
    /// Without those that are not the module's to set, and with empty ones in the places of the server's [`Own`]: to replace these
    /// takes less time than to make room for them.
    pub(crate) map: HeaderMap,
    /// `Content-Type` is among them.
    pub(crate) typed: bool,
}

struct Kept {
    form: Form,
    own: Own,
    given: Box<[u8]>,
    headers: Rc<ModuleHeaders>,
}

/// How a module has given headers.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// The JSON text of a document's `Headers`.
    Text,
    /// Lengths and bytes of a head.
    Head,
}

thread_local! {
    static LAST: RefCell<[Option<Kept>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// The headers that the JSON text of a document's `Headers` names.
///
/// # Errors
/// One line that says which header is wrong.
pub(crate) fn of_text(text: &str, own: Own) -> Result<Rc<ModuleHeaders>, String> {
    kept(Form::Text, own, text.as_bytes(), || {
        let given = response::read_headers(text).map_err(|error| error.to_string())?;
        convert(given.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), own)
    })
}

/// The headers of a head.
///
/// # Errors
/// One line that says which header is wrong.
pub(crate) fn of_head(head: &ResponseHead<'_>, own: Own) -> Result<Rc<ModuleHeaders>, String> {
    kept(Form::Head, own, head.identity, || convert(head.headers, own))
}

/// Those of before when they were given in the same bytes.
fn kept(
    form: Form,
    own: Own,
    given: &[u8],
    convert: impl FnOnce() -> Result<ModuleHeaders, String>,
) -> Result<Rc<ModuleHeaders>, String> {
    LAST.with_borrow_mut(|last| {
        // Sets differ in length more often than not; those that do not only replace each other.
        let place = &mut last[given.len() % KEPT];
        if let Some(kept) = place.as_ref().filter(|kept| kept.form == form && kept.own == own && *kept.given == *given)
        {
            return Ok(Rc::clone(&kept.headers));
        }
        let headers = Rc::new(convert()?);
        if given.len() <= LONGEST_KEPT {
            *place = Some(Kept { form, own, given: given.into(), headers: Rc::clone(&headers) });
        }
        Ok(headers)
    })
}

fn convert<'a>(given: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, own: Own) -> Result<ModuleHeaders, String> {
    // Room for what the server adds, in clones too.
    let too_many = "it has more headers than an answer can hold";
    let mut map = HeaderMap::try_with_capacity(given.clone().count() + 4).map_err(|_| too_many)?;
    for name in own.names() {
        map.insert(name, HeaderValue::from_static(""));
    }
    let nominated = nominated(given.clone());
    for (name, value) in given {
        let wrong =
            || format!("the header `{}` is not one that HTTP allows", String::from_utf8_lossy(name).escape_debug());
        let name = HeaderName::from_bytes(name).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| wrong())?;
        let bytes = name.as_str().as_bytes();
        if !NOT_THE_MODULES.contains(&name) && !own.names().contains(&name) && !nominated.contains(bytes) {
            map.try_append(name, value).map_err(|_| too_many)?;
        }
    }
    let typed = map.contains_key(CONTENT_TYPE);
    Ok(ModuleHeaders { map, typed })
}

/// Names, in small letters, of further headers that belong to the connection alone: `Connection` nominates them (RFC 9110 section
/// 7.6.1). A set, since a module can give many headers and nominate as many.
fn nominated<'a>(given: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HashSet<Vec<u8>> {
    let lists = given.filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let names = lists.flat_map(|(_, list)| list.split(|byte| *byte == b','));
    names.map(|name| name.trim_ascii().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let headers = of_text(text, Own::Id).unwrap();
        let own = headers.map.iter().filter(|(name, _)| *name != request_id::HEADER);
        own.map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn those_of_the_connection_are_dropped() {
        assert_eq!(names(r#"{"Connection":"close, X-Hop","X-Hop":"1","X-Own":"2","TE":"trailers"}"#), ["x-own=2"]);
    }

    #[test]
    fn a_text_of_the_same_length_is_not_taken_for_another() {
        assert_eq!(names(r#"{"A":"1"}"#), ["a=1"]);
        assert_eq!(names(r#"{"A":"2"}"#), ["a=2"]);
        assert_eq!(names(r#"{"A":"1"}"#), ["a=1"]);
        let kept = of_text(r#"{"A":"1"}"#, Own::Id).unwrap();
        assert!(Rc::ptr_eq(&kept, &of_text(r#"{"A":"1"}"#, Own::Id).unwrap()));
    }

    #[test]
    fn the_servers_own_are_in_front_and_not_the_modules() {
        for (own, count) in [(Own::Id, 1), (Own::IdAndRevision, 2)] {
            let text = r#"{"X-Request-Id":"mine","X-Capsule-Revision":"mine","A":"b"}"#;
            let mut map = of_text(text, own).unwrap().map.clone();
            assert_eq!(map.len(), 2 + usize::from(own == Own::Id) + count - 1, "{map:?}");
            set_id(&mut map, HeaderValue::from_static("id"));
            set_revision(&mut map, HeaderValue::from_static("blue"));
            for (name, value) in [("x-request-id", "id"), ("x-capsule-revision", "blue"), ("a", "b")] {
                assert_eq!(map.get_all(name).iter().collect::<Vec<_>>(), [value]);
            }
        }
    }

    #[test]
    fn wrong_ones_are_refused_each_time() {
        for _ in 0..2 {
            assert_eq!(
                of_text(r#"{"A B":"c"}"#, Own::Id).unwrap_err(),
                "\"A B\" is not a header name that HTTP allows"
            );
        }
    }
}
