//! The host functions as modules see them: WAT guests call each one through a `Function`.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails as it should")]

mod cache;
mod files;
mod guest;
mod http;
mod messages;
mod misuse;
mod redis;
