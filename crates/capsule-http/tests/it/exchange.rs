//! Requests as bytes through the real server: `request.wat`, served alone and hosted.

use capsule_abi::exchange;
use capsule_test::server::HttpServer;

use crate::faas_support::{Faas, module_path, start_body};
use crate::support::{module, outcome, serve};

/// Asks the guest on each server: one that serves it alone, and one that hosts it.
fn everywhere(check: impl Fn(&HttpServer, &str)) {
    check(&serve("request.wat", &[]), "");
    let faas = Faas::start(&[]);
    faas.start_function("request", "request.wat", &[]);
    check(&faas.server, "/functions/request/default/0");
}

#[test]
fn bodies_are_bytes_in_both_directions() {
    everywhere(|server, base| {
        let every_byte: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let mut connection = server.connect().unwrap();
        for body in [&b""[..], b"\xff\xfe", &every_byte] {
            let answer = connection.send("POST", &format!("{base}/"), &[], body).unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.body == body, "{} bytes come back as others", body.len());
            // None is added: the module said nothing of a type.
            assert_eq!(answer.header("content-type"), None);
        }
    });
}

/// As every other handler, it may be the only one.
#[test]
fn no_other_handler_is_needed() {
    let text = std::fs::read_to_string(module_path("request.wat")).unwrap();
    let document = r#"(func (export "callHandleHTTP") (param i32 i32) (result i64) unreachable)"#;
    assert!(text.contains(document));
    let alone = module(&text.replace(document, ""));
    let server = HttpServer::start(&[alone.path().to_str().unwrap()], &[]).unwrap();
    assert_eq!(server.post("/", "echo").unwrap().text(), "echo");
    let faas = Faas::start(&[]);
    let answer = faas.admin("POST", "/functions/start", start_body("alone", alone.path(), &[], &[]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(faas.call("alone", "echo"), (200, "echo".into()));
}

#[test]
fn the_head_tells_what_the_document_tells() {
    everywhere(|server, base| {
        let headers = [("X-A", "1"), ("x-a", "2"), ("X-Request-Id", "abc")];
        let target = format!("{base}/p%2Fq?x=1&y");
        let answer = server.connect().unwrap().send("PATCH", &target, &headers, b"h").unwrap();
        let head = exchange::read_request(&answer.body).unwrap();
        assert_eq!((&*head.method(), &*head.path(), &*head.request_id()), ("PATCH", "/p%2Fq?x=1&y", "abc"));
        assert_eq!(head.target(), if base.is_empty() { "" } else { &target });
        assert_eq!(head.uri(), server.url("/p%2Fq?x=1&y"));
        let values: Vec<_> = head.headers().filter(|(name, _)| *name == b"x-a").map(|(_, value)| value).collect();
        assert_eq!(values, [b"1", b"2"]);
        assert_eq!(head.headers().next().unwrap().0, b"host");
    });
}

#[test]
fn statuses_headers_and_failures() {
    everywhere(|server, base| {
        let mut connection = server.connect().unwrap();
        let mut ask = |body: &str| connection.send("POST", &format!("{base}/"), &[], body.as_bytes()).unwrap();
        let answer = ask("x");
        assert_eq!((outcome(&answer), answer.header("x-a")), ((201, String::new()), Some("b")));
        assert_eq!(outcome(&ask("f")), (500, "no".to_owned()));
        let broken = "the module's answer is not valid: the head of the response is not valid: expected";
        assert_eq!(outcome(&ask("g")), (500, format!("{broken} as many bytes as it says")));
        assert_eq!(outcome(&ask("n")), (500, format!("{broken} a number")));
        let outside =
            "the module broke the ABI: its head at 0x100000 with length 8 is outside of its memory of 1048576 bytes";
        assert_eq!(outcome(&ask("o")), (500, outside.to_owned()));
        assert_eq!(outcome(&ask("again")), (200, "again".to_owned()));
    });
}
