//! A function over HTTP that answers how often this instance was called.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use capsule_mdk::{Request, Response, Result};

static COUNT: AtomicU64 = AtomicU64::new(0);

capsule_mdk::handle_http!(count);

fn count(_: Request<'_>) -> Result<Response> {
    Ok(Response::text((COUNT.fetch_add(1, Relaxed) + 1).to_string()))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_one() {
        for expected in ["1", "2"] {
            assert_eq!(count(Request::new("GET", "http://h/")).unwrap().body(), expected.as_bytes());
        }
    }
}
