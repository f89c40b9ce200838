//! A function over HTTP that shows the request and answers with a text.

use capsule_mdk::{Request, Response, Result, print};

capsule_mdk::handle_http!(hey);

fn hey(request: Request<'_>) -> Result<Response> {
    print(format!("📝: {}", request.text()));
    print(format!("🔠: {}", request.method()));
    print(format!("🌍: {}", request.uri()));
    print(format!("👒: {}", request.headers_text()));
    Ok(Response::text(format!("👋 Hey {} !", request.text())))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;
    use capsule_mdk::standin;

    #[test]
    fn shows_the_request_and_greets() {
        let request = Request::new("PUT", "http://h/a?b").with_header("x-a", "1").with_body("Bob");
        let answer = hey(request).unwrap();
        assert_eq!((answer.status(), answer.body()), (200, "👋 Hey Bob !".as_bytes()));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(standin::printed(), ["📝: Bob", "🔠: PUT", "🌍: http://h/a?b", "👒: \"X-A\":\"1\""]);
    }
}
