//! `hostRedisSet`, `hostRedisGet`, `hostRedisDel` and `hostRedisKeys`, with a real server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use capsule_hdk::Reach;
use capsule_hostfns::Services;
use capsule_hostfns::cache::Cache;
use capsule_hostfns::redis::{Redis, RedisSettings};
use capsule_test::redis::Redis as RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::guest::Guest;

const FUNCTIONS: [(&str, usize); 4] =
    [("hostRedisSet", 2), ("hostRedisGet", 1), ("hostRedisDel", 1), ("hostRedisKeys", 1)];

/// Guests whose environment names the server.
fn guests(variables: &[(&str, String)], prefix: &str) -> [Guest; 4] {
    FUNCTIONS.map(|(name, inputs)| {
        Guest::with(name, inputs, |config| {
            config.capabilities.environment =
                variables.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
            config.capabilities.network.reach = Reach::Operator;
            Services { redis_prefix: prefix.into(), ..Services::default() }
        })
    })
}

fn address(server: &RedisServer) -> [(&'static str, String); 1] {
    [("REDIS_ADDR", format!("127.0.0.1:{}", server.port()))]
}

#[tokio::test]
async fn values_are_set_found_listed_and_deleted() {
    let server = RedisServer::start().unwrap();
    let [set, get, del, keys] = guests(&address(&server), "");
    assert_eq!(get.framed(&["k"]).await, Err("redis: nil".into()));
    assert_eq!(set.framed(&["k", "v"]).await, Ok("k".into()));
    assert_eq!(get.framed(&["k"]).await, Ok("v".into()));
    assert_eq!(set.framed(&["empty", ""]).await, Ok("empty".into()));
    assert_eq!(get.framed(&["empty"]).await, Ok(String::new()));
    assert_eq!(keys.framed(&["e*"]).await, Ok(r#"{"keys":["empty"]}"#.into()));
    assert_eq!(keys.framed(&["none*"]).await, Ok(r#"{"keys":[]}"#.into()));
    assert_eq!(del.framed(&["k"]).await, Ok("k".into()));
    assert_eq!(del.framed(&["k"]).await, Ok("k".into()), "also when it is absent");
    assert_eq!(get.framed(&["k"]).await, Err("redis: nil".into()));
}

#[tokio::test]
async fn values_are_bytes_of_any_size() {
    let server = RedisServer::start().unwrap();
    let [set, get, _, _] = guests(&address(&server), "");
    let large: Vec<u8> = (0..5_000_000_u32).map(|index| index as u8).collect();
    for (key, value) in [(&b"zero"[..], &b"a\0b\xff"[..]), (b"\0\xff", b"x"), (b"large", &large)] {
        assert_eq!(set.bytes(&[key, value]).await.bytes, [b"S", key].concat());
        let found = get.bytes(&[key]).await.bytes;
        assert!(found[0] == b'S' && found[1..] == *value);
    }
}

#[tokio::test]
async fn the_cache_knows_the_same_patterns() {
    let server = RedisServer::start().unwrap();
    let [set, _, _, keys] = guests(&address(&server), "");
    let cache = Arc::new(Cache::default());
    let listed =
        Guest::with("hostCacheKeys", 1, |_| Services { cache: Some(Arc::clone(&cache)), ..Services::default() });
    for key in
        ["hello", "hallo", "hbllo", "hllo", "heeello", "h*llo", "h]llo", "a\\", "a", "b", "ab", "-", "]", "^", "_", "["]
    {
        set.framed(&[key, ""]).await.unwrap();
        cache.set(key.as_bytes(), b"").unwrap();
    }
    let sorted = |document: String| {
        let mut keys = capsule_abi::keys::parse(document.as_bytes()).unwrap();
        keys.sort();
        keys
    };
    let patterns = [
        "*",
        "h?llo",
        "h*llo",
        "h[ae]llo",
        "h[^e]llo",
        "h[a-b]llo",
        "h[b-a]llo",
        "h\\*llo",
        "h[\\]]llo",
        "a\\",
        "a**b",
        "[",
        "[a",
        "[]",
        "[^]",
        "[^",
        "[a-",
        "[a-]",
        "[\\",
        "?",
        "\\?",
        "[^\\]]",
        "[a-a]",
        "[]-a]",
        "[--]",
        "*[",
        "\\",
    ];
    for pattern in patterns {
        let expected = sorted(keys.framed(&[pattern]).await.unwrap());
        assert_eq!(sorted(listed.framed(&[pattern]).await.unwrap()), expected, "{pattern}");
    }
}

#[tokio::test]
async fn a_server_that_was_killed_and_comes_back_works_again() {
    let mut server = RedisServer::start().unwrap();
    let [set, get, del, _] = guests(&address(&server), "");
    set.framed(&["k", "v"]).await.unwrap();
    get.framed(&["k"]).await.unwrap();
    server.kill().unwrap();
    let error = get.framed(&["k"]).await.unwrap_err();
    assert!(error.contains(&format!("127.0.0.1:{}", server.port())), "{error}");
    server.restart().unwrap();
    assert_eq!(get.framed(&["k"]).await, Err("redis: nil".into()), "it has lost its data");
    // This guest did not call while the server was away: its connection breaks at this call.
    assert_eq!(set.framed(&["k", "v2"]).await, Ok("k".into()));
    assert_eq!(get.framed(&["k"]).await, Ok("v2".into()));
    assert_eq!(del.framed(&["k"]).await, Ok("k".into()));
}

#[tokio::test]
async fn a_uri_has_password_and_database() {
    let server = RedisServer::with_password("s3cret@").unwrap();
    let uri = |password: &str, database: &str| {
        [("REDIS_URI", format!("redis://:{password}@127.0.0.1:{}/{database}", server.port()))]
    };
    let [set, ..] = guests(&uri("s3cret%40", "5"), "");
    set.framed(&["k", "five"]).await.unwrap();
    let [_, get, ..] = guests(&uri("s3cret%40", "4"), "");
    assert_eq!(get.framed(&["k"]).await, Err("redis: nil".into()));
    let port = format!("127.0.0.1:{}", server.port());
    let variables = [("REDIS_ADDR", port), ("REDIS_PWD", "s3cret@".into()), ("REDIS_DEFAULTDB", "5".into())];
    let [_, get, ..] = guests(&variables, "");
    assert_eq!(get.framed(&["k"]).await, Ok("five".into()));
    for (variables, expected) in [
        (uri("wrongpass", "0"), "Password authentication failed"),
        (address(&server), "NOAUTH Authentication required"),
    ] {
        let [_, get, ..] = guests(&variables, "");
        let error = get.framed(&["k"]).await.unwrap_err();
        assert!(!error.contains("wrongpass") && !error.contains("s3cret"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_error_of_the_server_reaches_the_module() {
    let server = RedisServer::start().unwrap();
    let [set, get, ..] = guests(&[("REDIS_URI", format!("redis://127.0.0.1:{}/99", server.port()))], "");
    let error = get.framed(&["k"]).await.unwrap_err();
    assert!(error.contains("DB index is out of range"), "{error}");
    set.framed(&["k", ""]).await.unwrap_err();
}

#[tokio::test]
async fn a_prefix_keeps_functions_apart() {
    let server = RedisServer::start().unwrap();
    let [set, get, del, keys] = guests(&address(&server), "a*:");
    let [other_set, other_get, _, other_keys] = guests(&address(&server), "ab:");
    assert_eq!(set.framed(&["k", "mine"]).await, Ok("k".into()));
    other_set.framed(&["k", "theirs"]).await.unwrap();
    assert_eq!(get.framed(&["k"]).await, Ok("mine".into()));
    assert_eq!(keys.framed(&["*"]).await, Ok(r#"{"keys":["k"]}"#.into()));
    del.framed(&["k"]).await.unwrap();
    assert_eq!(other_get.framed(&["k"]).await, Ok("theirs".into()));
    assert_eq!(other_keys.framed(&["*"]).await, Ok(r#"{"keys":["k"]}"#.into()));
    let [_, _, _, all] = guests(&address(&server), "");
    assert_eq!(all.framed(&["*"]).await, Ok(r#"{"keys":["ab:k"]}"#.into()));
}

#[tokio::test]
async fn a_wrong_uri_and_an_absent_server_are_failures() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (name, value, expected) in [
        ("REDIS_URI", "http://:hidden@h".to_owned(), "`REDIS_URI` is not"),
        ("REDIS_URI", "unix:///run/hidden.sock".to_owned(), "`REDIS_URI` is not"),
        ("REDIS_URI", format!("redis://:hidden@127.0.0.1:{port}"), "refused"),
        ("REDIS_ADDR", format!("127.0.0.1:{port}"), "refused"),
    ] {
        for (guest, (_, inputs)) in guests(&[(name, value.clone())], "").iter().zip(FUNCTIONS) {
            let error = guest.framed(&vec!["x"; inputs]).await.unwrap_err();
            assert!(error.contains(expected) && !error.contains("hidden"), "{error}");
        }
    }
}

#[tokio::test]
async fn the_address_policy_applies_to_the_functions_own_server_only() {
    let server = RedisServer::start().unwrap();
    let operators = {
        let settings = RedisSettings::from_uri(&format!("redis://127.0.0.1:{}", server.port()));
        Arc::new(Redis::operator(settings, ""))
    };
    let guest = |reach, allowed: Vec<String>, redis| {
        Guest::with("hostRedisSet", 2, |config| {
            config.capabilities.environment = address(&server).map(|(name, value)| (name.to_owned(), value)).into();
            config.capabilities.network = capsule_hdk::Network { reach, allowed };
            Services { redis, ..Services::default() }
        })
    };
    for (reach, allowed) in
        [(Reach::Nothing, vec![]), (Reach::Public, vec![]), (Reach::Operator, vec!["example.com".into()])]
    {
        let error = guest(reach, allowed, None).framed(&["k", "v"]).await.unwrap_err();
        assert!(error.contains("may not reach host `127.0.0.1` (flag `--allowHosts`)"), "{error}");
    }
    guest(Reach::Public, vec![format!("127.0.0.1:{}", server.port())], None).framed(&["k", "v"]).await.unwrap();
    guest(Reach::Nothing, vec![], Some(operators)).framed(&["k", "v"]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_failure_before_the_call_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("redis://:hidden@{}", silent.local_addr().unwrap());
    let guest = Guest::with("hostRedisGet", 1, |config| {
        config.capabilities.environment.push(("REDIS_URI".into(), uri));
        config.capabilities.network.reach = Reach::Operator;
        Services::default()
    });
    for _ in 0..2 {
        let error = guest.framed_within(Duration::from_millis(600), "k").await.unwrap_err();
        assert!(error.contains("does not answer in time") && !error.contains("hidden"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_went_silent_is_replaced() {
    let server = RedisServer::start().unwrap();
    let (way, cut) = way_that_can_be_cut(server.address()).await;
    let get = Guest::with("hostRedisGet", 1, |config| {
        config.capabilities.environment.push(("REDIS_ADDR".into(), way.to_string()));
        config.capabilities.network.reach = Reach::Operator;
        Services::default()
    });
    assert_eq!(get.framed(&["k"]).await, Err("redis: nil".into()));
    cut.store(true, Ordering::SeqCst);
    let error = get.framed_within(Duration::from_secs(1), "k").await.unwrap_err();
    assert!(error.contains("does not answer in time"), "{error}");
    assert_eq!(get.framed(&["k"]).await, Err("redis: nil".into()));
}

/// Passes connections on to `server`. Once cut, the first one loses what the client sends, and nobody is told.
async fn way_that_can_be_cut(server: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&cut);
    tokio::spawn(async move {
        let mut lost = Some(first);
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let lost = lost.take();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while from_client.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                    if lost.as_ref().is_none_or(|lost| !lost.load(Ordering::SeqCst)) {
                        to_server.write_all(&bytes).await.unwrap();
                    }
                    bytes.clear();
                }
            });
        }
    });
    (address, cut)
}

#[tokio::test]
async fn tls_to_a_server_without_it_is_a_failure() {
    let server = RedisServer::start().unwrap();
    let [_, get, ..] = guests(&[("REDIS_URI", format!("rediss://:hidden@127.0.0.1:{}", server.port()))], "");
    let error = get.framed(&["k"]).await.unwrap_err();
    assert!(!error.contains("hidden"), "{error}");
}

/// What a server sends that the function's own environment names is bounded while it comes, not when all of it is there.
#[tokio::test]
async fn an_answer_without_end_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let variables = [("REDIS_ADDR", listener.local_addr().unwrap().to_string())];
    let (count, mut sent) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    let heard = &bytes[..length];
                    if !heard.windows(3).any(|word| word == b"GET") {
                        let answers = heard.iter().filter(|byte| **byte == b'*').count();
                        stream.write_all(&b"+OK\r\n".repeat(answers)).await.unwrap();
                        continue;
                    }
                    // It does not say how much there is before it is there.
                    stream.write_all(b"+").await.unwrap();
                    let (piece, mut megabytes) = (vec![b'x'; 1 << 20], 0);
                    while megabytes < 500 && stream.write_all(&piece).await.is_ok() {
                        megabytes += 1;
                    }
                    count.send(megabytes).unwrap();
                }
            });
        }
    });
    let [_, get, _, _] = guests(&variables, "");
    let error = get.framed(&["k"]).await.unwrap_err();
    assert!(error.contains("the answer exceeds the limit of 67108864 bytes (flag `--maxHostMemory`)"), "{error}");
    let megabytes = sent.recv().await.unwrap();
    assert!((64..200).contains(&megabytes), "{megabytes} MiB were taken");
}
