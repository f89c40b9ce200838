//! Programs of others as candidates, by path: what is not given is left out, and a line says so.

use std::net::TcpListener;

use capsule_test::program::Program;
use capsule_test::server::HttpServer;

use super::Options;
use super::compare::Candidate;
use super::load::SERVER_CORE;
use crate::programs;

/// Says where a program listens that does not say so itself, once it does, and gives up after some ten seconds.
const ANNOUNCE: &str = r#"port=$1; shift
(for try in {1..1000}; do
  if (: > "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then echo "listening on http://127.0.0.1:$port" >&2; break; fi
  sleep 0.01
done) &
exec "$@""#;

/// The reference's `capsule-http` with a module.
pub(super) fn reference(options: &Options, module: &str) -> Option<Candidate<'static>> {
    let Some(path) = options.reference.clone() else { return left_out("reference", "--reference=PATH") };
    let module = module.to_owned();
    let start = move || {
        let port = free_port()?;
        let program =
            Program::tool("bash", "bash")?.args(["-c", ANNOUNCE, "bash", &port, "taskset", "-c", SERVER_CORE]);
        HttpServer::launch(program.arg(&path).args([format!("-wasm={module}"), format!("-httpPort={port}")]))
    };
    Some(Candidate { name: "reference", path: "/", start: Box::new(start) })
}

/// `wasmtime serve` with a component, which makes an instance for each request.
pub(super) fn wasmtime(options: &Options) -> Option<Candidate<'static>> {
    let (Some(path), Some(component)) = (options.wasmtime.clone(), options.component.clone()) else {
        return left_out("wasmtime serve", "--wasmtime=PATH and --component=PATH");
    };
    let start = move || {
        let program = programs::pinned(path.clone(), SERVER_CORE)?;
        HttpServer::launch(program.args(["serve", "--addr", &format!("127.0.0.1:{}", free_port()?)]).arg(&component))
    };
    Some(Candidate { name: "wasmtime serve", path: "/", start: Box::new(start) })
}

fn left_out(name: &str, flags: &str) -> Option<Candidate<'static>> {
    eprintln!("left out: {name} ({flags} not given)");
    None
}

/// One that was free just now.
fn free_port() -> std::io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_program_is_found_when_it_listens() {
        let port = free_port().unwrap();
        let redis = ["redis-server", "--port", &port, "--bind", "127.0.0.1", "--save", ""];
        let program = Program::tool("bash", "bash").unwrap().args(["-c", ANNOUNCE, "bash", &port]).args(redis);
        assert_eq!(HttpServer::launch(program).unwrap().address().port().to_string(), port);
    }
}
