//! A function over HTTP that counts its calls in the runner's memory, where all instances see them.

use capsule_mdk::{Request, Response, Result, cache, log, print};
use serde_json::{Value, json};

capsule_mdk::handle_http!(hello);
capsule_mdk::on_start!(start);
capsule_mdk::on_stop!(stop);
capsule_mdk::on_health!(health);
capsule_mdk::on_metrics!(metrics);

fn hello(request: Request<'_>) -> Result<Response> {
    let counter = count() + 1;
    cache::set("counter", counter.to_string())?;
    print(format!("🧮 Counter: {counter}"));
    greet(&request)
}

/// How many calls there were. Before the first one there is no such key.
fn count() -> u64 {
    cache::get("counter").ok().and_then(|value| String::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}

fn start() {
    print("🚗 OnStart");
}

fn stop() {
    print("🚙 OnStop");
}

/// Logs who called and answers with it. A body that is not JSON has no name and no age.
fn greet(request: &Request<'_>) -> Result<Response> {
    print(format!("📝: {}", request.text()));
    print(format!("🔠: {}", request.method()));
    print(format!("🌍: {}", request.uri()));
    print(format!("👒: {}", request.headers_text()));

    let person = request.json::<Value>().unwrap_or_else(|error| {
        log(error.to_string());
        Value::Null
    });
    let name = person["name"].as_str().unwrap_or_default();
    let message = format!("{name} {}", person["age"].as_i64().unwrap_or_default());
    log(&message);
    Ok(Response::json(&json!({ "message": message, "things": { "emoji": "🐯" } }))?)
}

fn health() -> Result<Response> {
    Ok(Response::json(&json!({ "message": "OK" }))?)
}

fn metrics() -> Result<Response> {
    Ok(Response::text(format!("# HELP call counter\n# TYPE call_counter counter\ncall_counter {}", count())))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;
    use capsule_mdk::standin;

    fn bob() -> Request<'static> {
        Request::new("POST", "http://localhost:8080/hello")
            .with_header("content-type", "application/json")
            .with_body(r#"{"name":"Bob Morane","age":42}"#)
    }

    #[test]
    fn greets_and_counts_from_0() {
        for counter in ["🧮 Counter: 1", "🧮 Counter: 2"] {
            let answer = hello(bob()).unwrap();
            assert_eq!(answer.body(), r#"{"message":"Bob Morane 42","things":{"emoji":"🐯"}}"#.as_bytes());
            assert_eq!(standin::take_printed()[0], counter);
        }
        assert!(metrics().unwrap().body().ends_with(b"\ncall_counter 2"));
        assert_eq!(health().unwrap().body(), br#"{"message":"OK"}"#);
    }
}
