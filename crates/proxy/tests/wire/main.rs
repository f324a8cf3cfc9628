//! The whole data plane over real sockets: what it hands to the control app, what it publishes, and how it is known to
//! servers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

mod control;
mod credentials;
mod documents;
mod kit;
