//! `hostCacheSet`, `hostCacheGet`, `hostCacheDel` and `hostCacheKeys`: a map in memory that all instances of a function
//! share and that outlives each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capsule_abi::keys;
use capsule_hdk::{
    Blocking, Ceiling, Full, Held, HostContext, HostFunction, HostFunctions, HostResult, Limit, Reply, Reservation,
};
use tokio::time::Instant;

use crate::glob::Glob;

/// What `hostCacheGet` answers for a key that is not there, as the reference does.
pub const KEY_NOT_FOUND: &str = "key not found";

/// Default limit of a cache in bytes.
pub const DEFAULT_LIMIT: usize = 64 << 20;
/// The longest key in bytes: with [`MAX_PATTERN`] it bounds what one match costs.
pub const MAX_KEY: usize = 64 << 10;
/// The longest filter of `hostCacheKeys` in bytes.
pub const MAX_PATTERN: usize = 1 << 10;

/// What an entry costs beside its bytes, so that many empty values are no way around the limit.
const ENTRY_COST: usize = 96;
/// What a key of the list takes beside its bytes.
const QUOTED: usize = 3;
/// Bytes of keys times bytes of the filter up to which keys are listed on the spot, well below a millisecond of work.
const SMALL_SEARCH: usize = 1 << 18;

/// Adds the functions of this file.
pub fn add(host: &mut HostFunctions) {
    host.add(HostFunction::new("hostCacheSet", Reply::Framed, |context, [key, value]| {
        cache(context)?.put(key, value).map_err(|refused| {
            match refused {
                Refused::Key(_) => {}
                Refused::Full(_) => context.hit(Limit::Cache),
                Refused::Process(_) => context.hit(Limit::TotalMemory),
            }
            refused.to_string()
        })?;
        Ok(key.into())
    }));
    host.add(HostFunction::new("hostCacheGet", Reply::Framed, |context, [key]| {
        cache(context)?.get(key).map(|value| value.to_vec()).ok_or_else(|| KEY_NOT_FOUND.into())
    }));
    host.add(HostFunction::new("hostCacheDel", Reply::Framed, |context, [key]| {
        cache(context)?.remove(key);
        Ok(key.into())
    }));
    host.add(HostFunction::waiting("hostCacheKeys", Reply::Framed, |context, [filter]| async move {
        let (cache, deadline, blocking) = (cache(&context)?, context.deadline(), context.blocking().clone());
        let limit = context.limits().host_memory;
        list(cache, filter, deadline, &blocking, limit, move |bytes| context.hold(bytes).map(Some)).await
    }));
}

fn cache(context: &HostContext) -> Result<Arc<Cache>, String> {
    context.extension::<Cache>().ok_or_else(|| "the runner gave this function no cache".into())
}

/// The document of all keys that match `filter`, of at most `limit` bytes; a long search runs beside the threads that serve, until
/// `deadline`. `hold` counts the bytes of the document while it is made.
async fn list(
    cache: Arc<Cache>,
    filter: Vec<u8>,
    deadline: Option<Instant>,
    blocking: &Blocking,
    limit: usize,
    hold: impl FnOnce(usize) -> Result<Option<Held>, String> + Send + 'static,
) -> HostResult {
    if filter.len() > MAX_PATTERN {
        return Err(format!("a filter of {} bytes exceeds the limit of {MAX_PATTERN} bytes", filter.len()));
    }
    let small = is_small(cache.bytes(), filter.len());
    let search = {
        let cache = Arc::clone(&cache);
        move || {
            let keys = cache.keys_until(&filter, deadline)?;
            let _held = hold(keys.iter().map(|key| key.len() + QUOTED).sum())?;
            let mut document = Vec::new();
            if keys::write_within(&mut document, keys.iter().map(|key| &**key), limit) {
                return Ok(document);
            }
            Err(format!("the list of keys exceeds the limit of {limit} bytes (flag `--maxHostMemory`)"))
        }
    };
    if small {
        return search();
    }
    blocking.run(search).await?
}

/// Whether comparing keys that have at most this many bytes in all takes no longer than an I/O thread has.
fn is_small(bytes: usize, filter: usize) -> bool {
    bytes.saturating_mul(filter.max(1)) <= SMALL_SEARCH
}

/// Why an entry is not taken.
#[derive(Debug)]
enum Refused {
    /// The key has so many bytes.
    Key(usize),
    /// The limit is so many bytes.
    Full(usize),
    /// The process is at its limit.
    Process(Full),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Key(found) => write!(f, "a key of {found} bytes exceeds the limit of {MAX_KEY} bytes"),
            Refused::Full(limit) => {
                write!(f, "the cache is full: its limit is {limit} bytes (flag `--maxCache`)")
            }
            Refused::Process(full) => write!(f, "there is no room in the cache: {full}"),
        }
    }
}

