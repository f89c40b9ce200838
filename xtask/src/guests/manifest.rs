//! `functions/modules.lock`: which sources each committed module was built from.
//!
//! One line for each function: name, hash of the sources, hash of the module. The sources of a function are its `rust/` folder
//! and all that it shares with the others: the functions' workspace and lock file, `capsule-mdk` and `capsule-abi`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What all functions share.
const SHARED: [&str; 7] = [
    "functions/Cargo.toml",
    "functions/Cargo.lock",
    "functions/.cargo/config.toml",
    "crates/capsule-abi/Cargo.toml",
    "crates/capsule-abi/src",
    "crates/capsule-mdk/Cargo.toml",
    "crates/capsule-mdk/src",
];

const HEADER: &str = "# Written by `cargo xtask guests`: name, hash of the sources, hash of the module.\n";

/// One function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Of [`hash_sources`].
    pub(super) source: String,
    /// Of the module's bytes.
    pub(super) module: String,
}

/// The file, by name of function.
#[derive(Debug, Default)]
pub(super) struct Manifest(BTreeMap<String, Entry>);

impl Manifest {
    /// Reads the file; one that does not exist is empty.
    pub(super) fn read(root: &Path) -> Result<Manifest> {
        let path = path(root);
        if !path.exists() {
            return Ok(Manifest::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Manifest::parse(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Manifest> {
        let mut manifest = Manifest::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let [name, source, module] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("expected name and two hashes, found `{line}`");
            };
            let (source, module) = (source.to_owned(), module.to_owned());
            manifest.set(Entry { name: name.to_owned(), source, module });
        }
        Ok(manifest)
    }

    /// Writes the file, without functions that no longer exist.
    pub(super) fn write(&self, root: &Path, names: &[String]) -> Result<()> {
        let lines = self.0.values().filter(|entry| names.contains(&entry.name));
        let text: String = lines.map(|entry| format!("{} {} {}\n", entry.name, entry.source, entry.module)).collect();
        let path = path(root);
        fs::write(&path, format!("{HEADER}{text}")).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    pub(super) fn set(&mut self, entry: Entry) {
        self.0.insert(entry.name.clone(), entry);
    }
}

fn path(root: &Path) -> PathBuf {
    root.join("functions/modules.lock")
}

/// The hash of some bytes, 32 hex digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

/// The hash of everything that a function is built from: paths and contents.
pub(super) fn hash_sources(root: &Path, name: &str) -> Result<String> {
    let mut files = Vec::new();
    for shared in SHARED {
        list(&root.join(shared), &mut files)?;
    }
    list(&root.join("functions").join(name).join("rust"), &mut files)?;
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let relative = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        // Lengths keep path and content apart.
        for part in [relative.as_bytes(), &content] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

/// Adds a file, or all files below a folder.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        list(&entry?.path(), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project of one function, with everything that is hashed.
    fn project() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for shared in SHARED {
            let path = root.path().join(shared);
            let file = if shared.ends_with("src") { path.join("lib.rs") } else { path };
            write(&file, "shared");
        }
        write(&root.path().join("functions/f/rust/src/main.rs"), "fn main() {}");
        root
    }

    fn write(file: &Path, text: &str) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder to write to");
        fs::write(file, text).expect("a file to write");
    }

    #[test]
    fn any_change_of_a_source_changes_the_hash() {
        let root = project();
        let root = root.path();
        let mut hashes = vec![hash_sources(root, "f").expect("a hash")];
        assert_eq!(hash_sources(root, "f").expect("a hash"), hashes[0]);
        for (file, text) in [
            ("functions/f/rust/src/main.rs", "fn main() { }"),
            ("functions/f/rust/src/more.rs", ""),
            ("functions/Cargo.lock", "other"),
            ("crates/capsule-mdk/src/lib.rs", "other"),
            ("crates/capsule-abi/src/new.rs", "other"),
        ] {
            write(&root.join(file), text);
            let hash = hash_sources(root, "f").expect("a hash");
            assert!(!hashes.contains(&hash), "{file}");
            hashes.push(hash);
        }
        write(&root.join("functions/g/rust/src/main.rs"), "");
        assert_eq!(hash_sources(root, "f").expect("a hash"), hashes[hashes.len() - 1]);
    }

    #[test]
    fn a_manifest_survives_the_round_trip_and_forgets_what_is_gone() {
        let root = project();
        let entry = |name: &str| Entry { name: name.to_owned(), source: "1".to_owned(), module: "2".to_owned() };
        let mut manifest = Manifest::default();
        manifest.set(entry("f"));
        manifest.set(entry("gone"));
        manifest.write(root.path(), &["f".to_owned()]).expect("a file to write");
        let read = Manifest::read(root.path()).expect("a manifest");
        assert_eq!(read.get("f"), Some(&entry("f")));
        assert_eq!(read.get("gone"), None);
        assert!(Manifest::parse("f 1").is_err());
    }
}
