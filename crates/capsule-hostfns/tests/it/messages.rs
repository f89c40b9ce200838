//! What needs no I/O: output, talk, environment, and the functions of other runners.

use capsule_hostfns::Services;
use capsule_hostfns::print::Talk;

use crate::guest::{ALLOCATE, Guest, Input};

#[tokio::test]
async fn text_is_printed_with_a_newline() {
    let guest = Guest::mute("hostPrintString");
    guest.bytes(&["Hey 😀".as_bytes()]).await;
    guest.bytes(&[b""]).await;
    guest.bytes(&[b"two\nlines"]).await;
    assert_eq!(guest.printed(), "Hey 😀\n\ntwo\nlines\n");
}

#[tokio::test]
async fn a_log_line_starts_with_the_time() {
    let guest = Guest::mute("hostLogString");
    guest.bytes(&[b"started"]).await;
    let printed = guest.printed();
    let (time, text) = printed.split_at("2023/08/11 10:00:00 ".len());
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!((shape.as_str(), text), ("0000/00/00 00:00:00 ", "started\n"));
}

#[tokio::test]
async fn talk_prints_and_answers() {
    let guest = Guest::new("hostTalk", 1);
    assert_eq!(guest.bytes(&[b"Hello host"]).await.bytes, "Hello 😀 I'm the host".as_bytes());
    assert_eq!(guest.printed(), "Hello host\n");
}

#[tokio::test]
async fn the_talk_handler_can_be_replaced() {
    let guest = Guest::with("hostTalk", 1, |_| Services {
        talk: Talk::new(|context, message| [context.function().as_bytes(), b": ", message].concat()),
        ..Services::default()
    });
    assert_eq!(guest.bytes(&[b"ping"]).await.bytes, b"guest: ping");
    assert_eq!(guest.printed(), "");
}

#[tokio::test]
async fn a_variable_is_that_of_the_function() {
    let guest = Guest::with("hostGetEnv", 1, |config| {
        config.capabilities.environment =
            vec![("MESSAGE".into(), "first".into()), ("EMPTY".into(), String::new()), ("MESSAGE".into(), "👋".into())];
        Services::default()
    });
    assert_eq!(guest.bytes(&[b"MESSAGE"]).await.bytes, "👋".as_bytes());
    // PATH is set in the process of the test, and is none of the guest's business.
    for name in [&b"PATH"[..], b"EMPTY", b"", b"\xff\0"] {
        let answer = guest.bytes(&[name]).await;
        assert_eq!((answer.pointer, answer.length), (0, 0), "{name:?}");
    }
    let answer = guest.call(&[Input::EmptyOutside]).await.unwrap();
    assert_eq!((answer.pointer, answer.length), (0, 0));
}

#[tokio::test]
async fn host_functions_work_while_the_module_starts() {
    // The settings are read in `_start`, which the host enters again for the buffer; what is printed there is in order.
    let wat = format!(
        r#"(module
          (import "env" "hostGetEnv" (func $env (param i32 i32 i32 i32) (result i32)))
          (import "env" "hostReadFile" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "env" "hostPrintString" (func $print (param i32 i32) (result i32)))
          {ALLOCATE}
          (data (i32.const 64) "NAMEfile")
          (func (export "_start")
            (drop (call $read (i32.const 68) (i32.const 4) (i32.const 16) (i32.const 20)))
            (drop (call $print (i32.load (i32.const 16)) (i32.load (i32.const 20))))
            (drop (call $env (i32.const 64) (i32.const 4) (i32.const 16) (i32.const 20)))
            (drop (call $print (i32.load (i32.const 16)) (i32.load (i32.const 20)))))
          (func (export "callHandle") (param i32 i32) (result i64) (call $answer)))"#
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    let guest = Guest::of(&wat, |config| {
        config.capabilities.environment.push(("NAME".into(), "Bob".into()));
        config.capabilities.folders.push(capsule_hdk::Folder {
            host: folder.path().into(),
            guest: ".".into(),
            read_only: true,
        });
        Services::default()
    });
    assert_eq!(guest.bytes(&[]).await.bytes, b"Bob");
    assert_eq!(guest.printed(), "Scontent\nBob\n");
}

#[tokio::test]
async fn the_functions_of_other_runners_say_where_they_are() {
    for (name, inputs, runner) in [
        ("hostNatsPublish", 2, "capsule-nats"),
        ("hostNatsRequest", 3, "capsule-nats"),
        ("hostNatsReply", 1, "capsule-nats"),
        ("hostNatsGetSubject", 0, "capsule-nats"),
        ("hostNatsGetServer", 0, "capsule-nats"),
        ("hostNatsConnectPublish", 3, "capsule-nats"),
        ("hostNatsConnectRequest", 4, "capsule-nats"),
        ("hostMqttPublish", 2, "capsule-mqtt"),
        ("hostMqttConnectPublish", 4, "capsule-mqtt"),
        ("hostMqttGetTopic", 0, "capsule-mqtt"),
        ("hostMqttGetServer", 0, "capsule-mqtt"),
        ("hostMqttGetClientId", 0, "capsule-mqtt"),
    ] {
        let answer = Guest::new(name, inputs).framed(&vec!["x"; inputs]).await;
        assert_eq!(answer, Err(format!("host function `{name}` is available in {runner}")));
    }
}
