//! `hostCacheSet`, `hostCacheGet`, `hostCacheDel` and `hostCacheKeys`.

use std::sync::Arc;

use capsule_hostfns::Services;
use capsule_hostfns::cache::Cache;

use crate::guest::Guest;

fn guests(cache: &Arc<Cache>) -> [Guest; 4] {
    [("hostCacheSet", 2), ("hostCacheGet", 1), ("hostCacheDel", 1), ("hostCacheKeys", 1)].map(|(name, inputs)| {
        let cache = Some(Arc::clone(cache));
        Guest::with(name, inputs, |_| Services { cache, ..Services::default() })
    })
}

#[tokio::test]
async fn values_are_set_found_listed_and_deleted() {
    let [set, get, del, keys] = guests(&Arc::default());
    assert_eq!(get.framed(&["k"]).await, Err("key not found".into()));
    assert_eq!(set.framed(&["k", "v"]).await, Ok("k".into()));
    assert_eq!(set.framed(&["k", "other"]).await, Ok("k".into()));
    assert_eq!(set.framed(&["k\"2", ""]).await, Ok("k\"2".into()));
    assert_eq!(get.framed(&["k"]).await, Ok("other".into()));
    assert_eq!(get.framed(&["k\"2"]).await, Ok(String::new()));
    assert_eq!(keys.framed(&["*"]).await, Ok(r#"{"keys":["k","k\"2"]}"#.into()));
    assert_eq!(keys.framed(&["k?[0-9]"]).await, Ok(r#"{"keys":["k\"2"]}"#.into()));
    assert_eq!(keys.framed(&[""]).await, Ok(r#"{"keys":[]}"#.into()));
    assert_eq!(del.framed(&["k"]).await, Ok("k".into()));
    assert_eq!(del.framed(&["k"]).await, Ok("k".into()), "also when it is absent");
    assert_eq!(get.framed(&["k"]).await, Err("key not found".into()));
}

#[tokio::test]
async fn keys_and_values_are_bytes() {
    let [set, get, _, _] = guests(&Arc::default());
    let value: Vec<u8> = (0..5_000_000_u32).map(|index| index as u8).collect();
    for key in [&b"\0\xff"[..], b""] {
        assert_eq!(set.bytes(&[key, &value]).await.bytes, [b"S", key].concat());
        let found = get.bytes(&[key]).await.bytes;
        assert!(found[0] == b'S' && found[1..] == value);
    }
}

#[tokio::test]
async fn a_full_cache_names_its_limit() {
    let [set, get, del, _] = guests(&Arc::new(Cache::new(1_000)));
    set.framed(&["a", &"x".repeat(600)]).await.unwrap();
    let error = set.framed(&["b", &"x".repeat(600)]).await.unwrap_err();
    assert!(error.contains("1000 bytes (flag `--maxCache`)"), "{error}");
    assert_eq!(get.framed(&["b"]).await, Err("key not found".into()));
    del.framed(&["a"]).await.unwrap();
    set.framed(&["b", &"x".repeat(600)]).await.unwrap();
}

#[tokio::test]
async fn functions_do_not_share_a_cache_unless_they_are_given_one() {
    let (set, get) = (Guest::new("hostCacheSet", 2), Guest::new("hostCacheGet", 1));
    set.framed(&["k", "v"]).await.unwrap();
    assert_eq!(get.framed(&["k"]).await, Err("key not found".into()));
}
