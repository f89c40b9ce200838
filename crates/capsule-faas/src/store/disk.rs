//! The file of the store: what is in it, and what happens when the disk fails.
//!
//! redb refuses all work after the first I/O error until the file is opened anew, and then the failed write may or may
//! not be there. So a failed write closes the file; it is opened again at once or, when that fails too, at the next
//! commit, and set to what was committed, which the caller holds in memory.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::Table;
use super::writer::{Entry, Staged, State};
use crate::error::{StoreError, StoreErrorKind};
use crate::folder;

/// The layout that this version reads and writes. A folder with a higher number is refused.
const SCHEMA: u64 = 1;
/// The file that holds the number: outside of the database, so that any version can read it.
const SCHEMA_FILE: &str = "schema";
const STORE_FILE: &str = "store.redb";
/// Bytes that redb may cache: all values are in memory anyway.
const CACHE: usize = 4 << 20;

/// Numbers about the store itself.
const HEAD: TableDefinition<'_, &str, u64> = TableDefinition::new("head");
/// In [`HEAD`]: the revision of the last commit.
const REVISION: &str = "revision";

/// Revision and value by key.
type Values = TableDefinition<'static, &'static str, (u64, &'static [u8])>;

fn values(table: Table) -> Values {
    TableDefinition::new(table.name())
}

/// How the database is opened: the first time, and again after a failure.
pub(super) type Open = Box<dyn Fn() -> Result<Database, redb::Error> + Send>;

/// The open file.
pub(super) struct Disk {
    /// For messages.
    folder: PathBuf,
    open: Open,
    /// `None` after a failure.
    database: Option<Database>,
}

impl Disk {
    /// Opens or creates the store in a folder that this process has locked, and answers what is in it.
    pub(super) fn in_folder(folder: &Path) -> Result<(Disk, State), StoreError> {
        let path = folder.join(STORE_FILE);
        let known = read_schema(folder)?;
        if known {
            private(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => StoreError::corrupt(folder, format_args!("`{STORE_FILE}` is missing")),
                _ => StoreError::unusable(folder, error),
            })?;
        } else {
            let created = folder::private_file().create(true).truncate(false).open(&path);
            created.map_err(|error| StoreError::unusable(folder, error))?;
            guarded(folder, StoreErrorKind::Unusable, || {
                let database = builder().create(&path)?;
                create_tables(&database)?;
                Ok(database.close()?)
            })?;
        }
        let (disk, state) = Disk::open(folder, Box::new(move || Ok(builder().open(&path)?)))?;
        if !known {
            if state != State::default() {
                let what = format_args!("it holds records, but `{SCHEMA_FILE}` is missing");
                return Err(StoreError::corrupt(folder, what));
            }
            let written = folder::write(folder, SCHEMA_FILE, format!("{SCHEMA}\n").as_bytes());
            written.map_err(|error| StoreError::unusable(folder, error))?;
        }
        Ok((disk, state))
    }

    /// Opens a database that has its tables.
    pub(super) fn open(folder: &Path, open: Open) -> Result<(Disk, State), StoreError> {
        let (database, state) = guarded(folder, StoreErrorKind::Unusable, || {
            let database = open()?;
            let state = load(&database)?;
            Ok((database, state))
        })?;
        Ok((Disk { folder: folder.to_owned(), open, database: Some(database) }, state))
    }

    /// Writes the changes; they are on disk when this returns. After an error the file holds `committed`, or is set to it
    /// before anything else is written.
    pub(super) fn write(&mut self, staged: &Staged, revision: u64, committed: &State) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.recover(committed)?,
        };
        match guarded(&self.folder, StoreErrorKind::Write, || put(&database, staged, revision)) {
            Ok(()) => {
                self.database = Some(database);
                Ok(())
            }
            Err(error) => {
                // What closing has to say is what the write said already.
                let _ = guarded(&self.folder, StoreErrorKind::Write, || Ok(database.close()?));
                self.database = self.recover(committed).ok();
                Err(error)
            }
        }
    }

    /// Opens the file again and undoes what a failed write may have left there.
    fn recover(&self, committed: &State) -> Result<Database, StoreError> {
        guarded(&self.folder, StoreErrorKind::Write, || {
            let database = (self.open)()?;
            let found = load(&database)?;
            if found != *committed {
                put(&database, &difference(&found, committed), committed.revision)?;
            }
            Ok(database)
        })
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // Without the check a damaged file is found only when the damaged page is read.
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

/// Whether the folder has a store of this layout; `false` when it has none yet.
fn read_schema(folder: &Path) -> Result<bool, StoreError> {
    let text = match fs::read_to_string(folder.join(SCHEMA_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(error) => return Err(StoreError::unusable(folder, error)),
    };
    match text.trim_end().parse::<u64>() {
        Ok(SCHEMA) => Ok(true),
        Ok(newer) if newer > SCHEMA => {
            let folder = folder.display();
            let message = format!("the data folder `{folder}` has schema {newer}, this version knows up to {SCHEMA}");
            let hint = "use the newer Capsule that wrote it, or another folder with `--dataDir`";
            Err(StoreError::new(StoreErrorKind::NewerSchema, message).with_hint(hint))
        }
        _ => Err(StoreError::corrupt(folder, format_args!("`{SCHEMA_FILE}` holds no version"))),
    }
}

/// Hides a file from others, as far as this process may: a restored backup may be readable by all.
fn private(path: &Path) -> io::Result<()> {
    fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // It fails when the file is somebody else's: then its mode is that owner's decision.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    }
    Ok(())
}

/// In a new file. What an earlier start left there, which a crash ended, is kept.
pub(super) fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    writing.open_table(HEAD)?;
    for table in Table::ALL {
        writing.open_table(values(table))?;
    }
    Ok(writing.commit()?)
}

fn load(database: &Database) -> Result<State, redb::Error> {
    let reading = database.begin_read()?;
    let mut state = State::default();
    if let Some(revision) = reading.open_table(HEAD)?.get(REVISION)? {
        state.revision = revision.value();
    }
    for table in Table::ALL {
        for row in reading.open_table(values(table))?.iter()? {
            let (key, value) = row?;
            let (revision, value) = value.value();
            let entry = Entry { revision, value: value.to_vec() };
            state.entries.insert((table, key.value().to_owned()), entry);
        }
    }
    Ok(state)
}

/// One transaction, durable when this returns: redb's default.
fn put(database: &Database, staged: &Staged, revision: u64) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    writing.open_table(HEAD)?.insert(REVISION, revision)?;
    for table in Table::ALL {
        let mut values = writing.open_table(values(table))?;
        for ((_, key), entry) in staged.iter().filter(|((of, _), _)| *of == table) {
            match entry {
                Some(Entry { revision, value }) => values.insert(key.as_str(), (*revision, value.as_slice()))?,
                None => values.remove(key.as_str())?,
            };
        }
    }
    Ok(writing.commit()?)
}

