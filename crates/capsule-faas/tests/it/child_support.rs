//! Functions in child processes: servers that allow them, and ways to ask them over HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use capsule_faas::runtime::{Children, FaasError, FunctionReply};
use capsule_faas_model::names::Key;
use capsule_faas_model::record::Record;
use capsule_faas_model::spec::{Origin, Spec};
use capsule_faas_model::start::StartBody;
use capsule_hdk::{Call, Kind};

use crate::child_roles::ROLE;
use crate::runtime_support::{World, says, selector};

/// The server's executable in these tests: the real one.
pub(crate) fn capsule_http() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("capsule-http");
    assert!(program.is_file(), "`{}` is missing: run `cargo build --workspace` first", program.display());
    program
}

/// Where the script of the hostile children is.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

pub(crate) fn children() -> Children {
    let mut children = Children::new(capsule_http());
    children.allowed.push(scripts());
    children.environment = Children::needed(|name| std::env::var_os(name));
    // Nobody listens there: a child that wants to tell us something is not heard.
    children.parent_endpoint = "http://127.0.0.1:9".into();
    children
}

impl World {
    /// Starts a function in a child process of this executable.
    pub(crate) async fn start_child(
        &self,
        place: &str,
        path: &Path,
        args: &[&str],
        env: &[String],
    ) -> Result<Key, FaasError> {
        let place = selector(place);
        let body = StartBody {
            name: place.name,
            revision: place.revision.unwrap_or_default(),
            description: String::new(),
            spec: Spec {
                path: Some(path.to_str().unwrap().to_owned()),
                args: [""].iter().chain(args).map(|word| (*word).to_owned()).collect(),
                env: env.to_vec().try_into().unwrap(),
                ..Spec::default()
            },
        };
        self.faas.start(body, Origin::Api).await
    }

    /// Starts a child that plays a role.
    pub(crate) async fn start_role(&self, place: &str, role: &str, args: &[&str]) -> Result<Key, FaasError> {
        let module = self.file("any.wat", &says("any"));
        let wasm = format!("-wasm={}", module.display());
        let program = std::env::current_exe().unwrap();
        let env = [format!("{ROLE}={role}"), format!("TEST_PROGRAM={}", program.display())];
        self.start_child(place, &scripts().join("child.sh"), &[&[wasm.as_str()], args].concat(), &env).await
    }

    /// Starts the real `capsule-http` as a child, with a guest of the fixtures.
    pub(crate) async fn start_real(&self, place: &str, fixture: &str, args: &[&str]) -> Result<Key, FaasError> {
        let wasm = format!("-wasm={}", capsule_test::guests::fixture(fixture).unwrap().display());
        self.start_child(place, &capsule_http(), &[&[wasm.as_str()], args].concat(), &[]).await
    }

    /// Status and text of the answer to GET.
    pub(crate) async fn get(&self, place: &str, path: &str) -> (u16, String) {
        let answer = self.send(place, "GET", path, &[], "").await;
        (answer.status().as_u16(), text(&answer))
    }

    /// The answer over HTTP; that to a call which reached nobody has its status and text.
    pub(crate) async fn send(
        &self,
        place: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> http::Response<bytes::Bytes> {
        let document = serde_json::json!({
            "Body": body, "JSONBody": "", "TextBody": "", "URI": format!("http://the-host{path}"), "Method": method,
            "Headers": "", "Path": path, "Query": "", "RequestId": "an-id", "HeaderList": headers,
        });
        let failed = |status: u16, text: String| http::Response::builder().status(status).body(text.into()).unwrap();
        match self.faas.call(&selector(place), Call::new(Kind::Http, document.to_string())).await {
            Ok(answer) => match answer.result {
                Ok(FunctionReply::Child(answer)) => *answer,
                Ok(FunctionReply::Inside(answer)) => {
                    failed(200, String::from_utf8_lossy(&answer.into_body()).into_owned())
                }
                Err(error) => failed(599, error.to_string()),
            },
            Err(error) => failed(error.status(), error.to_string()),
        }
    }

    pub(crate) fn record(&self, key: &str) -> Record {
        self.faas.processes()[&key.parse::<Key>().unwrap()].clone()
    }

    pub(crate) fn log(&self, place: &str) -> Vec<String> {
        self.faas.logs(&selector(place)).unwrap().iter().map(|line| line.text.clone()).collect()
    }
}

pub(crate) fn text(answer: &http::Response<bytes::Bytes>) -> String {
    String::from_utf8_lossy(answer.body()).into_owned()
}

/// Whether a process is there and has not ended.
pub(crate) fn runs(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // `pid (name) state`: a zombie is one that its parent has not looked at.
    !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// For children that do not end when they are asked to.
pub(crate) fn impatient() -> Children {
    let mut children = children();
    children.stop_timeout = Duration::from_millis(100);
    children
}
