//! What the reference's users do: start a function and its revisions, call them, duplicate and drop, with `capsctl` and with
//! plain HTTP.

use serde_json::{Value, json};

use crate::faas_support::{Faas, module_path, refusal, start_body};

const REVISIONS: [&str; 4] = ["default", "blue", "green", "orange"];

/// What a revision answers to Bob Morane; two of them show their environment.
fn greeting(revision: &str) -> String {
    match revision {
        "default" => "👋 Hey Bob Morane !".to_owned(),
        "orange" => "🟠 👋 Hey Bob Morane !".to_owned(),
        "blue" => "🔵 👋 Hey Bob Morane ! [message of blue greeting]".to_owned(),
        _ => format!("🟢 👋 Hey Bob Morane ! [message of {revision} greeting]"),
    }
}

#[test]
fn with_capsctl() {
    scenario_with_capsctl(&[]);
}

#[test]
fn with_capsctl_and_child_processes() {
    scenario_with_capsctl(&["--path=capsule-http"]);
}

fn scenario_with_capsctl(more: &[&str]) {
    let faas = Faas::start(&[]);
    for revision in REVISIONS {
        let wasm = format!("--wasm={}", module_path(&format!("faas-hello-{revision}")).display());
        let env = format!(r#"--env=["MESSAGE=message of {revision}","GREETING=greeting"]"#);
        let mut words = vec!["--cmd=start", "--name=hello", "--description=a greeting", &wasm, &env, "--stopAfter=600"];
        let named = format!("--revision={revision}");
        if revision != "default" {
            words.push(&named);
        }
        words.extend(more);
        let url = faas.server.url(&format!("/functions/hello/{revision}"));
        assert_eq!(faas.capsctl_says(&words), format!("hello/{revision}/0 is started\nurl: {url}\n"));
    }
    let call = |revision: &str| {
        let mut words = vec!["call", "--name=hello", "--body=Bob Morane"];
        let named = format!("--revision={revision}");
        if revision != "default" {
            words.push(&named);
        }
        faas.capsctl_says(&words)
    };
    for revision in REVISIONS {
        assert_eq!(call(revision), greeting(revision));
        assert_eq!(faas.call(&format!("hello/{revision}"), "Bob Morane"), (200, greeting(revision)));
    }
    assert_eq!(faas.call("hello", "Bob Morane"), (200, greeting("default")));

    let url = faas.server.url("/functions/hello/saved");
    let duplicate = ["duplicate", "--name=hello", "--revision=default", "--newRevision=saved"];
    assert_eq!(faas.capsctl_says(&duplicate), format!("hello/default is duplicated to saved\nurl: {url}\n"));
    assert_eq!(faas.capsctl_says(&["--cmd=drop", "--name=hello", "--revision=default"]), "hello/default is dropped\n");
    assert_eq!(call("saved"), greeting("default"));
    // The name is free again for another module, as users do it to deploy.
    let orange = format!("--wasm={}", module_path("faas-hello-orange").display());
    let env = r#"--env=["MESSAGE=message of default","GREETING=greeting"]"#;
    let mut words = vec!["start", "--name=hello", &orange, env];
    words.extend(more);
    faas.capsctl_says(&words);
    assert_eq!(call("default"), greeting("orange"));
    assert_eq!(call("saved"), greeting("default"));

    let table = faas.capsctl_says(&["processes"]);
    for key in ["hello/blue/0", "hello/default/0", "hello/green/0", "hello/orange/0", "hello/saved/0"] {
        assert!(table.lines().any(|line| line.starts_with(key) && line.contains("Started")), "{table}");
    }
    for revision in ["blue", "green", "orange", "saved", "default"] {
        faas.capsctl_says(&["drop", "--name=hello", "--revision", revision]);
    }
    assert_eq!(faas.capsctl_says(&["processes", "--output=json"]), "{}\n");
    let gone = faas.capsctl(&["call", "--name=hello"]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr().contains("404"), "{gone:?}");
}

#[test]
fn with_http_alone() {
    let faas = Faas::start(&[]);
    for revision in REVISIONS {
        let message = format!("MESSAGE=message of {revision}");
        let module = module_path(&format!("faas-hello-{revision}"));
        let body =
            start_body(&format!("hello/{revision}"), &module, &["-stopAfter="], &[&message, "GREETING=greeting"]);
        let answer = faas.admin("POST", "/functions/start", body);
        assert_eq!((answer.status, answer.text()), (200, format!("hello/{revision}/0")));
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
        assert_eq!(answer.header("x-capsule-faas"), Some(env!("CARGO_PKG_VERSION")));
    }
    for revision in REVISIONS {
        let answer = faas.send("POST", &format!("/functions/hello/{revision}/0"), "Bob Morane");
        assert_eq!((answer.status, answer.text()), (200, greeting(revision)));
        assert_eq!(answer.header("x-capsule-revision"), Some(revision));
        assert_eq!(answer.header("x-capsule-faas"), None);
    }
    let answer = faas.admin("PUT", "/functions/duplicate/hello/default/saved", "");
    assert_eq!((answer.status, answer.text()), (200, "hello".into()));
    let answer = faas.admin("DELETE", "/functions/drop/hello/default", "");
    assert_eq!((answer.status, answer.text()), (200, r#"{"dropped":"hello/default"}"#.into()));
    assert_eq!(faas.call("hello/saved", "Bob Morane"), (200, greeting("default")));
    assert_eq!(faas.send("GET", "/functions/hello/saved", "").header("x-capsule-revision"), Some("saved"));
    let (status, error) = refusal(&faas.send("GET", "/functions/hello", ""));
    assert_eq!((status, error.as_str()), (404, "function `hello` has no revision `default`"));

    let record = &faas.processes()["hello/saved/0"];
    assert_eq!(
        (&record["functionName"], &record["functionRevision"], &record["formerFunctionRevision"], &record["env"]),
        (&json!("hello"), &json!("saved"), &json!("default"), &Value::Null)
    );
    assert_eq!(record["pid"], json!(faas.server.process.id()));
    assert_eq!((&record["httpPort"], &record["currentStatus"]), (&json!(""), &json!(1)));
}

#[test]
fn the_same_again_is_the_next_index_and_calls_are_spread() {
    let faas = Faas::start(&[]);
    for index in 0..3 {
        assert_eq!(faas.start_function("counter", "counter.wat", &[]), format!("counter/default/{index}"));
    }
    let id = |path: &str| -> String {
        let (status, text) = faas.call(path, "");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let each: Vec<String> = (0..3).map(|index| id(&format!("counter/default/{index}"))).collect();
    assert!(each[0] != each[1] && each[1] != each[2]);
    let spread: Vec<String> = (0..30).map(|_| id("counter")).collect();
    for one in &each {
        assert_eq!(spread.iter().filter(|id| *id == one).count(), 10, "{spread:?}");
    }
    assert_eq!(faas.capsctl_says(&["scale", "--name=counter", "--count=1"]), "counter/default is scaled to 1\n");
    assert_eq!(faas.keys(), ["counter/default/0"]);
    assert_eq!(id("counter/default"), each[0]);
    let answer = faas.admin("PUT", "/functions/scale/counter/default/2", "");
    assert_eq!(answer.text(), r#"{"count":2,"scaled":"counter/default"}"#);
    assert_eq!(faas.keys(), ["counter/default/0", "counter/default/1"]);
}
