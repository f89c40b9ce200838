//! The compile cache: machine code of modules on disk, by content.
//!
//! A file is named after the module's hash and the engine's fingerprint (version, processor features, settings), and holds
//! the engine's image (machine code and what belongs to it) followed by a trailer: a magic word and the BLAKE3 hash of the image and
//! of the file's name, so that a file of another module does not pass for this one's. Files are written beside and
//! renamed in, never rewritten. One is used only when the descriptor that is then mapped is a regular file, belongs to the runner's
//! own user, can be written by nobody else, and matches its trailer; anything else is removed and compiled anew. What a runner
//! that was killed left half written is removed by one that compiles an hour later. The folder has mode 0700: native code is
//! loaded from it. One that others may enter is taken over only when it is empty. Who can write there as the runner's own user needs
//! no key to forge a trailer: it guards against damage, the folder against others.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use crate::compiler::Image;
use crate::error::{LoadError, LoadErrorKind};

const MAGIC: &[u8; 8] = b"capsule2";
/// How the magic words of all versions of the format begin.
const VERSIONS: &[u8] = b"capsule";
/// Why a file of another version is not used; nothing to worry about.
const OTHER_VERSION: &str = "another version of the runner wrote it";
const TRAILER: usize = MAGIC.len() + blake3::OUT_LEN;
/// How the names of files begin and end that are being written.
const HALF_WRITTEN: (&str, &str) = (".capsule-", ".tmp");
/// The age at which such a file is nobody's any more: writing one takes milliseconds.
const ABANDONED: Duration = Duration::from_secs(3600);

/// What a module was compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotSize {
    /// A slot of the pool, or an engine without a pool.
    Pool,
    /// It is larger than a slot of the pool.
    Large,
}

/// A folder of compiled code.
pub(crate) struct CompileCache {
    folder: PathBuf,
    fingerprint: u64,
    /// What others left behind is looked for once, by those who add to it: in a large folder that takes longer than to start.
    swept: Once,
}

impl CompileCache {
    /// Opens or makes the folder.
    pub(crate) fn open(folder: &Path, engine: &wasmtime::Engine) -> Result<CompileCache, LoadError> {
        let fail = |what: &str, error: &dyn std::fmt::Display| {
            LoadError::new(LoadErrorKind::Runner, format!("compile cache `{}` {what}: {error}", folder.display()))
                .with_hint("choose another folder with `--cacheDir=DIR`, or `--cacheDir=none` to compile at each start")
        };
        fs::create_dir_all(folder).map_err(|e| fail("cannot be made", &e))?;
        let meta = fs::metadata(folder).map_err(|e| fail("cannot be read", &e))?;
        make_private(folder, &meta).map_err(|e| fail("is not safe to load code from", &e))?;
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        Ok(CompileCache { folder: folder.to_owned(), fingerprint: hasher.finish(), swept: Once::new() })
    }

    /// The name of a file.
    fn name(&self, module: &blake3::Hash, slot: SlotSize) -> String {
        let kind = if slot == SlotSize::Pool { "" } else { "-large" };
        format!("{}-{:016x}{kind}.cwasm", module.to_hex(), self.fingerprint)
    }