/// The cache of a function. Keys and values are bytes; keys are listed in the order of their bytes.
pub struct Cache {
    limit: usize,
    entries: Mutex<Entries>,
}

struct Entries {
    map: BTreeMap<Arc<[u8]>, Arc<[u8]>>,
    /// Of all keys and values, with [`ENTRY_COST`] for each.
    bytes: Reservation,
}

impl Cache {
    /// An empty cache of at most `limit` bytes: keys, values and a little for each entry.
    pub fn new(limit: usize) -> Cache {
        Cache::below(limit, &Ceiling::default())
    }

    /// One that is part of the memory of the process too.
    pub fn below(limit: usize, ceiling: &Ceiling) -> Cache {
        Cache { limit, entries: Mutex::new(Entries { map: BTreeMap::new(), bytes: ceiling.nothing() }) }
    }

    /// Puts `value` under `key` in place of what is there.
    ///
    /// # Errors
    /// A text when the cache would exceed its limit or that of the process, or the key [`MAX_KEY`]; nothing is changed then.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.put(key, value).map_err(|refused| refused.to_string())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        if key.len() > MAX_KEY {
            return Err(Refused::Key(key.len()));
        }
        let full = || Refused::Full(self.limit);
        let cost = key.len().saturating_add(value.len()).saturating_add(ENTRY_COST);
        if cost > self.limit {
            return Err(full());
        }
        let value: Arc<[u8]> = value.into();
        let mut entries = self.lock();
        let replaced = entries.map.get(key).map_or(0, |old| key.len() + old.len() + ENTRY_COST);
        if entries.bytes.bytes() - replaced + cost > self.limit {
            return Err(full());
        }
        entries.bytes.grow(cost.saturating_sub(replaced)).map_err(Refused::Process)?;
        entries.bytes.shrink(replaced.saturating_sub(cost));
        match entries.map.get_mut(key) {
            Some(old) => *old = value,
            None => {
                entries.map.insert(key.into(), value);
            }
        }
        Ok(())
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.lock().map.get(key).cloned()
    }

    /// Takes the entry of `key` away; whether it was there.
    pub fn remove(&self, key: &[u8]) -> bool {
        let mut entries = self.lock();
        let Some(value) = entries.map.remove(key) else { return false };
        entries.bytes.shrink(key.len() + value.len() + ENTRY_COST);
        true
    }

    /// All keys that match `filter`, a pattern as Redis KEYS has them, in the order of their bytes.
    pub fn keys(&self, filter: &[u8]) -> Vec<Arc<[u8]>> {
        self.keys_until(filter, None).unwrap_or_default()
    }

    /// Takes everything away.
    pub fn clear(&self) {
        let mut entries = self.lock();
        entries.map.clear();
        entries.bytes.shrink(usize::MAX);
    }

    /// What the cache holds, counted as its limit is.
    pub fn bytes(&self) -> usize {
        self.lock().bytes.bytes()
    }

    fn keys_until(&self, filter: &[u8], deadline: Option<Instant>) -> Result<Vec<Arc<[u8]>>, String> {
        let glob = Glob::new(filter);
        // The lock is not held while keys are compared.
        let mut keys: Vec<_> = self.lock().map.keys().cloned().collect();
        let mut late = false;
        keys.retain(|key| {
            late = late || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            !late && glob.matches(key)
        });
        if late { Err("the call ended before all keys were compared".into()) } else { Ok(keys) }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Cache {
    /// With [`DEFAULT_LIMIT`].
    fn default() -> Cache {
        Cache::new(DEFAULT_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[test]
    fn the_limit_counts_what_is_there_and_nothing_else() {
        let cache = Cache::new(2 * ENTRY_COST + 10);
        cache.set(b"a", b"1234").unwrap();
        cache.set(b"b", b"5678").unwrap();
        let error = cache.set(b"b", b"56789").unwrap_err();
        assert!(error.contains("`--maxCache`"), "{error}");
        assert_eq!(cache.get(b"b").as_deref(), Some(&b"5678"[..]), "a refused value changes nothing");
        assert!(cache.set(b"c", b"").is_err());
        cache.set(b"a", b"12345").unwrap_err();
        cache.set(b"a", b"1").unwrap();
        cache.set(b"b", b"1234567").unwrap();
        assert!(cache.remove(b"a") && !cache.remove(b"a"));
        assert!(cache.remove(b"b"));
        assert_eq!(cache.bytes(), 0);
        assert!(cache.set(b"k", &vec![0; 1 << 20]).is_err());
    }

    #[test]
    fn what_is_in_it_is_part_of_the_memory_of_the_process() {
        let ceiling = Ceiling::new(3 * ENTRY_COST);
        let (one, other) = (Cache::below(DEFAULT_LIMIT, &ceiling), Cache::below(DEFAULT_LIMIT, &ceiling));
        one.set(b"a", &[0; ENTRY_COST - 1]).unwrap();
        assert_eq!(ceiling.held(), 2 * ENTRY_COST);
        let error = other.set(b"b", b"").unwrap_err();
        assert!(error.contains("at its limit of 288 bytes (flag `--maxTotalMemory`)"), "{error}");
        assert_eq!((other.bytes(), other.get(b"b")), (0, None), "a refused value changes nothing");
        one.set(b"a", b"").unwrap();
        other.set(b"b", b"").unwrap();
        assert_eq!((ceiling.held(), one.bytes() + other.bytes()), (2 * ENTRY_COST + 2, 2 * ENTRY_COST + 2));
        assert!(one.remove(b"a"));
        other.clear();
        assert_eq!((ceiling.held(), other.bytes()), (0, 0));
        other.set(b"b", b"").unwrap();
        drop(other);
        assert_eq!(ceiling.held(), 0);
    }

    #[test]
    fn keys_are_listed_in_the_order_of_their_bytes() {
        let cache = Cache::default();
        for key in ["user:2", "a\u{e9}", "user:10", "order:1"] {
            cache.set(key.as_bytes(), b"").unwrap();
        }
        let keys = |filter: &str| {
            cache.keys(filter.as_bytes()).iter().map(|key| String::from_utf8_lossy(key).into()).collect::<Vec<String>>()
        };
        assert_eq!(keys("user:*"), ["user:10", "user:2"]);
        assert_eq!(keys("*"), ["a\u{e9}", "order:1", "user:10", "user:2"]);
        assert_eq!(keys("none"), [""; 0]);
    }

    #[test]
    fn a_long_filter_makes_a_small_cache_a_long_search() {
        assert!(is_small(SMALL_SEARCH, 1) && !is_small(SMALL_SEARCH + 1, 0));
        assert!(is_small(SMALL_SEARCH / MAX_PATTERN, MAX_PATTERN));
        assert!(!is_small(3 * MAX_KEY, MAX_PATTERN) && !is_small(usize::MAX, 2));
    }

    /// One key and one filter can be 150 ms of work: more than the thread has that runs other calls too.
    #[test]
    fn a_long_search_runs_beside_the_threads_that_serve() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let cache = Arc::new(Cache::default());
        cache.set(&[b'a'; MAX_KEY], b"").unwrap();
        runtime.block_on(async {
            let blocking = Blocking::new(tokio::runtime::Handle::current());
            // The only thread for it is taken until the search was asked for.
            let (release, released) = std::sync::mpsc::channel::<()>();
            let taken = tokio::task::spawn_blocking(move || released.recv());
            let mut search =
                Box::pin(list(cache, b"*a".repeat(MAX_PATTERN / 2), None, &blocking, usize::MAX, |_| Ok(None)));
            let waits = std::future::poll_fn(|context| Poll::Ready(search.as_mut().poll(context).is_pending()));
            assert!(waits.await, "it was made on the thread that serves");
            release.send(()).unwrap();
            let found = search.await.unwrap();
            assert_eq!(capsule_abi::keys::parse(&found).unwrap().len(), 1);
            taken.await.unwrap().unwrap();
        });
    }

    #[tokio::test]
    async fn a_long_search_ends_with_its_call() {
        let cache = Arc::new(Cache::default());
        for index in 0..4_000_u32 {
            cache.set(&index.to_le_bytes(), b"").unwrap();
        }
        let blocking = Blocking::new(tokio::runtime::Handle::current());
        let found = list(Arc::clone(&cache), b"*".to_vec(), None, &blocking, usize::MAX, |_| Ok(None)).await.unwrap();
        assert_eq!(capsule_abi::keys::parse(&found).unwrap().len(), 4_000);
        let full = |bytes| Err(format!("no room for {bytes} bytes"));
        let refused = list(Arc::clone(&cache), b"*".to_vec(), None, &blocking, usize::MAX, full).await;
        assert_eq!(refused, Err(format!("no room for {} bytes", 4_000 * (4 + QUOTED))));
        let late =
            list(Arc::clone(&cache), b"*".to_vec(), Some(Instant::now()), &blocking, usize::MAX, |_| Ok(None)).await;
        assert!(late.is_err());
        assert!(list(cache, vec![b'*'; MAX_PATTERN + 1], None, &blocking, usize::MAX, |_| Ok(None)).await.is_err());
    }
}
