//! The HTTP runner.

fn main() {}
