//! What was acknowledged is there, whatever ends the server; what failed is not, and the store goes on.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use capsule_faas::StoreErrorKind;
use capsule_faas::modules::Modules;
use capsule_faas::store::{Change, Store, Table};
use futures_util::stream;

use crate::support::{chain, itself, say};

const VICTIM: &str = "CAPSULE_TEST_VICTIM";
const SMALL_DISK: &str = "CAPSULE_TEST_SMALL_DISK";

/// Commits without end, eight at a time, and prints each key once it is acknowledged.
async fn commit_until_killed(folder: &Path, round: &str) {
    let store = Arc::new(Store::open(folder).unwrap());
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (store, round) = (Arc::clone(&store), round.to_owned());
            tokio::spawn(async move {
                for n in 0_u64.. {
                    let key = format!("{round}.{worker}.{n}");
                    store.commit(vec![Change::put(Table::Functions, &key, key.repeat(20))]).await.unwrap();
                    writeln!(std::io::stdout().lock(), "acknowledged {key}").unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_commits_survive_a_kill() {
    if let Some(round) = std::env::var_os(VICTIM) {
        let folder = std::env::var_os("CAPSULE_TEST_FOLDER").unwrap();
        return commit_until_killed(Path::new(&folder), round.to_str().unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for (round, commits) in [1, 50, 200, 500].into_iter().enumerate() {
        let mut child = itself("durability::acknowledged_commits_survive_a_kill", VICTIM, round.to_string())
            .env("CAPSULE_TEST_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut found = 0;
        for line in output.lines() {
            // Read on after the kill: what is in the pipe was acknowledged too.
            let line = line.unwrap();
            if let Some((_, key)) = line.split_once("acknowledged ") {
                acknowledged.insert(key.to_owned());
                found += 1;
                if found == commits {
                    child.kill().unwrap();
                }
            }
        }
        let status = child.wait().unwrap();
        assert!(found >= commits, "the child ended by itself: {status}");

        let store = Store::open(folder.path()).unwrap();
        let records = store.read_all(Table::Functions);
        for record in &records {
            assert_eq!(record.value, record.key.repeat(20).as_bytes(), "{}", record.key);
        }
        let there: BTreeSet<String> = records.into_iter().map(|record| record.key).collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
    }
}

/// Fills the disk, is refused, makes room, goes on. Runs where `folder` is on a disk of one or two megabytes.
async fn fill_the_disk(folder: &Path) {
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![0; 256 << 10]).unwrap();
    let data = folder.join("data");
    let store = Store::open(&data).unwrap();
    let modules = Modules::open(&store).unwrap();
    let value = vec![b'v'; 16 << 10];
    let mut made = Vec::new();
    let error = loop {
        let key = format!("{:04}", made.len());
        match store.commit(vec![Change::put(Table::Functions, &key, value.clone())]).await {
            Ok(_) => made.push(key),
            Err(error) => break error,
        }
        assert!(made.len() < 1000, "the disk is not small");
    };
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{}", chain(&error));
    assert_eq!(error.to_string(), format!("no room left for the data folder `{}`", data.display()));
    assert!(error.hint().unwrap().contains("make room"));
    let keys =
        |store: &Store| store.read_all(Table::Functions).into_iter().map(|record| record.key).collect::<Vec<_>>();
    assert!(made.len() > 5, "{}", made.len());
    assert_eq!(keys(&store), made);

    // Again and again, of every kind: nothing gets worse.
    for _ in 0..5 {
        let big = store.commit(vec![Change::put(Table::Routes, "big", vec![0; 1 << 20])]).await.unwrap_err();
        assert_eq!(big.kind(), StoreErrorKind::DiskFull, "{}", chain(&big));
    }
    let chunks = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![7_u8; 64 << 10].into()));
    let error = modules.put_stream(chunks, u64::MAX, |_| Ok(())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{}", chain(&error));
    assert_eq!(fs::read_dir(data.join("modules")).unwrap().count(), 0, "half a module is left");

    fs::remove_file(&ballast).unwrap();
    store.commit(vec![Change::put(Table::Functions, "after", value)]).await.unwrap();
    made.push("after".into());
    drop((store, modules));
    let store = Store::open(&data).unwrap();
    assert_eq!(keys(&store), made);
    assert_eq!(store.read_all(Table::Routes), []);
    say("the small disk was filled");
}

/// On a small tmpfs in a mount namespace of its own, which goes with its process.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_fails_commits_and_not_the_store() {
    const TEST: &str = "durability::a_full_disk_fails_commits_and_not_the_store";
    if let Some(folder) = std::env::var_os(SMALL_DISK) {
        return fill_the_disk(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=1m none \"$0\"";
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]).arg(folder.path());
        command
    };
    let possible = within(mount).output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        say(&format!("NOT TESTED: a full disk. Mounting a tmpfs in a namespace is not allowed here: {possible:?}"));
        return;
    }
    let mut command = within(&format!("{mount}; exec \"$@\""));
    let test = itself(TEST, SMALL_DISK, folder.path());
    let output = command.arg(test.get_program()).args(test.get_args()).env(SMALL_DISK, folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the small disk was filled"), "{text}");
}
