//! The test harness: child processes, real servers on free ports, guests.
