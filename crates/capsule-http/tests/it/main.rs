//! End to end: the real server on a free port, called by clients over sockets and by curl.

mod answers;
mod requests;
mod support;
