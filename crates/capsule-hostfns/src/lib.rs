//! The host functions that every Capsule runner offers, one file per family.
