//! What docs/faas.md shows is what happens.

use std::path::Path;

use capsule_test::guests::root;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;

/// The code blocks of a Markdown text: language and content.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = text.split("\n```").collect();
    let blocks = parts[1..].iter().step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a block has lines")).collect()
}

#[test]
fn the_commands_of_the_page_do_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/faas.md")).unwrap();
    let blocks = blocks(&page);
    let home = tempfile::tempdir().unwrap();
    let data = format!("--dataDir={}", home.path().join("data").display());
    let functions = blocks.iter().find(|(language, _)| *language == "toml").unwrap().1;
    let (variable, command) = blocks[0].1.trim().split_once(" capsule-http ").unwrap();
    let (name, token) = variable.split_once('=').unwrap();
    assert_eq!((blocks[0].0, name, command), ("sh", "CAPSULE_FAAS_TOKEN", "--faas --httpPort=8080"));

    let serve = |more: &[&str]| {
        let program = Program::of_workspace("capsule-http").unwrap().current_dir(root()).env(name, token);
        let program = program.args(command.split(' ')).args(["--httpPort=0", "--httpHost=127.0.0.1"]).args(more);
        HttpServer::launch(program).unwrap()
    };
    let server = serve(&[&data]);
    let address = server.address().to_string();
    let export = blocks[1].1.trim().replace("localhost:8080", &address);
    assert!(export.starts_with("export CAPSULE_FAAS_TOKEN="), "{export}");
    // `capsctl` is where the tests' other programs are.
    let programs = std::env::current_exe().unwrap().ancestors().nth(2).map(Path::to_owned).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    for (index, (_, block)) in blocks.iter().enumerate().skip(2).filter(|(_, (language, _))| *language == "sh") {
        let script = format!("set -e\n{export}\n{}", block.trim().replace("curl ", "curl --silent --show-error "));
        let script = script.replace("localhost:8080", &address);
        let shell = Program::tool("sh", "dash").unwrap().env("PATH", &path).current_dir(root());
        let finished = shell.args(["-c", &script]).run().unwrap().success().unwrap();
        if let Some(("text", expected)) = blocks.get(index + 1) {
            let shown = finished.stdout().replace(&address, "localhost:8080");
            assert_eq!(shown.trim(), expected.trim(), "{block}");
        }
        commands += 1;
    }
    assert!(commands >= 8, "{commands}");

    // The file.
    let file = home.path().join("functions.toml");
    std::fs::write(&file, functions).unwrap();
    let server = serve(&["--dataDir=none", &format!("--functions={}", file.display())]);
    assert_eq!(server.post("/functions/hello/blue", "Bob").unwrap().text(), "🔵 👋 Hey Bob ! [m g]");
    assert_eq!(server.post("/functions/hello", "Bob").unwrap().status, 200);
}
