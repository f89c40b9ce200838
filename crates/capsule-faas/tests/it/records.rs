//! Commits and what is read back, on disk and in memory alike.

use capsule_faas::store::{ABSENT, Change, Record, Store, Table};
use capsule_faas::{StoreError, StoreErrorKind};

use crate::support::both;

type Row = (&'static str, Vec<Change>, Result<(), &'static str>, Vec<(&'static str, &'static str)>);

fn put(key: &str, value: &str) -> Change {
    Change::put(Table::Functions, key, value)
}

fn delete(key: &str) -> Change {
    Change::delete(Table::Functions, key)
}

fn shown(records: &[Record]) -> Vec<(&str, &str)> {
    records.iter().map(|record| (record.key.as_str(), std::str::from_utf8(&record.value).unwrap())).collect()
}

/// Each row is one commit on what the rows before left: its changes, its result, and what the table holds then.
fn rows() -> Vec<Row> {
    let changed = Err("`a` in `functions` was changed: expected revision 1, found revision 4");
    vec![
        ("two values", vec![put("b", "1"), put("a", "1")], Ok(()), vec![("a", "1"), ("b", "1")]),
        ("an empty list", vec![], Ok(()), vec![("a", "1"), ("b", "1")]),
        ("a delete", vec![delete("b")], Ok(()), vec![("a", "1")]),
        ("a delete of nothing", vec![delete("b")], Ok(()), vec![("a", "1")]),
        ("the right revision", vec![put("a", "2").expecting(1)], Ok(()), vec![("a", "2")]),
        ("an old revision", vec![put("a", "3").expecting(1)], changed, vec![("a", "2")]),
        ("all or none", vec![put("c", "1"), delete("a").expecting(1)], changed, vec![("a", "2")]),
        (
            "a new value that is there",
            vec![put("a", "3").expecting(ABSENT)],
            Err("`a` in `functions` was changed: expected no value, found revision 4"),
            vec![("a", "2")],
        ),
        ("a new value", vec![put("c", "1").expecting(ABSENT)], Ok(()), vec![("a", "2"), ("c", "1")]),
        (
            "a value that is gone",
            vec![put("b", "1").expecting(1)],
            Err("`b` in `functions` was changed: expected revision 1, found no value"),
            vec![("a", "2"), ("c", "1")],
        ),
        (
            "one key twice, in order",
            vec![put("a", "4"), delete("a"), put("a", "5").expecting(ABSENT)],
            Ok(()),
            vec![("a", "5"), ("c", "1")],
        ),
        ("the right delete", vec![delete("c").expecting(5)], Ok(()), vec![("a", "5")]),
        ("strange keys", vec![delete("a"), put("", "e"), put("\0ü/..", "")], Ok(()), vec![("", "e"), ("\0ü/..", "")]),
    ]
}

