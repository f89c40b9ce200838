//! Folders that cannot be used: damaged, foreign, newer, not writable. Each is an error that says what to do.

use std::fs;
use std::path::Path;

use capsule_faas::store::{Change, Record, Store, Table};
use capsule_faas::{StoreError, StoreErrorKind};
use tempfile::TempDir;

use crate::support::chain;

/// A folder with a hundred records, and the records.
async fn filled() -> (TempDir, Vec<Record>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for n in 0..100 {
        let value = format!("value {n} ").repeat(50);
        store.commit(vec![Change::put(Table::Functions, format!("key {n}"), value)]).await.unwrap();
    }
    let records = store.read_all(Table::Functions);
    (folder, records)
}

fn refused(folder: &Path, kind: StoreErrorKind, message: &str) {
    let error: StoreError = Store::open(folder).expect_err(message);
    let found = chain(&error).replace(&*folder.to_string_lossy(), "F");
    assert_eq!(error.kind(), kind, "{found}");
    assert!(found.starts_with(message), "{found}");
    let advice = if kind == StoreErrorKind::Corrupt { "backup" } else { "`--dataDir`" };
    assert!(error.hint().unwrap().contains(advice), "{:?}", error.hint());
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (folder, records) = filled().await;
    fs::write(folder.path().join("schema"), "7\n").unwrap();
    let before = fs::read(folder.path().join("store.redb")).unwrap();
    let message = "the data folder `F` has schema 7, this version knows up to 1";
    refused(folder.path(), StoreErrorKind::NewerSchema, message);
    assert!(before == fs::read(folder.path().join("store.redb")).unwrap(), "the file was changed");

    fs::write(folder.path().join("schema"), "1\n").unwrap();
    assert!(Store::open(folder.path()).unwrap().read_all(Table::Functions) == records);
}

#[tokio::test]
async fn what_is_missing_or_foreign_is_named() {
    let (folder, _) = filled().await;
    let folder = folder.path();
    let store = fs::read(folder.join("store.redb")).unwrap();
    let corrupt = |message: &str| refused(folder, StoreErrorKind::Corrupt, message);

    for text in [&b""[..], b"0\n", b"-1\n", b"1.0\n", b"one\n", b"\xff\xfe", b"99999999999999999999999\n"] {
        fs::write(folder.join("schema"), text).unwrap();
        corrupt("the data folder `F` is damaged: `schema` holds no version");
    }
    fs::remove_file(folder.join("schema")).unwrap();
    corrupt("the data folder `F` is damaged: it holds records, but `schema` is missing");
    fs::write(folder.join("schema"), "1\n").unwrap();
    fs::remove_file(folder.join("store.redb")).unwrap();
    corrupt("the data folder `F` is damaged: `store.redb` is missing");
    assert!(!folder.join("store.redb").exists(), "an empty store was made of a missing one");
    for content in [&b""[..], b"text", &[0; 100_000], &[0xff; 100_000]] {
        fs::write(folder.join("store.redb"), content).unwrap();
        corrupt("the data folder `F` is damaged: `store.redb` cannot be read");
    }
    fs::write(folder.join("store.redb"), store).unwrap();
    drop(Store::open(folder).unwrap());
}

/// Whatever happened to the file: all records, or an error. Never other records, never a panic.
#[tokio::test]
async fn a_damaged_file_is_an_error_or_makes_no_difference() {
    let (folder, records) = filled().await;
    let file = folder.path().join("store.redb");
    let sound = fs::read(&file).unwrap();
    let mut found = 0;
    let mut check = |what: String, content: &[u8]| {
        fs::write(&file, content).unwrap();
        match Store::open(folder.path()) {
            Ok(store) => assert!(store.read_all(Table::Functions) == records, "{what}: other records"),
            Err(error) => {
                found += 1;
                assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{what}: {}", chain(&error));
            }
        }
    };
    // What says where the rest is, byte by byte; then each page at a place or two.
    let places = (0..64).chain((64..512).step_by(7)).chain((512..sound.len()).step_by(3067));
    for place in places {
        let mut damaged = sound.clone();
        damaged[place] ^= 0xff;
        check(format!("byte {place}"), &damaged);
    }
    for length in [1, 63, 64, 320, 4095, 4096, sound.len() / 2, sound.len() - 4096, sound.len() - 1] {
        check(format!("cut to {length}"), &sound[..length]);
    }
    assert!(found > 20, "only {found} damages were found");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let above = tempfile::tempdir().unwrap();
    let file = above.path().join("file");
    fs::write(&file, "").unwrap();
    refused(&file, StoreErrorKind::Unusable, "cannot use the data folder `F`: ");
    refused(&file.join("below"), StoreErrorKind::Unusable, "cannot use the data folder `F`: ");
    // Also for root, who may write everywhere else.
    #[cfg(target_os = "linux")]
    refused(Path::new("/proc/no-such-folder"), StoreErrorKind::Unusable, "cannot use the data folder `F`: ");
}

#[test]
fn a_first_start_that_was_cut_off_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    // A crash before anything was written, then one before the version was.
    fs::write(folder.path().join("store.redb"), "").unwrap();
    fs::write(folder.path().join("schema.part"), "").unwrap();
    drop(Store::open(folder.path()).unwrap());
    fs::remove_file(folder.path().join("schema")).unwrap();
    drop(Store::open(folder.path()).unwrap());
    assert_eq!(fs::read_to_string(folder.path().join("schema")).unwrap(), "1\n");
}
