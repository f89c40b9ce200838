//! A function for the terminal that is a client: it gets JSON and HTML from a server on localhost:3000 and posts JSON to it.

use capsule_mdk::{Result, http, print};
use serde_json::json;

const SERVER: &str = "http://localhost:3000";

capsule_mdk::handle!(hey);

fn hey(_: &[u8]) -> Result<&'static str> {
    let requests = [
        http::get(&format!("{SERVER}/json")).header("Accept", "application/json"),
        http::get(&format!("{SERVER}/html")).header("Accept", "text/html"),
        http::post(&format!("{SERVER}/")).json(&json!({ "msg": "hello" }))?,
    ];
    for request in requests {
        show(&request.send()?)?;
    }
    Ok("👋 Hello ")
}

/// Prints an answer: JSON as it is, a text in quotes.
fn show(answer: &http::Answer) -> Result<()> {
    let text = answer.text();
    let (json, text) = match &*text {
        json if answer.is_json() => (json, String::new()),
        "" => ("", String::new()),
        text => ("", serde_json::to_string(text)?),
    };
    print(format!("📝 JSONBody: {json}"));
    print(format!("📝 TextBody: {text}"));
    print(format!("🅿️ StatusCode: {}", answer.status()));
    Ok(())
}

fn main() {}

#[cfg(test)]
mod tests {
    use capsule_mdk::standin;

    #[test]
    fn shows_three_answers() {
        standin::answer_http(200, "application/json; charset=utf-8", "{\"message\": \"hi\"}");
        standin::answer_http(200, "text/html", "<h1 id=\"a\">hi</h1>");
        standin::answer_http(201, "text/plain", "");
        assert_eq!(super::hey(b"").unwrap(), "👋 Hello ");
        assert_eq!(
            standin::printed(),
            [
                "📝 JSONBody: {\"message\":\"hi\"}",
                "📝 TextBody: ",
                "🅿️ StatusCode: 200",
                "📝 JSONBody: ",
                "📝 TextBody: \"<h1 id=\\\"a\\\">hi</h1>\"",
                "🅿️ StatusCode: 200",
                "📝 JSONBody: ",
                "📝 TextBody: ",
                "🅿️ StatusCode: 201",
            ]
        );
        let sent = standin::sent();
        assert_eq!((&*sent[0].method, &*sent[0].uri), ("GET", "http://localhost:3000/json"));
        assert_eq!((&*sent[2].method, &*sent[2].body), ("POST", &br#"{"msg":"hello"}"#[..]));
    }

    #[test]
    fn fails_without_a_server() {
        assert!(super::hey(b"").unwrap_err().to_string().contains("http://localhost:3000/json"));
    }
}
