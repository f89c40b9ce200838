//! What a function belongs to, by its name.

/// Parts of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Group {
    Kernel,
    /// Code that the engine has made.
    Guest,
    /// What a bare server consists of.
    Http,
    Engine,
    /// Allocating, copying, comparing.
    Memory,
    /// The crates of this project.
    Capsule,
    Other,
}

/// Crates of a bare server.
const HTTP: [&str; 16] = [
    "hyper",
    "hyper_util",
    "http",
    "http_body",
    "http_body_util",
    "httparse",
    "httpdate",
    "h2",
    "tokio",
    "tokio_util",
    "mio",
    "bytes",
    "socket2",
    "futures_core",
    "futures_util",
    "futures_channel",
];
/// Beginnings of the crates of the engine, and of its functions that are not of Rust.
const ENGINE: [&str; 3] = ["wasmtime", "wiggle", "cranelift"];
/// Beginnings of functions of the C library and the allocator.
const MEMORY: [&str; 17] = [
    "__rustc::__rust_alloc",
    "__rustc::__rust_dealloc",
    "mi_",
    "_mi_",
    "malloc",
    "calloc",
    "realloc",
    "free",
    "cfree",
    "_int_malloc",
    "_int_free",
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "bcmp",
    "mimalloc",
];
/// Crates that say nothing about whose work is done.
const NEUTRAL: [&str; 4] = ["core", "alloc", "std", "hashbrown"];

impl Group {
    pub(super) const ALL: [Group; 7] =
        [Group::Kernel, Group::Guest, Group::Http, Group::Engine, Group::Memory, Group::Capsule, Group::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Group::Kernel => "kernel",
            Group::Guest => "guest",
            Group::Http => "hyper, http, tokio",
            Group::Engine => "wasmtime",
            Group::Memory => "allocator, memcpy",
            Group::Capsule => "capsule",
            Group::Other => "standard library, other",
        }
    }

    /// The group of a function at an address, in a file or in memory.
    pub(super) fn of(address: u64, symbol: &str, file: &str) -> Group {
        // The upper half of the address space is the kernel's.
        if address >> 63 == 1 || file.starts_with("[kernel") {
            return Group::Kernel;
        }
        // Compiled code is mapped from the cache.
        if file.ends_with(".cwasm") || symbol.starts_with("wasm[") {
            return Group::Guest;
        }
        if symbol == "[unknown]" {
            // Or it is in memory alone; libraries without names are shared objects.
            return if file.contains(".so") || file == "[vdso]" { Group::Other } else { Group::Guest };
        }
        let plain = symbol.trim_start_matches('_');
        if MEMORY.iter().any(|start| symbol.starts_with(start) || plain.starts_with(start)) {
            return Group::Memory;
        }
        match crates(symbol).find(|name| !NEUTRAL.contains(name)) {
            Some(name) if HTTP.contains(&name) => Group::Http,
            Some(name) if ENGINE.iter().any(|start| name.starts_with(start)) => Group::Engine,
            Some(name) if name.starts_with("capsule") => Group::Capsule,
            Some(_) => Group::Other,
            None if ENGINE.iter().any(|start| plain.starts_with(start)) => Group::Engine,
            None => Group::Other,
        }
    }
}

/// The crates that a name mentions: words that a path begins with.
fn crates(symbol: &str) -> impl Iterator<Item = &str> {
    symbol.match_indices("::").filter_map(|(at, _)| {
        let before = &symbol[..at];
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let start = before.rfind(|c| !is_part(c)).map_or(0, |at| at + 1);
        let is_first = !before[..start].ends_with("::");
        (is_first && start < at).then(|| &before[start..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_group() {
        let check = |symbol: &str, file: &str, group| assert_eq!(Group::of(0x5500, symbol, file), group, "{symbol}");
        check("tcp_sendmsg", "[kernel.kallsyms]", Group::Kernel);
        check("[unknown]", "//anon", Group::Guest);
        check("wasm[0]::function[25]", "/home/bob/.cache/capsule/0ef8-a2f2.cwasm", Group::Guest);
        check("[unknown]", "/lib/libc.so.6", Group::Other);
        check("__vdso_clock_gettime", "[vdso]", Group::Other);
        check("<hyper::proto::h1::Conn<I,B,T>>::poll_flush", "/x", Group::Http);
        check("core::ptr::drop_in_place<capsule_hdk::call::Call>", "/x", Group::Capsule);
        check("<core::pin::Pin<P> as core::future::Future>::poll", "/x", Group::Other);
        check("<alloc::boxed::Box<tokio::task::Task> as core::ops::Drop>::drop", "/x", Group::Http);
        check("tokio::runtime::task::raw::poll::<capsule_http::listener::Serve>", "/x", Group::Http);
        check("wasmtime_internal_fiber::Fiber::resume", "/x", Group::Engine);
        check("wasmtime_fiber_switch_48", "/x", Group::Engine);
        check("__rustc::__rust_alloc", "/x", Group::Memory);
        check("_mi_page_malloc", "/x", Group::Memory);
        check("__memmove_avx_unaligned_erms", "/lib/libc.so.6", Group::Memory);
        check("serde_json::de::from_slice", "/x", Group::Other);
        assert_eq!(Group::of(0xffff_ffff_8100_0000, "[unknown]", "[unknown]"), Group::Kernel);
    }
}
