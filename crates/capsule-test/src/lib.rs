//! The test harness: child processes, real servers on free ports, guests. For tests and developer commands alone, on Unix.
//!
//! | module | holds |
//! |---|---|
//! | [`program`] | a command in the making: which executable, with what, in which surroundings |
//! | [`process`] | a running child: its output, signals, its end |
//! | [`server`] | `capsule-http` on a free port |
//! | [`client`] | a small HTTP/1.1 client that shows what came over the wire |
//! | [`http2`] | HTTP/2 by hand, for clients that no library would be |
//! | [`attack`] | clients that mean harm, and what has to be true after them |
//! | [`stub`] | a scripted HTTP server for what modules and programs call |
//! | [`redis`] | a real `redis-server` that can be killed and started again |
//! | [`tls`] | a certificate for localhost |
//! | [`guests`] | where the modules of this repository are |
//! | [`hostile`] | modules that try to break a runner, and a server on which they do |
//! | [`descriptors`] | how many files this process may have open |
//!
//! Nothing here sleeps: what must happen is waited for, with a deadline that only a failing test reaches. What is
//! missing on the machine fails loudly and names what to install. Every failure carries the output of the child.

#![cfg(unix)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test"))]

pub mod attack;
pub mod client;
pub mod descriptors;
pub mod guests;
pub mod hostile;
pub mod http2;
pub mod process;
pub mod program;
pub mod redis;
pub mod server;
pub mod stub;
pub mod tls;

use std::time::Duration;

/// How long anything may take before a test fails. Generous: a loaded machine is not a defect.
pub const DEADLINE: Duration = Duration::from_secs(60);
