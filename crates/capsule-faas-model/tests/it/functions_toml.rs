//! The file of functions: what it may say, and what follows from it.

use capsule_faas_model::functions_toml::{FunctionsFile, Step, plan};
use capsule_faas_model::registry::Registry;
use capsule_faas_model::spec::ModuleHash;

use super::*;

fn parse(text: &str) -> FunctionsFile {
    FunctionsFile::parse(text, &Table).unwrap()
}

fn steps(file: &str, registry: &Registry) -> String {
    let step = |step: &Step| match step {
        Step::Start(body) => format!("start {}/{}", body.name, body.revision),
        Step::Restart(key, _) => format!("restart {key}"),
        Step::Route(name, Some(weights)) => format!("route {name} {}", serde_json::to_string(weights).unwrap()),
        Step::Route(name, None) => format!("route {name} -"),
        Step::Drop(selector) => format!("drop {selector}"),
    };
    match plan(&parse(file), registry, |_| None) {
        Ok(steps) => steps.iter().map(step).collect::<Vec<_>>().join(", "),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Carries out what the file asks for.
fn apply(file: &str, registry: &mut Registry) {
    for step in plan(&parse(file), registry, |_| None).unwrap() {
        let change = match step {
            Step::Start(body) => registry.reserve_start(body, Origin::File, now()).unwrap().change(),
            Step::Restart(key, body) => registry.reserve_restart(&key, body, now()).unwrap().change(),
            Step::Route(name, weights) => registry.set_route_by_file(&name, weights).unwrap(),
            Step::Drop(selector) => registry.drop(&selector).unwrap(),
        };
        commit(registry, change);
    }
    assert_eq!(steps(file, registry), "");
}

const FILE: &str = r#"
[[function]]
name = "hello"
revision = "blue"
wasm = "hello.wasm"
stopAfter = 10
env = { GREETING = "hi" }

[[function]]
name = "hello"
revision = "green"
wasm = "hello.wasm"

[route.hello]
blue = 90
green = 10
"#;

#[test]
fn keys_become_a_start_body() {
    let file = parse(
        r#"
        [[function]]
        name = "hello"
        description = "says hello"
        url = "https://example.org/h.wasm"
        stopAfter = 1.5
        args = ["-authHeaderValue=x"]
        env = ["A=1", "B=a=b"]
        allowHosts = ["localhost"]
        redisPrefix = "h:"
        path = "/usr/bin/capsule-http"
        "#,
    );
    let function = &file.functions[0];
    assert_eq!(function.line, 2);
    let spec = &function.body.spec;
    assert_eq!(spec.args, ["", "-stopAfter=1.5", "-url=https://example.org/h.wasm", "-authHeaderValue=x"]);
    assert_eq!(spec.env.pairs().collect::<Vec<_>>(), [("A", "1"), ("B", "a=b")]);
    assert_eq!((&*spec.allow_hosts, spec.redis_prefix.as_deref()), (&["localhost".to_owned()][..], Some("h:")));
    assert_eq!((function.body.revision.as_str(), &*function.body.description), ("default", "says hello"));
    assert_eq!(spec.path.as_deref(), Some("/usr/bin/capsule-http"));
}

#[test]
fn every_problem_has_its_line() {
    let problems = FunctionsFile::parse(
        r#"
[[function]]
wasm = "a"
[[function]]
name = "a/b"
wasm = "a"
[[function]]
name = "a"
[[function]]
name = "b"
wasm = "a"
httpPort = 1
typo = 1
env = { S = ["s3cret"] }
[[function]]
name = "c"
wasm = "c"
[[function]]
name = "c"
revision = "default"
wasm = "c"
env = ["s3cret"]
args = "-x"
[[function]]
name = "c"
wasm = "d"
[route.c]
default = -1
[route.d]
default = 0
[other]
"#,
        &Table,
    )
    .unwrap_err();
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "line 2: expected a `name` for the function, found none",
            "line 5: name: expected 1 to 64 of the characters A-Z a-z 0-9 . _ -, found `a/b`",
            "line 7: expected `wasm` or `url` for the function, found neither",
            "line 12: unknown key `httpPort`",
            "line 13: unknown key `typo`",
            "line 14: `env`: expected a text, number or boolean, found another value",
            "line 22: `env[0]`: expected `NAME=value`, found a text without `=`",
            "line 23: `args`: expected an array of texts, found another value",
            "line 24: `c/default` is already in line 15",
            "line 28: `route.c.default`: expected a whole number from 0 to 4294967295, found another value",
            "line 29: the weights: expected at least one above zero, found none",
            "line 31: expected `function` or `route`, found `other`",
        ]
    );
    let broken = FunctionsFile::parse("\n\nenv = s3cret\n", &Table).unwrap_err();
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].line, 3);
    assert!(!broken[0].to_string().contains("s3cret"), "{}", broken[0]);
}

