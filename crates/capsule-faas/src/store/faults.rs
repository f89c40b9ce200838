//! Tests on a disk that forgets what was not synced, and that fails when it is told to.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use redb::{Builder, StorageBackend};

use super::disk::{Disk, create_tables};
use super::writer::State;
use super::{Change, Store, Table};
use crate::error::StoreErrorKind;

/// Calls left until every write and sync fails; negative: none fails.
const SOUND: i64 = i64::MIN;

#[derive(Debug, Default)]
struct Platter {
    /// What reads see.
    cached: Mutex<Vec<u8>>,
    /// What a power failure leaves.
    durable: Mutex<Vec<u8>>,
    left: AtomicI64,
    syncs: AtomicUsize,
}

#[derive(Debug, Clone)]
struct FaultyDisk(Arc<Platter>);

impl FaultyDisk {
    fn new(content: Vec<u8>) -> FaultyDisk {
        let platter = Platter {
            cached: Mutex::new(content.clone()),
            durable: Mutex::new(content),
            left: AtomicI64::new(SOUND),
            syncs: AtomicUsize::new(0),
        };
        FaultyDisk(Arc::new(platter))
    }

    /// The disk after a power failure.
    fn after_power_failure(&self) -> FaultyDisk {
        FaultyDisk::new(self.0.durable.lock().unwrap().clone())
    }

    fn fail_after(&self, calls: i64) {
        self.0.left.store(calls, Ordering::SeqCst);
    }

    fn step(&self) -> io::Result<()> {
        let left = self.0.left.load(Ordering::SeqCst);
        if left == SOUND {
            return Ok(());
        }
        self.0.left.store((left - 1).max(0), Ordering::SeqCst);
        if left <= 0 { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn open(&self) -> (Disk, State) {
        let disk = self.clone();
        let open = move || Ok(Builder::new().set_check_integrity_on_open(true).create_with_backend(disk.clone())?);
        if self.0.cached.lock().unwrap().is_empty() {
            create_tables(&open().unwrap()).unwrap();
        }
        Disk::open(Path::new("F"), Box::new(open)).unwrap()
    }

    fn store(&self) -> Store {
        let (disk, state) = self.open();
        Store::start(state, Some(disk), None).unwrap()
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.cached.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let cached = self.0.cached.lock().unwrap();
        let bytes = cached.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step()?;
        self.0.cached.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Failing or not, the system may have written all of it.
        let cached = self.0.cached.lock().unwrap().clone();
        self.step()?;
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        *self.0.durable.lock().unwrap() = cached;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step()?;
        self.0.cached.lock().unwrap()[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn put(n: usize) -> Change {
    Change::put(Table::Functions, format!("{n:04}"), vec![b'v'; 700])
}

fn keys(store: &Store) -> Vec<String> {
    store.read_all(Table::Functions).into_iter().map(|record| record.key).collect()
}

#[tokio::test]
async fn what_is_acknowledged_was_synced() {
    let disk = FaultyDisk::new(Vec::new());
    let store = disk.store();
    for n in 0..60 {
        store.commit(vec![put(n)]).await.unwrap();
        let after = disk.after_power_failure().store();
        assert!(after.read_all(Table::Functions) == store.read_all(Table::Functions), "after commit {n}");
    }
}

#[tokio::test]
async fn commits_that_wait_share_a_write() {
    let disk = FaultyDisk::new(Vec::new());
    let store = disk.store();
    // As long as the disk is held, commits wait.
    let held = disk.0.durable.lock().unwrap();
    let commits: Vec<_> = (0..500).map(|n| store.commit(vec![put(n)])).collect();
    let before = disk.0.syncs.load(Ordering::SeqCst);
    drop(held);
    for commit in commits {
        commit.await.unwrap();
    }
    // The first alone, perhaps a few by chance, and the rest.
    let syncs = disk.0.syncs.load(Ordering::SeqCst) - before;
    assert!(syncs < 20, "{syncs} syncs for 500 commits");
    assert_eq!(keys(&disk.after_power_failure().store()).len(), 500);
}

/// The disk fails at the first, second, ... access of a commit, for good or for that commit alone.
#[tokio::test]
async fn a_failed_commit_is_not_there_and_the_next_one_is() {
    let mut failed = 0;
    for calls in 0..200 {
        let disk = FaultyDisk::new(Vec::new());
        let store = disk.store();
        for n in 0..10 {
            store.commit(vec![put(n)]).await.unwrap();
        }
        let before = store.read_all(Table::Functions);
        disk.fail_after(calls);
        let result = store.commit(vec![put(10), Change::delete(Table::Functions, "0003")]).await;
        let Err(error) = result else { break };
        failed += 1;
        assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{calls}: {error}");
        assert!(store.read_all(Table::Functions) == before, "{calls}: a failed commit is visible");
        let error = store.commit(vec![put(11)]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{calls}: {error}");

        disk.fail_after(SOUND);
        store.commit(vec![put(12)]).await.unwrap();
        let expected: Vec<String> = (0..10).chain([12]).map(|n| format!("{n:04}")).collect();
        assert_eq!(keys(&store), expected, "{calls}");
        let records = store.read_all(Table::Functions);
        assert!(disk.after_power_failure().store().read_all(Table::Functions) == records, "{calls}: power failure");
        drop(store);
        assert!(disk.store().read_all(Table::Functions) == records, "{calls}: restart");
    }
    assert!(failed > 3, "the disk failed {failed} times only");
}
