//! A function for a FaaS server that serves a page which is a part of the module.

use capsule_mdk::{Request, Response, Result};

const PAGE: &str = include_str!("index.html");

capsule_mdk::handle_http!(page);

fn page(_: Request<'_>) -> Result<Response> {
    Ok(Response::html(PAGE))
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
    }
}