/// The changes that turn `found` into `wanted`.
fn difference(found: &State, wanted: &State) -> Staged {
    let mut staged = Staged::new();
    for key in found.entries.keys().filter(|key| !wanted.entries.contains_key(*key)) {
        staged.insert(key.clone(), None);
    }
    for (key, entry) in wanted.entries.iter().filter(|(key, entry)| found.entries.get(*key) != Some(*entry)) {
        staged.insert(key.clone(), Some(entry.clone()));
    }
    staged
}

/// Runs work on the database; its errors, and a panic over bytes that it did not expect, become errors of the store.
fn guarded<T>(
    folder: &Path,
    kind: StoreErrorKind,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| fault(folder, kind, error)),
        Err(_) => Err(StoreError::corrupt(folder, format_args!("`{STORE_FILE}` cannot be read"))),
    }
}

fn fault(folder: &Path, kind: StoreErrorKind, error: redb::Error) -> StoreError {
    use redb::Error as E;
    let broken = || StoreError::corrupt(folder, format_args!("`{STORE_FILE}` cannot be read"));
    match error {
        E::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            broken().with_source(error)
        }
        E::Io(error) if kind == StoreErrorKind::Unusable => StoreError::unusable(folder, error),
        E::Io(error) => {
            let message = format!("cannot write to the data folder `{}`", folder.display());
            StoreError::io(kind, message, folder, error)
        }
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => StoreError::in_use(folder),
        E::Corrupted(_)
        | E::UpgradeRequired(_)
        | E::RepairAborted
        | E::TableTypeMismatch { .. }
        | E::TableIsMultimap(_)
        | E::TypeDefinitionChanged { .. }
        | E::TableDoesNotExist(_) => broken().with_source(error),
        error => {
            let message = format!("the store in the data folder `{}` failed", folder.display());
            StoreError::new(kind, message).with_source(error)
        }
    }
}
