//! `cargo xtask bench micro`: the parts of a call one by one, without a network.
//!
//! | group | measures |
//! |---|---|
//! | `frame`, `document`, `exchange` | what runner and module write and read |
//! | `call` | a call into an instance that is there |
//! | `print` | calls that print lines |
//! | `instance` | an instance from a loaded module, with `_initialize` or `_start` and `OnStart`, and its end |

#![expect(clippy::unwrap_used, reason = "a benchmark that unwraps fails as it should")]

mod calls;
mod documents;
mod functions;

use criterion::{criterion_group, criterion_main};

/// As in servers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(
    all,
    documents::frames,
    documents::requests,
    documents::responses,
    documents::exchanges,
    calls::calls,
    calls::prints,
    calls::instances
);
criterion_main!(all);
