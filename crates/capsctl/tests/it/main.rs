//! `capsctl` as its users run it: the real binary against a scripted server.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod calls;
mod commands;
mod launch;
mod publish;
mod refusals;
mod start;
mod support;
mod usage;
