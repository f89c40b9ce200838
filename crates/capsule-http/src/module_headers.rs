//! The headers that a module gives its answers, as those of HTTP.
//!
//! Functions mostly answer with the same few sets of headers: each thread keeps the last ones beside their text, so that they
//! are checked and converted once.

use std::cell::RefCell;
use std::rc::Rc;

use capsule_abi::headers::Header;
use capsule_abi::response;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

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

/// The headers of an answer, in the module's order.
#[derive(Debug)]
pub(crate) struct ModuleHeaders {
    /// Without those that are not the module's to set.
    pub(crate) pairs: Vec<(HeaderName, HeaderValue)>,
    /// `Content-Type` is among them.
    pub(crate) typed: bool,
}

struct Kept {
    text: Box<str>,
    headers: Rc<ModuleHeaders>,
}

thread_local! {
    static LAST: RefCell<[Option<Kept>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// The headers that the JSON text of a document's `Headers` names.
///
/// # Errors
/// One line that says which header is wrong.
pub(crate) fn of(text: &str) -> Result<Rc<ModuleHeaders>, String> {
    LAST.with_borrow_mut(|last| {
        // Sets differ in length more often than not; those that do not only replace each other.
        let place = &mut last[text.len() % KEPT];
        if let Some(kept) = place.as_ref().filter(|kept| *kept.text == *text) {
            return Ok(Rc::clone(&kept.headers));
        }
        let headers = Rc::new(convert(text)?);
        if text.len() <= LONGEST_KEPT {
            *place = Some(Kept { text: text.into(), headers: Rc::clone(&headers) });
        }
        Ok(headers)
    })
}

fn convert(text: &str) -> Result<ModuleHeaders, String> {
    let given = response::read_headers(text).map_err(|error| error.to_string())?;
    let mut pairs = Vec::with_capacity(given.len());
    for (name, value) in &given {
        let wrong = || format!("the header `{}` is not one that HTTP allows", name.escape_debug());
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
        pairs.push((name, value));
    }
    pairs.retain(|(name, _)| !NOT_THE_MODULES.contains(name) && !is_nominated(name, &given));
    let typed = pairs.iter().any(|(name, _)| *name == CONTENT_TYPE);
    Ok(ModuleHeaders { pairs, typed })
}

/// `Connection` nominates further headers that belong to the connection alone (RFC 9110 section 7.6.1).
fn is_nominated(name: &HeaderName, given: &[Header<'_>]) -> bool {
    let lists = given.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    lists.flat_map(|(_, list)| list.split(',')).any(|nominated| nominated.trim().eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        of(text).unwrap().pairs.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect()
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
        let kept = of(r#"{"A":"1"}"#).unwrap();
        assert!(Rc::ptr_eq(&kept, &of(r#"{"A":"1"}"#).unwrap()));
    }

    #[test]
    fn wrong_ones_are_refused_each_time() {
        for _ in 0..2 {
            assert_eq!(of(r#"{"A B":"c"}"#).unwrap_err(), "\"A B\" is not a header name that HTTP allows");
        }
    }
}
