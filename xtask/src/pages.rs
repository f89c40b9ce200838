//! The flag pages `docs/flags-PROGRAM.md`: what each program's `--help` prints. `cargo xtask bless` writes them, `cargo xtask
//! tidy` compares them.
//!
//! They are taken from the programs as they are built for tests, so that a page says what a user would see, and no program has
//! to know how its documentation is made.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::step::{self, command};
use crate::tidy;

/// Writes all pages anew.
pub(crate) fn bless(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("unknown argument `{argument}`");
    }
    for (file, page) in pages(&tidy::metadata()?)? {
        fs::write(&file, page).with_context(|| format!("cannot write `{}`", file.display()))?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

/// Pages that are not what the programs say.
pub(crate) fn check(metadata: &Value) -> Result<Vec<String>> {
    let pages = pages(metadata)?.into_iter();
    let old = pages.filter(|(file, page)| fs::read_to_string(file).ok().as_ref() != Some(page));
    Ok(old
        .map(|(file, _)| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            format!("docs/{name} is not what the program says: run `cargo xtask bless`")
        })
        .collect())
}

/// Each page with its file.
fn pages(metadata: &Value) -> Result<Vec<(PathBuf, String)>> {
    step::run(command(".", &["cargo", "build", "--locked", "--workspace", "--bins"]))?;
    let target = metadata["target_directory"].as_str().context("cargo metadata has no target directory")?;
    let mut pages = Vec::new();
    for name in programs(metadata) {
        let program = format!("{target}/debug/{name}");
        let help = step::output(command(".", &[&program, "--help"]))?;
        pages.push((step::root().join(format!("docs/flags-{name}.md")), page(&name, &help)));
    }
    Ok(pages)
}

/// The programs of this workspace; those of developers are not among its crates.
fn programs(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets =
        packages.filter(|package| tidy::is_product(package)).filter_map(|package| package["targets"].as_array());
    let is_program = |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&"bin".into()));
    let names = targets.flatten().filter(is_program).filter_map(|target| target["name"].as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// The help without its first line, name and version: a page does not change with a release.
fn page(name: &str, help: &str) -> String {
    let text = help.split_once('\n').map_or("", |(_, rest)| rest).trim_end();
    format!("# {name}\n\n<!-- Written by `cargo xtask bless` from `{name} --help`. -->\n\n```text\n{text}\n```\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_are_binaries_and_pages_have_no_version() {
        let target = |name: &str, kind: &str| json!({"name": name, "kind": [kind]});
        let package = |path: &str, targets: &[Value]| json!({"manifest_path": path, "targets": targets});
        let metadata = json!({"packages": [
            package("/p/crates/capsule-http/Cargo.toml", &[target("capsule-http", "bin"), target("it", "test")]),
            package("/p/crates/capsule-cli/Cargo.toml", &[target("capsule", "bin")]),
            package("/p/crates/capsule-abi/Cargo.toml", &[target("capsule_abi", "lib")]),
            package("/p/xtask/Cargo.toml", &[target("xtask", "bin")]),
        ]});
        assert_eq!(programs(&metadata), ["capsule", "capsule-http"]);
        let page = page("capsule", "capsule 1.2.3\nRuns a module.\n\nUsage:\n");
        assert!(page.contains("\n```text\nRuns a module.\n\nUsage:\n```\n") && !page.contains("1.2.3"), "{page}");
    }
}
