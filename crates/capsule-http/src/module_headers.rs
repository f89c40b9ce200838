//! The headers that a module gives its answers, as those of HTTP.
//!
//! Functions mostly answer with the same few sets of headers: each thread keeps the last ones beside their text, so that they
//! are checked and converted once.

use std::cell::RefCell;
use std::rc::Rc;

use capsule_abi::exchange::ResponseHead;
use capsule_abi::response;
use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::request_id;

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
    /// Without those that are not the module's to set, and with an empty one in the places of those that every answer gets
    /// from the server: to replace these takes less time than to make room for them.
    pub(crate) map: HeaderMap,
    /// `Content-Type` is among them.
    pub(crate) typed: bool,
}

struct Kept {
    form: Form,
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
pub(crate) fn of_text(text: &str) -> Result<Rc<ModuleHeaders>, String> {
    kept(Form::Text, text.as_bytes(), || {
        let given = response::read_headers(text).map_err(|error| error.to_string())?;
        convert(given.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    })
}

/// The headers of a head.
///
/// # Errors
/// One line that says which header is wrong.
pub(crate) fn of_head(head: &ResponseHead<'_>) -> Result<Rc<ModuleHeaders>, String> {
    kept(Form::Head, head.identity, || convert(head.headers))
}

/// Those of before when they were given in the same bytes.
fn kept(
    form: Form,
    given: &[u8],
    convert: impl FnOnce() -> Result<ModuleHeaders, String>,
) -> Result<Rc<ModuleHeaders>, String> {
    LAST.with_borrow_mut(|last| {
        // Sets differ in length more often than not; those that do not only replace each other.
        let place = &mut last[given.len() % KEPT];
        if let Some(kept) = place.as_ref().filter(|kept| kept.form == form && *kept.given == *given) {
            return Ok(Rc::clone(&kept.headers));
        }
        let headers = Rc::new(convert()?);
        if given.len() <= LONGEST_KEPT {
            *place = Some(Kept { form, given: given.into(), headers: Rc::clone(&headers) });
        }
        Ok(headers)
    })
}

fn convert<'a>(given: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Result<ModuleHeaders, String> {
    // Room for what the server adds, in clones too.
    let too_many = "it has more headers than an answer can hold";
    let mut map = HeaderMap::try_with_capacity(given.clone().count() + 4).map_err(|_| too_many)?;
    map.insert(request_id::HEADER, HeaderValue::from_static(""));
    for (name, value) in given.clone() {
        let wrong =
            || format!("the header `{}` is not one that HTTP allows", String::from_utf8_lossy(name).escape_debug());
        let name = HeaderName::from_bytes(name).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| wrong())?;
        if !NOT_THE_MODULES.contains(&name) && !is_nominated(&name, given.clone()) {
            map.try_append(name, value).map_err(|_| too_many)?;
        }
    }
    let typed = map.contains_key(CONTENT_TYPE);
    Ok(ModuleHeaders { map, typed })
}

/// `Connection` nominates further headers that belong to the connection alone (RFC 9110 section 7.6.1).
fn is_nominated<'a>(name: &HeaderName, given: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    let lists = given.filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let mut nominated = lists.flat_map(|(_, list)| list.split(|byte| *byte == b','));
    nominated.any(|nominated| nominated.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let headers = of_text(text).unwrap();
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
        let kept = of_text(r#"{"A":"1"}"#).unwrap();
        assert!(Rc::ptr_eq(&kept, &of_text(r#"{"A":"1"}"#).unwrap()));
    }

    #[test]
    fn wrong_ones_are_refused_each_time() {
        for _ in 0..2 {
            assert_eq!(of_text(r#"{"A B":"c"}"#).unwrap_err(), "\"A B\" is not a header name that HTTP allows");
        }
    }
}
