//! The host functions as a module imports them (docs/abi.md, section 2): the only place that passes addresses to the host.

use crate::memory;

#[expect(unsafe_code, reason = "imports are foreign functions")]
mod ffi {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn hostPrintString(text: *const u8, length: usize) -> u32;
        pub(super) fn hostLogString(text: *const u8, length: usize) -> u32;
    }

    macro_rules! asks {
        ($($one:ident)*; $($two:ident)*) => {
            #[link(wasm_import_module = "env")]
            unsafe extern "C" {
                $(pub(super) fn $one(p: *const u8, n: usize, answer: *mut usize, length: *mut usize) -> u32;)*
                $(pub(super) fn $two(
                    p: *const u8, n: usize, q: *const u8, m: usize, answer: *mut usize, length: *mut usize,
                ) -> u32;)*
            }
        };
    }

    asks! {
        hostTalk hostGetEnv hostReadFile hostHTTP hostCacheGet hostCacheDel hostCacheKeys hostRedisGet hostRedisDel hostRedisKeys;
        hostWriteFile hostCacheSet hostRedisSet
    }
}

#[expect(unsafe_code, reason = "an import is a foreign function")]
pub(crate) fn print(text: &[u8]) {
    // SAFETY: the host reads `length` bytes at the address, which the slice guarantees.
    unsafe { ffi::hostPrintString(text.as_ptr(), text.len()) };
}

#[expect(unsafe_code, reason = "an import is a foreign function")]
pub(crate) fn log(text: &[u8]) {
    // SAFETY: as in `print`.
    unsafe { ffi::hostLogString(text.as_ptr(), text.len()) };
}

/// Defines functions of one or two byte strings that return the host's answer.
macro_rules! ask {
    ($($name:ident($($input:ident),+) => $import:ident;)*) => {$(
        #[expect(unsafe_code, reason = "an import is a foreign function")]
        pub(crate) fn $name($($input: &[u8]),+) -> Vec<u8> {
            let (mut answer, mut length) = (0, 0);
            // SAFETY: the host reads the inputs within their slices and writes one number into each of the two cells.
            unsafe { ffi::$import($($input.as_ptr(), $input.len(),)+ &raw mut answer, &raw mut length) };
            memory::take(answer, length)
        }
    )*};
}

ask! {
    talk(message) => hostTalk;
    get_env(name) => hostGetEnv;
    read_file(path) => hostReadFile;
    write_file(path, content) => hostWriteFile;
    http(document) => hostHTTP;
    cache_set(key, value) => hostCacheSet;
    cache_get(key) => hostCacheGet;
    cache_del(key) => hostCacheDel;
    cache_keys(pattern) => hostCacheKeys;
    redis_set(key, value) => hostRedisSet;
    redis_get(key) => hostRedisGet;
    redis_del(key) => hostRedisDel;
    redis_keys(pattern) => hostRedisKeys;
}
