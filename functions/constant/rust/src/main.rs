//! A function over HTTP that always answers the same and asks the host for nothing: what is left to measure is the runner.

/// The document is written by hand, so that the module does next to nothing.
const ANSWER: &str = r#"{"JSONBody":{"message":"hello"},"TextBody":"","Headers":{"Content-Type":"application/json; charset=utf-8"},"StatusCode":200}"#;

capsule_mdk::handle_http_raw!(answer);

fn answer(_: &[u8]) -> capsule_mdk::Result<&'static str> {
    Ok(ANSWER)
}

fn main() {}

#[cfg(test)]
mod tests {
    use capsule_abi::response;

    #[test]
    fn the_document_is_valid() {
        let document = super::answer(b"").unwrap();
        let answer = response::parse(document.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.body.as_bytes()), (200, &br#"{"message":"hello"}"#[..]));
        assert_eq!(answer.headers, [("Content-Type".into(), "application/json; charset=utf-8".into())]);
    }
}
