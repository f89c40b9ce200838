//! End to end: the real server on a free port, called by clients over sockets and by curl.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod answers;
mod ceiling;
mod clients;
mod compiling;
mod exchange;
mod faas_admin;
mod faas_calls;
mod faas_docs;
mod faas_file;
mod faas_keep;
mod faas_load;
mod faas_observe;
mod faas_scenario;
mod faas_support;
mod faas_walls;
mod faults;
mod files;
mod functions;
mod hostile_clients;
mod hostile_modules;
mod limits;
mod machine;
mod observe;
mod outbound;
mod recycling;
mod requests;
mod services;
mod state;
mod stopping;
mod support;
mod tinygo;
mod traps;
mod usage;
