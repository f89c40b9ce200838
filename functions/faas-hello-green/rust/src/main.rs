//! A revision of a function for a FaaS server: it greets and shows the environment that it was started with.

use capsule_mdk::{Request, Response, Result, get_env};

capsule_mdk::handle_http!(hey);

fn hey(request: Request<'_>) -> Result<Response> {
    Ok(Response::text(format!("🟢 👋 Hey {} ! [{} {}]", request.text(), get_env("MESSAGE"), get_env("GREETING"))))
}

fn main() {}

#[cfg(test)]
mod tests {
    use super::*;
    use capsule_mdk::standin;

    #[test]
    fn greets() {
        standin::set_env("MESSAGE", "m");
        standin::set_env("GREETING", "g");
        let answer = hey(Request::new("POST", "http://h/").with_body("Bob")).unwrap();
        assert_eq!(answer.body(), "🟢 👋 Hey Bob ! [m g]".as_bytes());
    }
}
