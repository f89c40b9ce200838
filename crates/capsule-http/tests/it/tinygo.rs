//! Modules made with the reference's SDK and TinyGo: their exports and quirks.

use capsule_test::process::Stream;

use crate::support::{outcome, serve_with};

#[test]
fn settings_are_read_in_start_and_the_module_serves_on() {
    let server = serve_with("tinygo-http.wat", &[], &[("GREETING", "👋 hey")]);
    assert_eq!(server.process.wait_for_line(Stream::Stdout, "tinygo").unwrap(), "tinygo: started");
    for _ in 0..3 {
        let response = server.post("/", "x").unwrap();
        assert_eq!(outcome(&response), (201, r#"{"greeting":"👋 hey"}"#.to_owned()));
        assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
    }
    assert_eq!(server.stop().unwrap().success().unwrap().stdout(), "tinygo: started\n");
}

#[test]
fn an_empty_setting_asks_for_no_buffer() {
    for env in [&[][..], &[("GREETING", "")]] {
        let server = serve_with("tinygo-http.wat", &[], env);
        assert_eq!(outcome(&server.get("/").unwrap()), (201, r#"{"greeting":""}"#.to_owned()));
    }
}

#[test]
fn a_handler_that_was_not_set_is_a_trap_of_the_call() {
    let server = serve_with("tinygo.wat", &[], &[("GREETING", "x")]);
    for _ in 0..2 {
        let (status, text) = outcome(&server.get("/").unwrap());
        assert_eq!(status, 500);
        assert_eq!(text, "the module trapped: wasm `unreachable` instruction executed");
    }
    assert_eq!(server.get("/health").unwrap().status, 200);
}
