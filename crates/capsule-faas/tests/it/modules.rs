//! Modules come in whole or not at all, under the name of their content.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use capsule_faas::modules::{Digest, Modules, Stored};
use capsule_faas::store::Store;
use capsule_faas::{StoreError, StoreErrorKind};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tempfile::TempDir;

use crate::support::{DEADLINE, both, chain};

/// What `printf 'some module' | sha256sum` prints.
const SOME: &str = "sha256:1c172a6b107b9304635866e4a8ba0f7b1576b58b87946254148c9eaa07fe44ca";

/// Modules on disk and in memory.
fn places() -> Vec<(&'static str, Modules, Option<TempDir>)> {
    let open = |(place, store, folder)| (place, Modules::open(&store).unwrap(), folder);
    both().into_iter().map(open).collect()
}

/// Everything in the folder of modules, complete or not.
fn files(folder: &Option<TempDir>) -> Vec<String> {
    let Some(folder) = folder else { return Vec::new() };
    let entries = fs::read_dir(folder.path().join("modules")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn chunks(bytes: &[u8], size: usize) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::iter(bytes.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>())
}

async fn put(modules: &Modules, bytes: &[u8]) -> Digest {
    modules.put_stream(chunks(bytes, 3), 1 << 20, |_| Ok(())).await.unwrap()
}

fn content(modules: &Modules, digest: &Digest) -> Option<Vec<u8>> {
    modules.get(digest).map(|stored| match stored {
        Stored::File(path) => fs::read(path).unwrap(),
        Stored::Bytes(bytes) => bytes.to_vec(),
    })
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_under_their_hash() {
    for (place, modules, folder) in places() {
        let digest = put(&modules, b"some module").await;
        assert_eq!(digest.to_string(), SOME, "{place}");
        assert_eq!(content(&modules, &digest).unwrap(), b"some module", "{place}");
        // From a file: the same module.
        let source = tempfile::NamedTempFile::new().unwrap();
        fs::write(&source, "some module").unwrap();
        assert_eq!(modules.put_file(source.path(), 11, |_| Ok(())).await.unwrap(), digest, "{place}");
        // The file may change afterwards.
        fs::write(&source, "another module").unwrap();
        assert_eq!(content(&modules, &digest).unwrap(), b"some module", "{place}");
        let Some(Stored::File(path)) = modules.get(&digest) else { continue };
        assert_eq!(files(&folder), [SOME.replace(':', "-") + ".wasm"]);
        // What the disk damaged is mended by bringing it again.
        fs::write(path, "some").unwrap();
        put(&modules, b"some module").await;
        assert_eq!(content(&modules, &digest).unwrap(), b"some module");
    }
}

#[tokio::test]
async fn modules_outlive_the_server_and_half_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let digest = put(&Modules::open(&store).unwrap(), b"some module").await;
    fs::write(folder.path().join("modules/upload-0.part"), "some mod").unwrap();
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    let modules = Modules::open(&store).unwrap();
    assert_eq!(content(&modules, &digest).unwrap(), b"some module");
    assert_eq!(files(&Some(folder)), [SOME.replace(':', "-") + ".wasm"]);
}

#[tokio::test]
async fn what_nobody_stored_is_not_there() {
    for (place, modules, _folder) in places() {
        assert_eq!(modules.get(&SOME.parse().unwrap()), None, "{place}");
    }
}

#[tokio::test]
async fn the_limit_is_exact() {
    for (place, modules, folder) in places() {
        for size in [1, 7, 100, 1000] {
            let bytes = vec![b'x'; 100];
            let error = modules.put_stream(chunks(&bytes, size), 99, |_| Ok(())).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{place}, {size}");
            assert_eq!(
                error.to_string(),
                "the module is larger than the limit of 99 bytes (flag `--maxModule`)",
                "{place}, {size}"
            );
            assert_eq!(files(&folder), [""; 0], "{place}, {size}");
        }
        assert!(modules.put_stream(chunks(&[b'x'; 100], 7), 100, |_| Ok(())).await.is_ok(), "{place}");
        assert!(
            modules.put_stream(chunks(b"", 1), 0, |_| Ok(())).await.is_ok(),
            "{place}: nothing is within any limit"
        );
        // A stream without end is not read to its end.
        let endless = stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[0; 1000])));
        let error = modules.put_stream(endless, 1 << 20, |_| Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{place}");
    }
}

