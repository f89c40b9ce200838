//! Which Rust compiler builds guests, in this order: the one of rustup with the std of `wasm32-wasip1`; on Debian, the
//! distribution's packages unpacked into `.guests/debian`; else a message that says what to install.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{TARGET, debian};

/// A compiler for guests.
pub(super) struct Toolchain {
    /// For the user: what it is.
    pub(super) description: String,
    /// What cargo needs in its environment to use it.
    pub(super) environment: Vec<(&'static str, OsString)>,
}

/// Finds a compiler, or makes one.
pub(super) fn find(root: &Path, force_debian: bool) -> Result<Toolchain> {
    if !force_debian && has_std(&rustc(&["--print", "target-libdir", "--target", TARGET])?) {
        return Ok(Toolchain { description: rustc(&["--version"])?, environment: Vec::new() });
    }
    if !debian::is_debian() {
        bail!("the standard library for {TARGET} is not installed\nhint: rustup target add {TARGET}");
    }
    let compiler = debian::compiler(&root.join(".guests/debian")).with_context(|| {
        format!("the standard library for {TARGET} is not installed (rustup target add {TARGET}), and Debian's cannot be unpacked")
    })?;
    Ok(Toolchain {
        description: format!("{} of Debian's packages in .guests/debian", debian::version(&compiler)?),
        environment: vec![
            ("RUSTC", compiler.into_os_string()),
            ("CARGO_TARGET_WASM32_WASIP1_LINKER", linker()?.into_os_string()),
        ],
    })
}

/// Whether the folder of a target's libraries holds its std.
fn has_std(folder: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// The linker that rustup's compiler brings: Debian's has none for wasm.
fn linker() -> Result<PathBuf> {
    let host = rustc(&["--print", "host-tuple"])?;
    let linker = PathBuf::from(rustc(&["--print", "sysroot"])?).join("lib/rustlib").join(host).join("bin/rust-lld");
    ensure!(linker.is_file(), "{} does not exist, it comes with a Rust toolchain of rustup", linker.display());
    Ok(linker)
}

/// What the compiler on the PATH prints.
fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(arguments).output().context("cannot start rustc")?;
    ensure!(
        output.status.success(),
        "rustc {} fails: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
