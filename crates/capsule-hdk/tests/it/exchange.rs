//! Requests as bytes: `callHandleRequest`, through `request.wat`.

use bytes::Bytes;
use capsule_abi::exchange;
use capsule_abi::request::RequestParts;
use capsule_hdk::{Answer, Call, CallError, Contract, Fault, Function};

use crate::support::{TRICKS, config, try_function};

const REQUEST: &str = include_str!("../../../../fixtures/request.wat");

fn function() -> Function {
    try_function(REQUEST, config(Contract::Instances(1)).0).unwrap()
}

fn head() -> Vec<u8> {
    let parts = RequestParts { method: "PUT", path: "/a", ..Default::default() };
    exchange::request(&parts, || [("x-a", &b"1"[..])].into_iter())
}

async fn ask(function: &Function, body: impl Into<Bytes>) -> Result<Answer, CallError> {
    function.exchange(Call::request(head(), body)).await
}

#[tokio::test]
async fn head_and_body_go_in_and_come_out_as_they_are() {
    let function = function();
    assert!(function.takes_requests());
    let every_byte: Vec<u8> = (0..=255).chain([0; 100_000]).collect();
    for body in [&b""[..], b"what", &every_byte] {
        let answer = ask(&function, body.to_vec()).await.unwrap();
        assert_eq!(exchange::read_response(answer.head()).unwrap().status, 200);
        assert!(answer.into_body() == body, "{} bytes come back as others", body.len());
    }
    let body = ask(&function, "h").await.unwrap().into_body();
    let read = exchange::read_request(&body).unwrap();
    assert_eq!((&*read.method(), &*read.path()), ("PUT", "/a"));
    assert!(read.headers().eq([(&b"x-a"[..], &b"1"[..])]));
    let answer = ask(&function, "x").await.unwrap();
    let read = exchange::read_response(answer.head()).unwrap();
    assert_eq!((read.status, read.headers.collect::<Vec<_>>()), (201, vec![(&b"X-A"[..], &b"b"[..])]));
}

#[tokio::test]
async fn a_failure_keeps_the_instance_and_broken_heads_are_the_callers_to_judge() {
    let function = function();
    let error = ask(&function, "f").await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.fault()), ("no", Fault::Module));
    let answer = ask(&function, "g").await.unwrap();
    assert!(exchange::read_response(answer.head()).is_err());
    assert_eq!(ask(&function, "n").await.unwrap(), Answer::default());
    assert_eq!(function.stats().started, 1);
}

#[tokio::test]
async fn what_breaks_the_abi_replaces_the_instance() {
    for (trick, message) in [
        ("o", "its head at 0x100000 with length 8 is outside of its memory of 1048576 bytes"),
        ("b", "its body at 0xfffff with length 2 is outside of its memory of 1048576 bytes"),
        ("s", "its result has 8 bytes, expected a record of 16"),
        ("r", "its result at 0x7fffff00 with length 16 is outside of its memory of 1048576 bytes"),
    ] {
        let function = function();
        let error = ask(&function, trick).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the module broke the ABI: {message}"), "{trick}");
        assert_eq!(&*ask(&function, "again").await.unwrap().into_body(), b"again", "after {trick}");
        assert_eq!((function.stats().started, function.stats().instances), (2, 1), "after {trick}");
    }
    let error = ask(&function(), "l").await.unwrap_err();
    assert!(matches!(error, CallError::ResultTooLarge { found, .. } if found == 8 + u32::MAX as usize), "{error}");
    assert!(matches!(ask(&function(), "t").await.unwrap_err(), CallError::Trap(_)));
}

#[tokio::test]
async fn head_and_body_count_together() {
    let (mut settings, _) = config(Contract::Instances(1));
    settings.limits.argument = head().len() + 4;
    settings.limits.result = 8 + 4;
    let function = try_function(REQUEST, settings).unwrap();
    assert_eq!(&*ask(&function, "what").await.unwrap().into_body(), b"what");
    assert!(matches!(ask(&function, "whats").await.unwrap_err(), CallError::ArgumentTooLarge { .. }));
    assert!(matches!(ask(&function, "h").await.unwrap_err(), CallError::ResultTooLarge { limit: 12, .. }));
}

#[tokio::test]
async fn a_module_without_the_export_says_so() {
    let function = try_function(TRICKS, config(Contract::Instances(1)).0).unwrap();
    assert!(!function.takes_requests());
    assert_eq!(ask(&function, "").await.unwrap_err().to_string(), "the module has no export `callHandleRequest`");
    let wrong = r#"(module (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "callHandleRequest") (param i32 i32) (result i64) (i64.const 0)))"#;
    let error = try_function(wrong, config(Contract::Instances(1)).0).err().unwrap().to_string();
    assert!(
        error.contains("`callHandleRequest` has the signature (i32, i32) -> i64, expected (i32, i32, i32, i32) -> i64"),
        "{error}"
    );
}
