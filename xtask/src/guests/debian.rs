//! Debian's Rust compiler, unpacked into a private folder: without root and without a change to the system.
//!
//! apt gets a state of its own (lists, cache, sources), so that it downloads packages of a newer release than the machine's and
//! all that they need, down to the C library. `dpkg-deb` unpacks them, and a script starts the compiler with its own loader and
//! libraries. About 0.25 GB are downloaded and 0.8 GB stay in the folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The first release whose Rust (1.85) builds the guests.
const RELEASE: &str = "trixie";

/// Compiler and standard library; apt finds the rest.
const PACKAGES: [&str; 2] = ["rustc", "libstd-rust-dev-wasm32"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Whether this machine is a Debian, with its tools.
pub(super) fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian") && Path::new(KEYRING).is_file()
}

/// The compiler in this folder, unpacked on the first call.
pub(super) fn compiler(folder: &Path) -> Result<PathBuf> {
    let script = folder.join("rustc");
    if script.is_file() {
        return Ok(script);
    }
    println!("unpacking Debian's Rust compiler into {} (once, 0.8 GB)", folder.display());
    let system = folder.join("root");
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let settings = apt_state(folder)?;
    apt(&settings, &["update"])?;
    apt(&settings, &["install", "--download-only", "--yes", PACKAGES[0], PACKAGES[1]])?;
    unpack(&folder.join("archives"), &system)?;
    fs::remove_dir_all(folder.join("archives"))?;
    // The script comes last: where it is, everything is.
    write_script(&script, &system)?;
    Ok(script)
}

/// What the compiler calls itself.
pub(super) fn version(compiler: &Path) -> Result<String> {
    let output = Command::new(compiler).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {}", compiler.display()))?;
    ensure!(
        output.status.success(),
        "{} does not run: {}",
        compiler.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Makes the private state of apt and returns its settings file.
fn apt_state(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder.join("lists/partial"))?;
    fs::create_dir_all(folder.join("archives/partial"))?;
    // No package counts as installed: all that the compiler needs is downloaded.
    fs::write(folder.join("status"), "")?;
    fs::write(folder.join("sources.list"), format!("deb [signed-by={KEYRING}] {} {RELEASE} main\n", mirror()))?;
    let settings = folder.join("apt.conf");
    let path = folder.display();
    fs::write(
        &settings,
        format!(
            "Dir::State \"{path}\";\nDir::State::lists \"{path}/lists\";\nDir::State::status \"{path}/status\";\n\
             Dir::Cache \"{path}\";\nDir::Etc::sourcelist \"{path}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"\";\n"
        ),
    )?;
    Ok(settings)
}

/// The mirror that this machine uses, from either kind of sources file.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    files.extend(parts.filter(|path| path.extension().is_some_and(|end| end == "list" || end == "sources")));
    let texts: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    find_mirror(&texts).unwrap_or("http://deb.debian.org/debian").to_owned()
}

/// The first address that ends in `/debian`.
fn find_mirror(sources: &str) -> Option<&str> {
    let lines = sources.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_whitespace).map(|word| word.trim_end_matches('/'));
    words.find(|word| word.contains("://") && word.ends_with("/debian"))
}

fn apt(settings: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get").env("APT_CONFIG", settings).arg("--quiet").args(arguments).output();
    let output = output.context("cannot start apt-get")?;
    ensure!(output.status.success(), "apt-get {} fails: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Unpacks the compiler and the libraries; the C compiler that they also need is the machine's own.
fn unpack(archives: &Path, system: &Path) -> Result<()> {
    let mut unpacked = 0;
    for entry in fs::read_dir(archives)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.ends_with(".deb") || !(name.starts_with("rustc") || name.starts_with("lib")) {
            continue;
        }
        let status = Command::new("dpkg-deb").arg("--extract").arg(entry.path()).arg(system).status();
        ensure!(status.context("cannot start dpkg-deb")?.success(), "dpkg-deb cannot unpack {name}");
        unpacked += 1;
    }
    ensure!(unpacked > 0, "apt-get downloaded nothing");
    Ok(())
}

/// Writes the script that starts the compiler: its own loader, then its own libraries.
fn write_script(script: &Path, system: &Path) -> Result<()> {
    let (libraries, loader) = loader(&system.join("usr/lib"))?;
    fs::write(
        script,
        format!(
            "#!/bin/sh\nexec '{}' --library-path '{}' '{}' \"$@\"\n",
            loader.display(),
            libraries.display(),
            system.join("usr/bin/rustc").display()
        ),
    )?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The folder of libraries for this machine (`usr/lib/x86_64-linux-gnu`), and the loader in it.
fn loader(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    for libraries in fs::read_dir(folder)?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(&libraries)?.flatten() {
            if file.file_name().to_string_lossy().starts_with("ld-linux") {
                return Ok((libraries, file.path()));
            }
        }
    }
    bail!("the packages brought no loader for this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_both_kinds_of_sources() {
        for (sources, expected) in [
            ("deb http://m.example/debian/ bookworm main\n", Some("http://m.example/debian")),
            (
                "Types: deb\nURIs: http://deb.debian.org/debian-security\n\nTypes: deb\nURIs: http://deb.debian.org/debian\n",
                Some("http://deb.debian.org/debian"),
            ),
            ("# deb http://m.example/debian bookworm main\n", None),
            ("deb [signed-by=/k] https://other.example/apt stable main\n", None),
        ] {
            assert_eq!(find_mirror(sources), expected, "{sources}");
        }
    }

    #[test]
    fn the_script_names_the_packages_own_loader() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let libraries = folder.path().join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&libraries).expect("a folder");
        assert!(write_script(&folder.path().join("rustc"), folder.path()).is_err());
        fs::write(libraries.join("ld-linux-x86-64.so.2"), "").expect("a file");
        let script = folder.path().join("rustc");
        write_script(&script, folder.path()).expect("a script");
        let text = fs::read_to_string(&script).expect("a text");
        assert!(text.contains("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2' --library-path '"), "{text}");
    }
}
