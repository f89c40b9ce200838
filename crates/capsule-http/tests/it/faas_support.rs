//! Servers of functions, and short ways to steer and call them: over HTTP, and with the real `capsctl`.

use std::path::{Path, PathBuf};

use capsule_test::client::Response;
use capsule_test::guests;
use capsule_test::process::Finished;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The token of every test.
pub(crate) const TOKEN: &str = "s3cret-token";

/// A server of functions with its data folder, which outlives it.
pub(crate) struct Faas {
    pub(crate) server: HttpServer,
    pub(crate) home: TempDir,
    flags: Vec<String>,
    env: Vec<(String, String)>,
}

impl Faas {
    /// One with a data folder of its own and these flags.
    pub(crate) fn start(flags: &[&str]) -> Faas {
        Faas::start_in(tempfile::tempdir().unwrap(), flags, &[])
    }

    /// The same with environment variables, in a folder that may have files already.
    pub(crate) fn start_in(home: TempDir, flags: &[&str], env: &[(&str, &str)]) -> Faas {
        let mut words = vec!["--faas".to_owned(), format!("--dataDir={}", home.path().join("data").display())];
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut variables = vec![("CAPSULE_FAAS_TOKEN".to_owned(), TOKEN.to_owned())];
        variables.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Faas { server: launch(&words, &variables), home, flags: words, env: variables }
    }

    /// One that was started in another way.
    pub(crate) fn of(server: HttpServer, home: TempDir) -> Faas {
        Faas { server, home, flags: Vec::new(), env: Vec::new() }
    }

    /// Kills the server, as a crash would, and starts it again on the same folder.
    pub(crate) fn killed_and_started(self) -> Faas {
        let Faas { server, home, flags, env } = self;
        server.process.kill().unwrap();
        Faas { server: launch(&flags, &env), home, flags, env }
    }

    /// A request without a token.
    pub(crate) fn send(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
        self.server.connect().unwrap().send(method, path, &[], body.as_ref()).unwrap()
    }

    /// A request of the administrator.
    pub(crate) fn admin(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
        let token = [("CAPSULE_FAAS_TOKEN", TOKEN)];
        self.server.connect().unwrap().send(method, path, &token, body.as_ref()).unwrap()
    }

    /// Starts `name/revision` from a module of `fixtures/` or `functions/`, with more arguments; answers its key.
    #[track_caller]
    pub(crate) fn start_function(&self, place: &str, module: &str, args: &[&str]) -> String {
        let answer = self.admin("POST", "/functions/start", start_body(place, &module_path(module), args, &[]));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Calls a function and answers status and text.
    pub(crate) fn call(&self, path: &str, body: &str) -> (u16, String) {
        let answer = self.send("POST", &format!("/functions/{path}"), body);
        (answer.status, answer.text())
    }

    /// `capsctl` for this server.
    pub(crate) fn capsctl(&self, words: &[&str]) -> Finished {
        let capsctl = Program::of_workspace("capsctl").unwrap();
        let capsctl = capsctl.env("CAPSULE_MAIN_PROCESS_URL", self.server.url("")).env("CAPSULE_FAAS_TOKEN", TOKEN);
        let finished = capsctl.args(words).run().unwrap();
        assert!(!format!("{finished:?}").contains(TOKEN), "{finished:?}");
        finished
    }

    /// The stdout of a `capsctl` that must succeed.
    #[track_caller]
    pub(crate) fn capsctl_says(&self, words: &[&str]) -> String {
        let finished = self.capsctl(words);
        assert_eq!((finished.code, finished.stderr().as_str()), (Some(0), ""), "{finished:?}");
        finished.stdout()
    }

    /// The list of processes.
    pub(crate) fn processes(&self) -> Value {
        let answer = self.admin("GET", "/functions/processes", "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The keys of all processes.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.processes().as_object().unwrap().keys().cloned().collect()
    }

    /// The word for how a process is.
    pub(crate) fn status(&self, key: &str) -> String {
        self.processes()[key]["statusDescription"].as_str().unwrap_or("none").to_owned()
    }
}

fn launch(flags: &[String], env: &[(String, String)]) -> HttpServer {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    HttpServer::start(flags, &env).unwrap()
}

/// A module of `fixtures/` (`x.wat`) or `functions/` (`x`), or a path.
pub(crate) fn module_path(module: &str) -> PathBuf {
    match module {
        path if path.starts_with('/') => path.into(),
        wat if wat.ends_with(".wat") => guests::fixture(wat).unwrap(),
        name => guests::function(&format!("{name}/{name}.wasm")).unwrap(),
    }
}

/// The body of a start.
pub(crate) fn start_body(place: &str, module: &Path, args: &[&str], env: &[&str]) -> String {
    let (name, revision) = place.split_once('/').unwrap_or((place, ""));
    let mut words = vec![String::new(), format!("-wasm={}", module.display())];
    words.extend(args.iter().map(|word| (*word).to_owned()));
    json!({"name": name, "revision": revision, "args": words, "env": env}).to_string()
}

/// Status, and the text of `error` in a JSON answer.
#[track_caller]
pub(crate) fn refusal(answer: &Response) -> (u16, String) {
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    (answer.status, document["error"].as_str().unwrap_or_else(|| panic!("no error: {document}")).to_owned())
}
