//! A function over HTTP that answers in JSON and counts its calls in a variable, with all four hooks of a module.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use capsule_mdk::{Request, Response, Result, log, print};
use serde_json::{Value, json};

/// Counts the calls of this instance.
static COUNTER: AtomicU64 = AtomicU64::new(0);

capsule_mdk::handle_http!(hello);
capsule_mdk::on_start!(start);
capsule_mdk::on_stop!(stop);
capsule_mdk::on_health!(health);
capsule_mdk::on_metrics!(metrics);

fn hello(request: Request<'_>) -> Result<Response> {
    let counter = COUNTER.fetch_add(1, Relaxed) + 1;
    print(format!("🟢 Counter: {counter}"));
    greet(&request)
}

fn start() {
    print("🚗 OnStart");
    COUNTER.store(42, Relaxed);
}

fn stop() {
    print("🚙 OnStop");
    print(format!("🟢 Counter: {}", COUNTER.load(Relaxed)));
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
    Ok(Response::text(format!(
        "# HELP call counter\n# TYPE call_counter counter\ncall_counter {}",
        COUNTER.load(Relaxed)
    )))
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
    fn greets_and_counts_from_42() {
        start();
        let answer = hello(bob()).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(answer.body(), r#"{"message":"Bob Morane 42","things":{"emoji":"🐯"}}"#.as_bytes());
        hello(bob()).unwrap();
        assert_eq!(metrics().unwrap().body(), b"# HELP call counter\n# TYPE call_counter counter\ncall_counter 44");
        stop();
        assert_eq!(
            standin::printed()[..6],
            [
                "🚗 OnStart",
                "🟢 Counter: 43",
                r#"📝: {"name":"Bob Morane","age":42}"#,
                "🔠: POST",
                "🌍: http://localhost:8080/hello",
                r#"👒: "Content-Type":"application/json""#,
            ]
        );
        assert_eq!(standin::printed()[11..], ["🚙 OnStop", "🟢 Counter: 44"]);
        assert_eq!(standin::logged(), ["Bob Morane 42", "Bob Morane 42"]);
        assert_eq!(health().unwrap().body(), br#"{"message":"OK"}"#);
    }

    #[test]
    fn a_body_that_is_not_json_has_no_name_and_no_age() {
        let answer = greet(&bob().with_body("Bob")).unwrap();
        assert_eq!(answer.body(), r#"{"message":" 0","things":{"emoji":"🐯"}}"#.as_bytes());
        assert_eq!(standin::logged(), ["expected value at line 1 column 1", " 0"]);
    }
}
