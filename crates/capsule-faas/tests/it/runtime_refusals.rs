//! What is refused changes nothing.

use capsule_faas::runtime::{Faas, FaasErrorKind};
use capsule_faas_model::spec::Origin;
use capsule_faas_model::start::StartBody;
use futures_util::stream;

use crate::runtime_support::{TRICKS, World, says, selector};

/// `OnStart` traps.
const BAD_START: &str = r#"(module (memory (export "memory") 1)
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "OnStart") unreachable)
    (func (export "callHandle") (param i32 i32) (result i64) (i64.const 0)))"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_does_not_start_is_not_registered() {
    let world = World::new();
    world.start("good", &says("good"), &[]).await.unwrap();
    for (text, expected) in [
        ("<html>", "module"),
        ("(module)", "callHandle"),
        ("(module (import \"env\" \"nowhere\" (func)) (func (export \"callHandle\")))", "nowhere"),
        (BAD_START, "trapped"),
    ] {
        let error = world.start("bad", text, &[]).await.unwrap_err();
        assert_eq!(error.kind(), FaasErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().lines().count() == 1, "{error}");
    }
    // Also when there is an entry before.
    world.start("good", BAD_START, &[]).await.unwrap_err();
    assert_eq!(world.keys(), ["good/default/0"]);
    // The key is free again.
    assert_eq!(world.start("bad", TRICKS, &[]).await.unwrap().to_string(), "bad/default/0");
    let world = world.reopened();
    assert_eq!(world.keys(), ["bad/default/0", "good/default/0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_are_refused() {
    let world = World::new();
    for (args, expected) in [
        (&[][..], "expected `-wasm=FILE`"),
        (&["-wasm=/nowhere/a.wasm"], "cannot read the module `/nowhere/a.wasm`"),
        (&["-wasm=sha256:12"], "`-wasm`: expected"),
        (&["-wasm=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"], "is not stored here"),
        (&["-url=http://nowhere/a.wasm"], "the download failed: 404"),
        (&["-wasm=a", "-nonsense=1"], "unknown flag `-nonsense`"),
    ] {
        let error = world.start_args("a", args, &[]).await.unwrap_err();
        assert_eq!(error.status(), 422, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let body = StartBody::parse(br#"{"name": "a", "path": "/bin/true", "args": ["", "-wasm=a.wasm"]}"#).unwrap();
    let error = world.faas.start(body, Origin::Api).await.unwrap_err();
    assert_eq!(error.status(), 422);
    assert!(error.to_string().starts_with("`path`: "), "{error}");
    assert!(world.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_no_modules_are_not_stored() {
    let world = World::new();
    let upload = |text: &'static [u8]| upload(&world.faas, text);
    assert_eq!(upload(b"\0asm nothing").await.unwrap_err().status(), 422);
    let broken: Result<bytes::Bytes, std::io::Error> = Err(std::io::Error::other("gone"));
    let error = world.faas.upload(stream::iter([Ok(TRICKS.into()), broken])).await.unwrap_err();
    assert_eq!(error.status(), 400);
    assert!(upload(TRICKS.as_bytes()).await.unwrap().starts_with("sha256:"));
}

async fn upload(faas: &Faas, text: &'static [u8]) -> Result<String, capsule_faas::runtime::FaasError> {
    faas.upload(stream::iter([Ok::<_, std::io::Error>(text.into())])).await.map(|digest| digest.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404() {
    let world = World::new();
    world.start("a", &says("a"), &[]).await.unwrap();
    for place in ["b", "a/blue", "a/default/1"] {
        assert!(world.ask(place, "").await.starts_with("404: "), "{place}");
        assert_eq!(world.faas.drop(selector(place)).await.unwrap_err().status(), 404);
        assert_eq!(world.faas.health(&selector(place)).await.unwrap_err().status(), 404);
    }
}
