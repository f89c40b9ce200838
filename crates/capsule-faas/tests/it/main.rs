//! The store, the modules and the runtime through their public interface.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod child_calls;
mod child_hostile;
mod child_lives;
mod child_real;
mod child_roles;
mod child_support;
mod damage;
mod durability;
mod modules;
mod records;
mod runtime_isolation;
mod runtime_refusals;
mod runtime_restart;
mod runtime_scenario;
mod runtime_sleep;
mod runtime_starts;
mod runtime_support;
mod support;
