//! Host functions that need no family of their own, and how answers of the host are read.

use std::fmt;

use capsule_abi::frame;

use crate::backend;

/// Why a host function failed, in the host's words: `key not found`, `redis: nil`, ...
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError(String);

impl HostError {
    pub(crate) fn new(message: impl Into<String>) -> HostError {
        HostError(message.into())
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HostError {}

/// Writes a line to the runner's stdout.
pub fn print(text: impl AsRef<str>) {
    backend::print(text.as_ref().as_bytes());
}

/// Writes a line with a timestamp to the runner's stdout.
pub fn log(text: impl AsRef<str>) {
    backend::log(text.as_ref().as_bytes());
}

/// Sends a message to the host and returns its answer. What it means is up to the program that runs the module.
#[must_use]
pub fn talk(message: impl AsRef<[u8]>) -> Vec<u8> {
    backend::talk(message.as_ref())
}

/// The value of an environment variable that the runner gives to this module; empty when it is not set.
#[must_use]
pub fn get_env(name: &str) -> String {
    text(backend::get_env(name.as_bytes()))
}

/// The content of a file in a folder that the runner gives to this module.
///
/// # Errors
/// The reason: no such file, or not allowed.
pub fn read_file(path: &str) -> Result<Vec<u8>, HostError> {
    unframe(backend::read_file(path.as_bytes()))
}

/// Creates or overwrites a file.
///
/// # Errors
/// The reason, as [`read_file`].
pub fn write_file(path: &str, content: impl AsRef<[u8]>) -> Result<(), HostError> {
    unframe(backend::write_file(path.as_bytes(), content.as_ref())).map(drop)
}

/// Takes the frame off an answer.
pub(crate) fn unframe(mut answer: Vec<u8>) -> Result<Vec<u8>, HostError> {
    match frame::decode(&answer) {
        Ok(Ok(_)) => {
            answer.remove(0);
            Ok(answer)
        }
        Ok(Err(message)) => Err(HostError::new(String::from_utf8_lossy(message))),
        Err(error) => Err(HostError::new(format!("the host's answer is wrong: {error}"))),
    }
}

/// Reads the list of keys in an answer.
pub(crate) fn keys(answer: Vec<u8>) -> Result<Vec<String>, HostError> {
    capsule_abi::keys::parse(&unframe(answer)?).map_err(|error| HostError::new(error.to_string()))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_off() {
        assert_eq!(unframe(b"Sab".to_vec()), Ok(b"ab".to_vec()));
        assert_eq!(unframe(b"S".to_vec()), Ok(Vec::new()));
        assert_eq!(unframe(b"Fredis: nil".to_vec()), Err(HostError::new("redis: nil")));
        assert!(unframe(Vec::new()).unwrap_err().message().starts_with("the host's answer is wrong: "));
    }
}
