//! A function over HTTP that serves a page which is a part of the module.

use capsule_mdk::{Request, Response, Result};

const PAGE: &str = include_str!("index.html");

capsule_mdk::handle_http!(page);

fn page(_: Request<'_>) -> Result<Response> {
    Ok(Response::html(PAGE).with_header("Cache-Control", "no-cache").with_header("X-Powered-By", "capsule-module-sdk"))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_the_page() {
        let answer = page(Request::new("GET", "http://h/")).unwrap();
        assert_eq!(answer.body(), PAGE.as_bytes());
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-powered-by"), Some("capsule-module-sdk"));
    }
}