#[test]
fn only_what_changed_is_touched() {
    let mut registry = Registry::new();
    assert_eq!(steps(FILE, &registry), r#"start hello/blue, start hello/green, route hello {"blue":90,"green":10}"#);
    apply(FILE, &mut registry);
    let mut registry = restarted(&registry);
    assert_eq!(steps(FILE, &registry), "");

    let changed = FILE.replace("hi", "good day");
    assert_eq!(steps(&changed, &registry), "restart hello/blue/0");
    let before = process(&registry, "hello/green/0");
    apply(&changed, &mut registry);
    assert_eq!(process(&registry, "hello/green/0"), before);

    // Keys in another order are no change, other bytes are one when they are asked for.
    let hash = ModuleHash::from_digest(&[7; 32]);
    let with_bytes = plan(&parse(&changed), &registry, |_| Some(hash.clone())).unwrap();
    assert_eq!(with_bytes.len(), 2);

    // Green goes: first its weight, then the revision.
    let without = "[[function]]\nrevision = \"blue\"\nname = \"hello\"\nstopAfter = 10\nwasm = \"hello.wasm\"\n\
                   env = { GREETING = \"good day\" }\n[route.hello]\nblue = 1\n";
    assert_eq!(steps(without, &registry), r#"route hello {"blue":1}, drop hello/green"#);
    apply(without, &mut registry);
    apply("", &mut registry);
    assert!(registry.is_empty());
}

#[test]
fn the_file_keeps_to_its_own() {
    let mut registry = Registry::new();
    start(&mut registry, "mine", "", "a");
    start(&mut registry, "hello", "green", "a");
    assert_eq!(
        steps(FILE, &registry),
        "line 9: `hello/green` is in the file, but `hello/green/0` was started by a command"
    );
    run(&mut registry, |registry| registry.drop(&selector("hello/green")));
    apply(FILE, &mut registry);
    // A route to what a command started is fine, to what nobody starts is not.
    let routed = format!("{FILE}\n[route.mine]\ndefault = 1\n");
    assert_eq!(steps(&routed, &registry), r#"route mine {"default":1}"#);
    let lost = format!("{FILE}\n[route.mine]\nred = 1\n");
    assert_eq!(steps(&lost, &registry), "line 18: `route.mine`: there is no revision `red`");
    apply("", &mut registry);
    assert_eq!(keys(&registry), "mine/default/0");
}

#[test]
fn what_a_command_has_set_since_stays() {
    let mut registry = Registry::new();
    apply(FILE, &mut registry);
    let weights = capsule_faas_model::route::Weights::parse(br#"{"green":1}"#).unwrap();
    run(&mut registry, |registry| registry.set_route(&name("hello"), weights.clone()));
    assert_eq!(steps(FILE, &registry), "");
    let without_route = FILE.split("[route").next().unwrap();
    assert_eq!(steps(without_route, &registry), "route hello -");
    apply(without_route, &mut registry);
    assert_eq!(registry.route(&name("hello")).unwrap().current, weights);
}
