//! Who may depend on whom. The law is the table of crates in ARCHITECTURE.md: the column `depends on` names all crates of this
//! workspace that a crate may use. The crate of the test harness is for tests only, and some libraries have one door.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Any crate may use it in its tests, and developer commands for their servers.
const HARNESS: &str = "capsule-test";

/// Libraries, by the beginning of their name, and the crates that may use them.
const DOORS: [(&str, &[&str]); 5] = [
    ("wasmtime", &["capsule-hdk"]),
    ("wiggle", &["capsule-hdk"]),
    ("cranelift", &[]),
    ("redis", &["capsule-hostfns"]),
    ("ngrok", &["capsule-http"]),
];

/// Crates that modules are built with, and all that they may use of others.
const FOR_GUESTS: [(&str, &[&str]); 2] =
    [("capsule-abi", &["base64", "serde", "serde_json"]), ("capsule-mdk", &["capsule-abi", "serde", "serde_json"])];

/// Compares the dependencies of all crates with the table.
pub(super) fn check(architecture: &str, metadata: &Value) -> Result<Vec<String>> {
    let law = law(architecture);
    ensure!(!law.is_empty(), "ARCHITECTURE.md has no table of crates");
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let own: BTreeSet<String> = packages.iter().map(name).collect();
    let mut problems = Vec::new();
    for package in packages {
        let this = name(package);
        let allowed = match law.get(&this) {
            Some(allowed) => allowed.clone(),
            None if !super::is_product(package) => BTreeSet::new(),
            None => {
                problems.push(format!("`{this}` is not in the table of crates in ARCHITECTURE.md"));
                continue;
            }
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = name(dependency);
            let for_tests = dependency["kind"] == "dev";
            let may_test = for_tests || !super::is_product(package);
            let may = allowed.contains(&other) || is_bench(package) || (may_test && other == HARNESS);
            if own.contains(&other) && !may {
                problems
                    .push(format!("`{this}` depends on `{other}`, which the table in ARCHITECTURE.md does not allow"));
            }
            for (library, doors) in DOORS {
                if other.starts_with(library) && !doors.contains(&&*this) {
                    problems.push(format!("`{this}` depends on `{other}`, which only {} may", list(doors)));
                }
            }
            let closed = FOR_GUESTS.iter().find(|(name, _)| *name == this);
            if let Some((_, may)) = closed.filter(|(_, may)| !for_tests && !may.contains(&&*other)) {
                problems.push(format!(
                    "`{this}` depends on `{other}`; modules are built with it, it may use {}",
                    list(may)
                ));
            }
        }
    }
    problems.extend(
        law.keys()
            .filter(|name| !own.contains(*name))
            .map(|name| format!("`{name}` is in the table of crates in ARCHITECTURE.md, and not in the workspace")),
    );
    Ok(problems)
}

/// True for a benchmark, which may use whatever it measures.
fn is_bench(package: &Value) -> bool {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    manifest.ancestors().nth(2).is_some_and(|folder| folder.ends_with("benches"))
}

/// The table whose head begins with `crate`. Rows such as ``| `capsule-hdk` | what it holds | `capsule-abi` | ... |``: a crate,
/// and the names in the third cell.
fn law(architecture: &str) -> BTreeMap<String, BTreeSet<String>> {
    let table = architecture.lines().skip_while(|line| !line.starts_with("| crate |"));
    let rows = table.take_while(|line| line.starts_with('|')).filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| {
        let mut cells = row.split('|').skip(1);
        let (this, _, others) = (cells.next()?, cells.next()?, cells.next()?);
        let this = this.split('`').nth(1)?.to_owned();
        Some((this, others.split('`').skip(1).step_by(2).map(str::to_owned).collect()))
    })
    .collect()
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &str = "# Map\n\
        | crate | holds | depends on | never knows |\n|---|---|---|---|\n\
        | `capsule-abi` | documents | | I/O |\n\
        | `capsule-hdk` | engine | `capsule-abi` | flags |\n\
        | `capsule-cli` | program | `capsule-abi`, `capsule-hdk` | |\n\n\
        | folder | holds |\n|---|---|\n| `docs/` | papers | `abi.md` |\n";

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> =
            dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        let folder = match name.split_once('-') {
            Some(("capsule", _)) => "crates/",
            Some(("bench", _)) => "benches/",
            _ => "",
        };
        json!({"name": name, "dependencies": dependencies, "manifest_path": format!("/p/{folder}{name}/Cargo.toml")})
    }

    #[test]
    fn allowed_edges_are_quiet() {
        let metadata = json!({"packages": [
            package("capsule-abi", &[("serde", None), ("proptest", Some("dev"))]),
            package("capsule-hdk", &[("capsule-abi", None), ("wasmtime", None), ("tokio", None)]),
            package("capsule-cli", &[("capsule-hdk", None), ("capsule-test", Some("dev"))]),
            package("xtask", &[("anyhow", None), ("capsule-test", Some("dev"))]),
            package("bench-micro", &[("capsule-abi", None), ("capsule-hdk", None)]),
        ]});
        assert_eq!(check(TABLE, &metadata).unwrap(), [""; 0]);
    }

    #[test]
    fn every_other_edge_is_named() {
        let metadata = json!({"packages": [
            package("capsule-abi", &[("tokio", None), ("capsule-hdk", Some("dev"))]),
            package("capsule-cli", &[("wasmtime", Some("dev")), ("capsule-test", None)]),
            package("capsule-test", &[]),
            package("bench-micro", &[("wasmtime", None)]),
            package("xtask", &[("capsule-abi", None)]),
        ]});
        assert_eq!(
            check(TABLE, &metadata).unwrap(),
            [
                "`capsule-abi` depends on `tokio`; modules are built with it, it may use base64, serde, serde_json",
                "`capsule-cli` depends on `wasmtime`, which only capsule-hdk may",
                "`capsule-cli` depends on `capsule-test`, which the table in ARCHITECTURE.md does not allow",
                "`capsule-test` is not in the table of crates in ARCHITECTURE.md",
                "`bench-micro` depends on `wasmtime`, which only capsule-hdk may",
                "`xtask` depends on `capsule-abi`, which the table in ARCHITECTURE.md does not allow",
                "`capsule-hdk` is in the table of crates in ARCHITECTURE.md, and not in the workspace",
            ]
        );
        assert!(check("# Map", &metadata).is_err());
    }
}
