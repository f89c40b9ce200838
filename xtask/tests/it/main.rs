//! The papers keep their word.

#![cfg(unix)]

mod readme;
