//! The Capsule Host SDK: load, check, compile, instantiate, call and limit modules.
