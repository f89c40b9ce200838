//! What all Capsule programs share: flags, environment, download, logging, signals, exit codes.
