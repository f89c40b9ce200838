//! `bench faas`: a function that is served alone, against the same function hosted: alone, and beside many others.

use anyhow::Result;
use capsule_test::server::HttpServer;

use super::Options;
use super::compare::{self, Candidate, Plan};
use super::load::SERVER_CORE;
use crate::faas::{Client, Start, hosting};
use crate::{programs, step};

/// Measures and prints.
pub(super) fn run(options: &Options) -> Result<()> {
    let folder = programs::folder(options.programs.as_deref(), &["capsule-http"])?;
    let module = step::root().join("functions/constant/constant.wasm").display().to_string();
    let server = || programs::pinned(folder.join("capsule-http"), SERVER_CORE);
    let direct = || HttpServer::launch(server()?.arg(&module).arg("--httpHost=127.0.0.1"));
    let hosted = |others: usize| {
        let server = HttpServer::launch(hosting(server()?))?;
        let mut client = Client::open(server.address())?;
        let mut start = |name: &str| client.start(&Start { place: name, module: &module, args: &[], env: &[] });
        for number in 0..others {
            start(&format!("other-{number}"))?;
        }
        start("constant")?;
        Ok(server)
    };
    // The same request for all.
    let path = "/functions/constant";
    let candidates = [
        Candidate { name: "direct", path, start: Box::new(direct) },
        Candidate { name: "hosted", path, start: Box::new(|| hosted(0)) },
        Candidate { name: "hosted beside", path, start: Box::new(|| hosted(options.functions)) },
    ];
    compare::run(&candidates, Plan::GET, options)
}
