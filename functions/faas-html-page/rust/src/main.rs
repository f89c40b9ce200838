//! A function for a FaaS server that answers with a line of HTML.

use capsule_mdk::{Request, Response, Result};

capsule_mdk::handle_http!(page);

fn page(_: Request<'_>) -> Result<Response> {
    Ok(Response::html("<h1>👋 Hello World! 🌍</h1>"))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_the_line() {
        let answer = page(Request::new("GET", "http://h/")).unwrap();
        assert_eq!(answer.body(), "<h1>👋 Hello World! 🌍</h1>".as_bytes());
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    }
}
