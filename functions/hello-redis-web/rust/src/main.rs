//! A function over HTTP that answers with two values out of Redis.

use capsule_mdk::{Request, Response, Result, log, redis};
use serde_json::json;

capsule_mdk::handle_http!(values);

fn values(_: Request<'_>) -> Result<Response> {
    let (message, handle) = match (redis::get("message"), redis::get("x_handle")) {
        (Ok(message), Ok(handle)) => (message, handle),
        (message, handle) => {
            let errors: Vec<String> =
                [message, handle].into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
            let error = errors.join("\n");
            log(format!("😡 {error}"));
            return Err(error.into());
        }
    };
    Ok(Response::json(&json!({
        "message": String::from_utf8_lossy(&message),
        "xHandle": String::from_utf8_lossy(&handle),
    }))?)
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;

    fn get() -> Request<'static> {
        Request::new("GET", "http://h/")
    }

    #[test]
    fn answers_with_both_values() {
        redis::set("message", "hello").unwrap();
        redis::set("x_handle", "@capsule").unwrap();
        assert_eq!(values(get()).unwrap().body(), br#"{"message":"hello","xHandle":"@capsule"}"#);
    }

    #[test]
    fn every_missing_key_is_a_line_of_the_failure() {
        assert_eq!(values(get()).unwrap_err().to_string(), "redis: nil\nredis: nil");
        redis::set("message", "hello").unwrap();
        assert_eq!(values(get()).unwrap_err().to_string(), "redis: nil");
    }
}
