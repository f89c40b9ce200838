//! A function over HTTP that answers the body of the request, byte for byte: what is left to measure is the way of bodies through the runner.

use capsule_mdk::{Request, Response, Result};

capsule_mdk::handle_http!(echo);

fn echo(request: Request<'_>) -> Result<Response> {
    Ok(Response::bytes(request.body().to_vec(), "application/octet-stream"))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_bytes_that_it_got() {
        let answer = echo(Request::new("POST", "http://h/").with_body(b"\x00\xff")).unwrap();
        assert_eq!((answer.status(), answer.body()), (200, &b"\x00\xff"[..]));
    }
}
