//! A revision of a function for a FaaS server: it greets.

use capsule_mdk::{Request, Response, Result};

capsule_mdk::handle_http!(hey);

fn hey(request: Request<'_>) -> Result<Response> {
    Ok(Response::text(format!("👋 Hey {} !", request.text())))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets() {
        let answer = hey(Request::new("POST", "http://h/").with_body("Bob")).unwrap();
        assert_eq!(answer.body(), "👋 Hey Bob !".as_bytes());
    }
}
