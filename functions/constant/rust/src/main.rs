//! A function over HTTP that always answers the same and asks the host for nothing: what is left to measure is the runner.
//!
//! Document and head are made by hand, so that the module does next to nothing.

use capsule_mdk::Result;

const BODY: &[u8] = br#"{"message":"hello"}"#;
/// For runners that know documents only.
const DOCUMENT: &str = r#"{"JSONBody":{"message":"hello"},"TextBody":"","Headers":{"Content-Type":"application/json; charset=utf-8"},"StatusCode":200}"#;
/// 200, one header, the lengths of its name and its value, both.
const HEAD: &[u8] = b"\xc8\0\0\0\x01\0\0\0\x0c\0\0\0\x1f\0\0\0Content-Typeapplication/json; charset=utf-8";

capsule_mdk::handle_request_raw!(answer);
capsule_mdk::handle_http_raw!(answer_document);

fn answer(_: &[u8], _: &[u8]) -> Result<(&'static [u8], &'static [u8])> {
    Ok((HEAD, BODY))
}

fn answer_document(_: &[u8]) -> Result<&'static str> {
    Ok(DOCUMENT)
}

fn main() {}

#[cfg(test)]
mod tests {
    use capsule_abi::{exchange, response};

    use super::*;

    #[test]
    fn both_answers_are_valid_and_the_same() {
        let document = response::parse(DOCUMENT.as_bytes()).unwrap();
        assert_eq!((document.status, document.body.as_bytes()), (200, BODY));
        let head = exchange::read_response(HEAD).unwrap();
        assert_eq!(head.status, 200);
        let bytes = document.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert!(head.headers.eq(bytes));
    }
}