#[tokio::test]
async fn a_check_sees_the_whole_module_before_it_has_a_name() {
    for (place, modules, folder) in places() {
        let seen = Arc::new(AtomicUsize::new(0));
        let (within, looking) = (Arc::clone(&seen), modules.clone());
        let check = move |bytes: &[u8]| {
            assert_eq!(bytes, b"some module");
            assert_eq!(looking.get(&SOME.parse().unwrap()), None);
            within.fetch_add(1, Ordering::Relaxed);
            Err("it is no module".to_owned())
        };
        let error = modules.put_stream(chunks(b"some module", 2), 100, check).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (StoreErrorKind::Refused, "it is no module"), "{place}");
        assert_eq!(seen.load(Ordering::Relaxed), 1, "{place}");
        assert_eq!(modules.get(&SOME.parse().unwrap()), None, "{place}");
        assert_eq!(files(&folder), [""; 0], "{place}");

        // One that fails itself is an error of the server, and leaves nothing either.
        let error = modules.put_stream(chunks(b"x", 1), 100, |_| panic!("as tested")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Runner, "{place}");
        assert_eq!(files(&folder), [""; 0], "{place}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    for (place, modules, folder) in places() {
        let begun = || chunks(b"some module", 4);
        let broken = begun().chain(stream::iter([Err(io::Error::other("connection reset"))]));
        let error = modules.put_stream(broken, 100, |_| Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::BrokenOff, "{place}");
        let text = "the upload ended before the module was complete: connection reset";
        assert_eq!(chain(&error), text, "{place}");
        assert_eq!(files(&folder), [""; 0], "{place}");

        // The client is gone, so the handler's future is dropped.
        let mut waiting = Box::pin(modules.put_stream(begun().chain(stream::pending()), 100, |_| Ok(())));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        let until = Instant::now() + DEADLINE;
        while !files(&folder).is_empty() {
            assert!(Instant::now() < until, "{place}: {:?}", files(&folder));
            std::thread::yield_now();
        }
        assert_eq!(modules.get(&SOME.parse().unwrap()), None, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_at_once_do_not_meet() {
    for (place, modules, folder) in places() {
        let uploads: Vec<_> = (0..64)
            .map(|n| {
                let modules = modules.clone();
                tokio::spawn(async move { put(&modules, format!("module {}", n % 8).as_bytes()).await })
            })
            .collect();
        for (n, upload) in uploads.into_iter().enumerate() {
            let digest = upload.await.unwrap();
            assert_eq!(content(&modules, &digest).unwrap(), format!("module {}", n % 8).as_bytes(), "{place}");
        }
        assert!(folder.is_none() || files(&folder).len() == 8, "{place}: {:?}", files(&folder));
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    for (place, modules, folder) in places() {
        let unreadable = |error: StoreError, path: &str| {
            assert_eq!(error.kind(), StoreErrorKind::Unreadable, "{place}");
            assert!(chain(&error).starts_with(&format!("cannot read the module `{path}`: ")), "{}", chain(&error));
        };
        let paths = ["/nowhere/x.wasm", "/", "/dev/zero"];
        for path in paths {
            let path = PathBuf::from(path);
            let error = modules.put_file(&path, 100, |_| Ok(())).await.unwrap_err();
            unreadable(error, &path.to_string_lossy());
        }
        let source = tempfile::NamedTempFile::new().unwrap();
        fs::write(&source, [0; 101]).unwrap();
        let error = modules.put_file(source.path(), 100, |_| Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{place}");
        assert_eq!(files(&folder), [""; 0], "{place}");
    }
}

#[tokio::test]
async fn pruning_removes_what_is_old_and_unnamed() {
    const HOUR: Duration = Duration::from_secs(3600);
    for (place, modules, folder) in places() {
        let (kept, gone) = (put(&modules, b"kept").await, put(&modules, b"gone").await);
        let referenced = HashSet::from([kept]);
        assert_eq!(modules.prune(&referenced, HOUR).unwrap(), [], "{place}: it is young");
        if let Some(folder) = &folder {
            let set = |digest: &Digest, time| {
                let Some(Stored::File(path)) = modules.get(digest) else { panic!("{digest} is not there") };
                fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
            };
            set(&gone, SystemTime::now() + HOUR);
            assert_eq!(modules.prune(&referenced, Duration::ZERO).unwrap(), [], "a clock that was set back is no age");
            set(&gone, SystemTime::now() - HOUR * 2);
            set(&kept, SystemTime::now() - HOUR * 2);
            for name in ["notes.txt", "sha256-1234.wasm"] {
                fs::write(folder.path().join("modules").join(name), "not ours").unwrap();
            }
            // Brought again, it is young again.
            put(&modules, b"gone").await;
            assert_eq!(modules.prune(&referenced, HOUR).unwrap(), []);
        }
        assert_eq!(modules.prune(&referenced, Duration::ZERO).unwrap(), [gone], "{place}");
        assert_eq!(modules.get(&gone), None, "{place}");
        assert_eq!(content(&modules, &kept).unwrap(), b"kept", "{place}");
        assert_eq!(modules.prune(&referenced, Duration::ZERO).unwrap(), [], "{place}");
        if folder.is_some() {
            assert_eq!(files(&folder).len(), 3, "{:?}", files(&folder));
        }
    }
}
