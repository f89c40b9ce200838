//! The store and the modules through their public interface.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod damage;
mod durability;
mod modules;
mod records;
mod support;
