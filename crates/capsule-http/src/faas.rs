//! `capsule-http --faas`: many functions in one server, started and steered over HTTP.
//!
//! The rules are in `capsule-faas-model`, the runtime is in `capsule-faas`; here are its routes, its flags and its life.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the flags of this mode |
//! | [`mod@serve`] | from start to stop |
//! | [`app`] | which route answers a request |
//! | [`admin`] | administration: what each route does and answers |
//! | [`call`] | calls of functions |
//! | [`tokens`] | who may administer |
//! | [`hosting`] | what the arguments of a function mean, and what it may use |
//! | [`mod@file`] | the file of functions |
//! | [`logs`] | lines of functions as a stream |
//! | [`metrics`] | counters with the names of functions |
//! | [`answers`] | errors and small documents as JSON |

mod admin;
mod answers;
mod app;
mod call;
pub(crate) mod config;
mod file;
mod hosting;
mod logs;
mod metrics;
mod serve;
mod tokens;

pub(crate) use serve::serve;