    /// The compiled module, or `None` when it is not there or not to be trusted.
    pub(crate) fn load(
        &self,
        engine: &wasmtime::Engine,
        module: &blake3::Hash,
        slot: SlotSize,
    ) -> Option<wasmtime::Module> {
        let name = self.name(module, slot);
        let path = self.folder.join(&name);
        let mapped = match open(&path) {
            Ok(file) => map(engine, file, &name),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        match mapped {
            Ok(module) => Some(module),
            Err(reason) => {
                if reason == OTHER_VERSION {
                    tracing::debug!("compile cache: `{}`: {reason}", path.display());
                } else {
                    tracing::warn!("compile cache: `{}` is discarded: {reason}", path.display());
                }
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Stores a compiled module; whether that was possible. A cache that cannot be written costs time, nothing else: the failure
    /// is logged.
    pub(crate) fn store(&self, module: &blake3::Hash, slot: SlotSize, image: &[u8]) -> bool {
        let written = self.write(&self.name(module, slot), image);
        if let Err(error) = &written {
            tracing::warn!("compile cache: a module cannot be stored in `{}`: {error}", self.folder.display());
        }
        written.is_ok()
    }

    /// Under a name that nobody else has, whichever processes, containers and machines share the folder; mode 0600.
    fn write(&self, name: &str, image: &[u8]) -> std::io::Result<()> {
        self.swept.call_once(|| sweep(&self.folder));
        let mut file =
            tempfile::Builder::new().prefix(HALF_WRITTEN.0).suffix(HALF_WRITTEN.1).tempfile_in(&self.folder)?;
        file.write_all(image)?;
        file.write_all(MAGIC)?;
        file.write_all(checksum(image, name).as_bytes())?;
        file.persist(self.folder.join(name))?;
        Ok(())
    }
}

/// What ties an image to its name.
fn checksum(image: &[u8], name: &str) -> blake3::Hash {
    blake3::Hasher::new().update(image).update(name.as_bytes()).finalize()
}

/// Removes files that were being written when their runner ended. What cannot be removed stays.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if !name.starts_with(HALF_WRITTEN.0.as_bytes()) || !name.ends_with(HALF_WRITTEN.1.as_bytes()) {
            continue;
        }
        let modified = entry.metadata().and_then(|meta| meta.modified());
        if modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > ABANDONED)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Opens a cache file without waiting for anybody: a pipe or a device in its place would.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Verifies one descriptor and maps the code from the same one.
fn map(engine: &wasmtime::Engine, mut file: File, name: &str) -> Result<wasmtime::Module, String> {
    check_owner(&file).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let Some(length) = bytes.len().checked_sub(TRAILER) else { return Err("it is truncated".into()) };
    let (image, trailer) = bytes.split_at(length);
    let (magic, hash) = trailer.split_at(MAGIC.len());
    if magic != MAGIC && magic.starts_with(VERSIONS) {
        return Err(OTHER_VERSION.into());
    }
    if magic != MAGIC || hash != checksum(image, name).as_bytes() {
        return Err("its checksum does not match".into());
    }
    load(engine, Code::Verified(file)).map_err(|error| format!("{error:#}"))
}

/// What a compiler made for this process to load.
pub(crate) enum Code<'a> {
    /// The answer of a child process that compiled.
    Answered(&'a Image),
    /// A file of the cache that was verified.
    Verified(File),
}

/// Loads machine code. The engine looks whether it was made for it: by the same version, with the same settings.
#[expect(unsafe_code, reason = "machine code that the runner made itself is loaded here and nowhere else")]
pub(crate) fn load(engine: &wasmtime::Engine, code: Code<'_>) -> wasmtime::Result<wasmtime::Module> {
    // SAFETY: the code is what an engine of this very program has made. A verified file was written by `CompileCache::write`: it
    // belongs to this user, nobody else may write it, it lies in a folder that only this user may enter, and its checksum
    // matches; the runner never rewrites a cache file in place, so the mapping stays what was verified. An answer came over
    // a pipe that a child process was started with, which is this program too, and which nobody else has.
    unsafe {
        match code {
            Code::Answered(image) => wasmtime::Module::deserialize(engine, image.bytes()),
            Code::Verified(file) => wasmtime::Module::deserialize_open_file(engine, file),
        }
    }
}

#[cfg(unix)]
fn make_private(folder: &Path, meta: &fs::Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user {
        return Err(std::io::Error::other(format!("it belongs to user {}, this is user {user}", meta.uid())));
    }
    if meta.permissions().mode() & 0o1077 != 0 {
        // One that others use too is not taken away from them.
        if fs::read_dir(folder)?.next().is_some() {
            let mode = meta.permissions().mode() & 0o7777;
            let text = format!(
                "others may enter it (mode {mode:o}), and it is not empty; `chmod 700` it if it is this runner's"
            );
            return Err(std::io::Error::other(text));
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(unix)]
fn check_owner(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let meta = file.metadata()?;
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.permissions().mode() & 0o022 != 0 {
        return Err(std::io::Error::other("somebody else may write it"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(_folder: &Path, _meta: &fs::Metadata) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_file: &File) -> std::io::Result<()> {
    Ok(())
}
