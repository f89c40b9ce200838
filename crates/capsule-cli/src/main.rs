//! The terminal runner.

fn main() {}
