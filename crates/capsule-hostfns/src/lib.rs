//! The host functions that every Capsule runner offers, one file per family.
//!
//! - [`print`](mod@print): `hostPrintString`, `hostLogString`, `hostTalk`.
//! - [`env`](mod@env): `hostGetEnv`.
//! - [`files`](mod@files): `hostReadFile`, `hostWriteFile`.
//! - [`http`](mod@http): `hostHTTP`.
//! - [`cache`](mod@cache): `hostCacheSet`, `hostCacheGet`, `hostCacheDel`, `hostCacheKeys`.
//! - [`redis`](mod@redis): `hostRedisSet`, `hostRedisGet`, `hostRedisDel`, `hostRedisKeys`.
//! - [`messaging`](mod@messaging): the names of the NATS and MQTT runners, which answer F elsewhere.
//!
//! Each family but the last is behind a cargo feature of its name; all are on by default. What each import takes and answers
//! is in `docs/abi.md`, sections 2 and 4.
//!
//! A runner links the functions once ([`standard`]) and gives each of its functions what they need ([`Services`]); what a
//! guest may see and reach is in the [`Capabilities`](capsule_hdk::Capabilities) of the function.
//!
//! ```
//! use capsule_hdk::{Engine, EngineConfig, FunctionConfig, Host, HostFunctions};
//! use capsule_hostfns::Services;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut functions = HostFunctions::new();
//! capsule_hostfns::standard(&mut functions);
//! let engine = Engine::new(&EngineConfig::default())?;
//! let host = Host::new(&engine, &functions)?;
//!
//! let mut config = FunctionConfig::new("hello");
//! config.capabilities.environment.push(("REDIS_ADDR".into(), "localhost:6379".into()));
//! // After the capabilities: they say where Redis is.
//! Services::default().attach(&mut config);
//! # let _ = host;
//! # Ok(()) }
//! ```

#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails as it should"))]

#[cfg(any(feature = "http", feature = "redis"))]
mod addresses;
#[cfg(feature = "cache")]
pub mod cache;
#[cfg(feature = "env")]
pub mod env;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "cache")]
mod glob;
#[cfg(feature = "http")]
pub mod http;
pub mod messaging;
#[cfg(feature = "print")]
pub mod print;
#[cfg(feature = "redis")]
pub mod redis;
mod services;

use capsule_hdk::HostFunctions;

pub use services::Services;

/// Adds every host function of docs/abi.md.
pub fn standard(host: &mut HostFunctions) {
    #[cfg(feature = "print")]
    print::add(host);
    #[cfg(feature = "env")]
    env::add(host);
    #[cfg(feature = "files")]
    files::add(host);
    #[cfg(feature = "http")]
    http::add(host);
    #[cfg(feature = "cache")]
    cache::add(host);
    #[cfg(feature = "redis")]
    redis::add(host);
    messaging::add(host);
}
