//! What the README shows is what happens.

use capsule_test::guests::root;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;

/// The code blocks of a Markdown text: language and content.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = text.split("\n```").collect();
    // Fences open and close in turn; what follows an opening one is its language and the block.
    let blocks = parts[1..].iter().step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a block has lines")).collect()
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the project has a README")
}

#[test]
fn the_first_command_serves_what_the_second_one_asks_for() {
    let readme = readme();
    let blocks = blocks(&readme);
    let first = blocks.iter().position(|(_, block)| block.starts_with("cargo run ")).unwrap();
    let (command, curl, expected) = (blocks[first].1.trim(), blocks[first + 1].1.trim(), blocks[first + 2].1.trim());
    let (cargo, words) = command.split_once(" -- ").unwrap();
    assert_eq!(cargo, "cargo run --release -p capsule-http");
    assert!(words.contains("--httpPort=8080") && curl.contains("localhost:8080"), "{words}\n{curl}");

    // The last flag of a name wins: the port is a free one.
    let program = Program::of_workspace("capsule-http").unwrap().current_dir(root());
    let program = program.arg("--httpHost=127.0.0.1").args(words.split_whitespace()).arg("--httpPort=0");
    let server = HttpServer::launch(program).unwrap();
    let curl = curl.replacen("curl ", "curl --silent --show-error ", 1);
    let curl = curl.replace("localhost:8080", &server.address().to_string());
    Program::tool("curl", "curl").unwrap();
    let answer = Program::tool("sh", "dash").unwrap().args(["-c", &curl]).run().unwrap();
    assert_eq!(answer.stdout(), expected, "{}", answer.stderr());
}

#[test]
fn the_second_command_is_what_ci_runs() {
    let readme = readme();
    assert!(blocks(&readme).iter().any(|(_, block)| block.trim() == "cargo xtask test"));
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.lines().any(|line| line == "cargo xtask test"), "{ci}");
}

#[test]
fn the_functions_shown_are_the_examples() {
    let readme = readme();
    for (language, file) in [("rust", "functions/hey/rust/src/main.rs"), ("go", "functions/hey/go/main.go")] {
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        let blocks = blocks(&readme);
        let (_, shown) = blocks.iter().find(|(found, _)| *found == language).unwrap();
        assert!(source.contains(shown.trim()), "the block of {language} is not in {file}");
    }
}
