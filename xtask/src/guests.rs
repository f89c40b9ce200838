//! `cargo xtask guests`: builds the example functions in Rust for `wasm32-wasip1` and copies each module to
//! `functions/NAME/NAME.wasm`, where it is committed.
//!
//! `--check` compiles nothing: it compares the sources and the committed modules with the hashes that the last build wrote into
//! `functions/modules.lock`, and so works without a guest compiler.

mod debian;
mod manifest;
mod toolchain;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use manifest::{Entry, Manifest};

const TARGET: &str = "wasm32-wasip1";

const USAGE: &str = "usage: cargo xtask guests [--check] [--debian] [NAME...]

  NAME       only these functions; default: all
  --check    compile nothing, say which committed modules do not match their sources
  --debian   use the compiler of Debian's packages even where rustup has the target";

/// Runs the command with its arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (flags, names): (BTreeSet<&str>, Vec<&str>) = {
        let (flags, names): (Vec<&str>, Vec<&str>) = arguments.iter().map(|a| &**a).partition(|a| a.starts_with('-'));
        (flags.into_iter().collect(), names)
    };
    if let Some(flag) = flags.iter().find(|flag| !["--check", "--debian"].contains(flag)) {
        bail!("unknown flag `{flag}`\n{USAGE}");
    }
    let root = root()?;
    let all = functions(&root)?;
    for name in &names {
        ensure!(all.iter().any(|known| known == name), "there is no function `{name}`, known are: {}", all.join(" "));
    }
    let chosen: Vec<&str> = if names.is_empty() { all.iter().map(|name| &**name).collect() } else { names };
    if flags.contains("--check") { check(&root, &chosen) } else { build(&root, &chosen, flags.contains("--debian")) }
}

/// The root of the project: the folder above this crate.
fn root() -> Result<PathBuf> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().map(Path::to_owned).context("this crate lies in the root of the project")
}

/// The functions that have a source in Rust, by name.
fn functions(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("functions");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join("rust/Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Where the committed module of a function lies.
fn module_path(root: &Path, name: &str) -> PathBuf {
    root.join("functions").join(name).join(format!("{name}.wasm"))
}

fn check(root: &Path, names: &[&str]) -> Result<()> {
    let manifest = Manifest::read(root)?;
    let mut problems = Vec::new();
    for name in names {
        let module = fs::read(module_path(root, name)).ok();
        let problem = match (manifest.get(name), module) {
            (None, _) => "was never built",
            (_, None) => "has no module",
            (Some(entry), _) if entry.source != manifest::hash_sources(root, name)? => {
                "has other sources than its module was built from"
            }
            (Some(entry), Some(module)) if entry.module != manifest::hash(&module) => {
                "has another module than was built"
            }
            _ => continue,
        };
        problems.push(format!("function `{name}` {problem}"));
    }
    if problems.is_empty() {
        println!("{} modules match their sources", names.len());
        return Ok(());
    }
    bail!("{}\nhint: `cargo xtask guests` builds them", problems.join("\n"))
}

fn build(root: &Path, names: &[&str], debian: bool) -> Result<()> {
    let toolchain = toolchain::find(root, debian)?;
    println!("compiler: {}", toolchain.description);
    // Hashed before the build: an edit that happens meanwhile is found by the next check.
    let mut entries = Vec::new();
    for name in names {
        entries.push(Entry {
            name: (*name).to_owned(),
            source: manifest::hash_sources(root, name)?,
            module: String::new(),
        });
    }
    let status = cargo_build(root, &toolchain, names).status().context("cannot start cargo")?;
    ensure!(status.success(), "the functions do not build");

    let mut manifest = Manifest::read(root)?;
    for mut entry in entries {
        let name = entry.name.clone();
        let built = root.join("functions/target").join(TARGET).join("release").join(format!("{name}.wasm"));
        let module = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        entry.module = manifest::hash(&module);
        let path = module_path(root, &name);
        fs::write(&path, &module).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{name:<20} {:>4} KB", module.len().div_ceil(1000));
        manifest.set(entry);
    }
    manifest.write(root, &functions(root)?)
}

fn cargo_build(root: &Path, toolchain: &toolchain::Toolchain, names: &[&str]) -> Command {
    // Settings of the outer cargo would win over those of the functions' workspace.
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root.join("functions"));
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "RUSTC"] {
        cargo.env_remove(variable);
    }
    cargo.args(["build", "--release", "--locked", "--target", TARGET]);
    for name in names {
        cargo.args(["--package", name]);
    }
    // Panic messages name source files: not those of whoever built the module.
    let mut remaps = vec![format!("\"--remap-path-prefix={}=capsule\"", root.display())];
    if let Some(home) = cargo_home() {
        remaps.push(format!("\"--remap-path-prefix={}=cargo\"", home.display()));
    }
    cargo.arg("--config").arg(format!("target.{TARGET}.rustflags=[{}]", remaps.join(",")));
    cargo.envs(toolchain.environment.iter().map(|(name, value)| (name, value)));
    cargo
}

fn cargo_home() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}
