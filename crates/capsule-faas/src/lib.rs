//! Many functions in one server: how they run, what the server keeps of them, and where.
//!
//! - [`runtime`]: starts, wakes and calls functions, and puts them to sleep.
//! - [`store`]: the records of functions and routes, on disk before a change is answered.
//! - [`modules`]: the bytes of modules, named by their content.
//! - [`shim`]: what ties a child process to the life of the server.
//!
//! Store and modules live in one data folder, or in memory for a server without one; the interface is the same.
//!
//! | in the data folder | holds |
//! |---|---|
//! | `lock` | nothing; the one server that uses the folder holds a lock on it |
//! | `schema` | the version of this layout, a decimal number |
//! | `store.redb` | the records, readable by the owner alone: they hold environment values |
//! | `modules/sha256-<64 hex digits>.wasm` | module bytes |
//! | `*.part` | a file in the making; removed at the next start when a crash left it |
//!
//! ```
//! use capsule_faas::modules::Modules;
//! use capsule_faas::store::{Change, Store, Table};
//!
//! # async fn example(folder: &std::path::Path) -> Result<(), capsule_faas::StoreError> {
//! let store = Store::open(folder)?;
//! let modules = Modules::open(&store)?;
//! for record in store.read_all(Table::Functions) {
//!     println!("{} at revision {}", record.key, record.revision);
//! }
//! let revision = store.commit(vec![Change::put(Table::Functions, "hello", b"{}".to_vec())]).await?;
//! // Only when nobody changed it since.
//! store.commit(vec![Change::delete(Table::Functions, "hello").expecting(revision)]).await?;
//! # drop(modules);
//! # Ok(()) }
//! ```

#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails as it should"))]

mod error;
mod folder;
pub mod modules;
pub mod runtime;
pub mod shim;
pub mod store;

pub use error::{StoreError, StoreErrorKind};
