//! `cargo xtask profile`: where the processor time of a request goes.
//!
//! A server on the first core is under load from the second, and `perf record` takes samples of it. The processor time of a request, which
//! the system counts, is divided as the samples are: among the kernel, the guest, the libraries and the crates of this project, by the
//! names of functions. A function that the compiler has put into its caller counts as its caller, so that inlining moves time between
//! groups: what is small here may be somewhere else. The server is built as users run it, with names (profile `profiling`).

mod groups;
mod samples;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use capsule_test::guests;
use capsule_test::program::Program;
use capsule_test::server::HttpServer;
use rustix::process::Signal;

use self::groups::Group;
use self::samples::Samples;
use crate::bench::load::{CLIENT_CORE, Load, SERVER_CORE, Work, load};
use crate::faas::{Client, Start, hosting};
use crate::programs;

/// As in the benchmarks.
const CONNECTIONS: usize = 32;
/// Samples for each second, beside the beat of the kernel's own timers.
const FREQUENCY: &str = "-F3989";
/// Functions that are named.
const HOTTEST: usize = 15;
/// Lines that `hey` prints, and `faas-hello-default`, which answers the same, does not.
const LINES: f64 = 4.0;

const CONSTANT: &str = "constant/constant.wasm";
const PATH: &str = "/functions/constant";

/// Runs `profile [NAME] [OPTION...]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut names, mut given, mut seconds) = (Vec::new(), None, 5);
    for argument in arguments {
        match argument.split_once('=') {
            Some(("--programs", folder)) => given = Some(PathBuf::from(folder)),
            Some(("--seconds", count)) => seconds = count.parse()?,
            None if !argument.starts_with('-') => names.push(argument.as_str()),
            _ => bail!("unknown option `{argument}`; expected --seconds=N or --programs=DIR"),
        }
    }
    let profile = match names[..] {
        [] | ["http"] => Stage::http,
        ["faas"] => Stage::faas,
        ["fresh"] => Stage::fresh,
        ["hello"] => Stage::hello,
        _ => bail!("unknown profile `{}`; expected `http`, `faas`, `fresh` or `hello`", names.join(" ")),
    };
    // Before anything is built.
    let perf = Program::tool("perf", "linux-perf")?;
    let programs = programs::built(given.as_deref(), "profiling", &["capsule-http"])?;
    println!("{}", programs::machine());
    profile(&Stage { programs, perf, seconds })
}

/// What all profiles need.
struct Stage {
    programs: PathBuf,
    perf: Program,
    seconds: u32,
}

impl Stage {
    fn http(&self) -> Result<()> {
        self.direct("capsule-http", &guests::function(CONSTANT)?, &[]).map(drop)
    }

    fn fresh(&self) -> Result<()> {
        self.direct("--instances=fresh", &guests::function(CONSTANT)?, &["--instances=fresh"]).map(drop)
    }

    fn faas(&self) -> Result<()> {
        let module = guests::function(CONSTANT)?.display().to_string();
        let server = HttpServer::launch(hosting(self.server()?))?;
        let start = Start { place: "constant", module: &module, args: &[], env: &[] };
        Client::open(server.address())?.start(&start)?;
        self.profile("--faas", &server).map(drop)
    }

    /// The same function in two languages: without prints, and with some.
    fn hello(&self) -> Result<()> {
        for (language, of) in [("Rust", built as fn(&str) -> Result<PathBuf>), ("Go", guests::function_in_go)] {
            let silent = self.direct(&format!("{language}, no line printed"), &of("faas-hello-default")?, &[])?;
            let printing = self.direct(&format!("{language}, {LINES} lines printed"), &of("hey")?, &[])?;
            let line = |time: fn(&Profile) -> f64| (time(&printing) - time(&silent)) / LINES;
            println!(
                "{language}: {:.2} us that are neither guest nor hyper nor kernel; a line adds {:.2} us, and {:.2} us in the kernel\n",
                silent.host(),
                line(Profile::host),
                line(|profile| profile.time(profile.samples.of(Group::Kernel)))
            );
        }
        Ok(())
    }

    fn direct(&self, name: &str, module: &Path, more: &[&str]) -> Result<Profile> {
        let program = self.server()?.arg(module).arg("--httpHost=127.0.0.1").args(more);
        // Nobody reads what the modules print.
        self.profile(name, &HttpServer::launch(program.without_stdout()?)?)
    }

    fn server(&self) -> Result<Program> {
        programs::pinned(self.programs.join("capsule-http"), SERVER_CORE)
    }

    /// Has a server work and looks at it meanwhile.
    fn profile(&self, name: &str, server: &HttpServer) -> Result<Profile> {
        let work = |seconds| Work { path: PATH, connections: CONNECTIONS, seconds, script: None, cores: CLIENT_CORE };
        load(server, work(1))?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("samples").display().to_string();
        let process = server.process.id().to_string();
        // The client has the other core to itself but for the moments in which samples are written.
        let record = ["record", "-q", "-N", FREQUENCY, "-p", &process, "-o", &file];
        let recording = self.perf.clone().args(record).start()?;
        let measured = load(server, work(self.seconds))?;
        // A second INT would end it without its file; one that has failed has ended already.
        recording.signal(Signal::INT)?;
        let recorded = recording.wait(capsule_test::DEADLINE)?;
        ensure!(Path::new(&file).is_file(), "`perf record` took no samples\n{recorded:?}");
        let script = self.perf.clone().args(["script", "--no-inline", "-F", "ip,sym,dso", "-i", &file]);
        let samples = Samples::parse(&script.run()?.success()?.stdout());
        let profile = Profile { load: measured, samples };
        profile.print(name).with_context(|| format!("`perf` saw nothing of `{name}`\n{recorded:?}"))?;
        Ok(profile)
    }
}

/// The built module of an example function in Rust.
fn built(name: &str) -> Result<PathBuf> {
    guests::function(&format!("{name}/{name}.wasm"))
}

/// What was seen of a server.
struct Profile {
    load: Load,
    samples: Samples,
}

impl Profile {
    /// Microseconds of a request that some samples stand for.
    fn time(&self, count: u64) -> f64 {
        self.load.processor_time.as_secs_f64() * 1e6 * count as f64 / self.samples.count().max(1) as f64
    }

    /// Microseconds of a request that are neither the guest's nor the kernel's nor a bare server's. What is allocated, copied and done by the
    /// standard library for the server is in it.
    fn host(&self) -> f64 {
        let groups = [Group::Engine, Group::Memory, Group::Capsule, Group::Other];
        self.time(groups.iter().map(|group| self.samples.of(*group)).sum())
    }

    fn print(&self, name: &str) -> Result<()> {
        let all = self.samples.count();
        ensure!(all > 0, "there are no samples");
        println!(
            "{name}: {:.2} us of processor time for a request, {:.0} requests/s, {all} samples",
            self.load.processor_time.as_secs_f64() * 1e6,
            self.load.requests_per_second
        );
        let line = |count: u64, name: &str| {
            println!("{:>9.2} us{:>7.1}%  {name}", self.time(count), count as f64 * 100.0 / all as f64);
        };
        for group in Group::ALL {
            line(self.samples.of(group), group.name());
        }
        if self.samples.of(Group::Kernel) == 0 {
            println!("The kernel was not seen: as root, or with /proc/sys/kernel/perf_event_paranoid at 1, it is.");
        }
        println!("the {HOTTEST} hottest functions:");
        for (symbol, group, count) in self.samples.hottest(HOTTEST) {
            line(count, &format!("{symbol} ({})", group.name()));
        }
        println!();
        Ok(())
    }
}