#[tokio::test]
async fn commits_are_made_whole_or_not_at_all() {
    for (place, store, _folder) in both() {
        for (name, changes, expected, after) in rows() {
            let result = store.commit(changes).await;
            if let Err(error) = &result {
                assert_eq!(error.kind(), StoreErrorKind::Conflict, "{place}: {name}");
            }
            let result = result.map(drop).map_err(|error| error.to_string());
            assert_eq!(result, expected.map_err(str::to_owned), "{place}: {name}");
            assert_eq!(shown(&store.read_all(Table::Functions)), after, "{place}: {name}");
        }
        assert_eq!(store.read_all(Table::Routes), [], "{place}");
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let everything = (0..=255).collect::<Vec<u8>>();
    let first = store
        .commit(vec![
            Change::put(Table::Functions, "x", everything.clone()),
            Change::put(Table::Routes, "x", "route"),
            Change::put(Table::Meta, "x", "meta"),
        ])
        .await
        .unwrap();
    let last = store.commit(vec![Change::delete(Table::Meta, "x")]).await.unwrap();
    assert!(last > first);
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    let record = |value: &[u8]| Record { key: "x".into(), revision: first, value: value.to_vec() };
    assert_eq!(store.read_all(Table::Functions), [record(&everything)]);
    assert_eq!(store.read_all(Table::Routes), [record(b"route")]);
    assert_eq!(store.read_all(Table::Meta), []);
    // Also when the value with the last revision is gone: a revision never comes twice.
    assert!(store.commit(vec![put("y", "1")]).await.unwrap() > last);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_at_once_are_all_made() {
    for (place, store, folder) in both() {
        let commits: Vec<_> = (0..500).map(|n| tokio::spawn(store.commit(vec![put(&n.to_string(), "v")]))).collect();
        let mut revisions = Vec::new();
        for commit in commits {
            revisions.push(commit.await.unwrap().unwrap());
        }
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=500).collect::<Vec<u64>>(), "{place}");
        assert_eq!(store.read_all(Table::Functions).len(), 500, "{place}");
        drop(store);
        if let Some(folder) = folder {
            assert_eq!(Store::open(folder.path()).unwrap().read_all(Table::Functions).len(), 500);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_hundred_that_expect_the_same_one_is_made() {
    for (place, store, _folder) in both() {
        let commits: Vec<_> =
            (0..500).map(|n| tokio::spawn(store.commit(vec![put("key", &n.to_string()).expecting(ABSENT)]))).collect();
        let mut made = Vec::new();
        for (n, commit) in commits.into_iter().enumerate() {
            match commit.await.unwrap() {
                Ok(_) => made.push(n.to_string()),
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Conflict, "{place}: {error}"),
            }
        }
        let records = store.read_all(Table::Functions);
        assert_eq!(vec![("key", made[0].as_str())], shown(&records), "{place}");
        assert_eq!(made.len(), 1, "{place}");
    }
}

#[tokio::test]
async fn a_commit_is_made_although_nobody_waits() {
    for (place, store, _folder) in both() {
        drop(store.commit(vec![put("a", "1")]));
        store.commit(vec![]).await.unwrap();
        assert_eq!(shown(&store.read_all(Table::Functions)), [("a", "1")], "{place}");
    }
}

#[test]
fn a_second_server_is_told_who_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();
    let modules = capsule_faas::modules::Modules::open(&first).unwrap();
    let refused = |result: Result<Store, StoreError>| {
        let error = result.expect_err("two stores on one folder");
        assert_eq!(error.kind(), StoreErrorKind::InUse);
        let path = folder.path().display();
        assert_eq!(error.to_string(), format!("the data folder `{path}` is in use by another server"));
        assert!(error.hint().unwrap().contains("`--dataDir`"), "{:?}", error.hint());
    };
    refused(Store::open(folder.path()));
    // Whoever tidies up the folder does not let a second one in.
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    refused(Store::open(folder.path()));
    drop(first);
    drop(modules);
    let first = Store::open(folder.path()).unwrap();
    let modules = capsule_faas::modules::Modules::open(&first).unwrap();
    drop(first);
    // The modules are in the folder too.
    refused(Store::open(folder.path()));
    drop(modules);
    Store::open(folder.path()).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read() {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("a/b");
    let store = Store::open(&folder).unwrap();
    let modules = capsule_faas::modules::Modules::open(&store).unwrap();
    store.commit(vec![put("a", "secret")]).await.unwrap();
    let digest = modules.put_file(&std::env::current_exe().unwrap(), u64::MAX, |_| Ok(())).await.unwrap();
    let file = format!("modules/{}.wasm", digest.to_string().replace(':', "-"));
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    for (name, expected) in [
        ("..", 0o700),
        (".", 0o700),
        ("modules", 0o700),
        ("store.redb", 0o600),
        ("schema", 0o600),
        ("lock", 0o600),
        (file.as_str(), 0o600),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }
    drop((store, modules));

    // As a copy made without care is.
    fs::set_permissions(folder.join("store.redb"), Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&folder).unwrap());
    assert_eq!(mode("store.redb"), 0o600);
}

#[test]
fn values_are_not_shown() {
    let change = put("name", "s3cret").expecting(3);
    assert_eq!(format!("{change:?}"), r#"Put(functions/"name", 6 bytes, expected Some(3))"#);
    let record = Record { key: "name".into(), revision: 3, value: b"s3cret".to_vec() };
    assert_eq!(format!("{record:?}"), r#"Record("name" at 3, 6 bytes)"#);
}
