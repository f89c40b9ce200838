//! The binary contract between a runner and a Capsule module, as data: no engine, no I/O.
//!
//! - [`frame`]: the S/F frame around results, and the packed `pointer << 32 | length` that points to one.
//! - [`names`]: the exports and imports of a module by name.
//!
//! Host and guest both use this crate; it builds for `wasm32-wasip1` and with Rust 1.85. The documents are described in
//! `docs/abi.md`.

pub mod frame;
pub mod names;
