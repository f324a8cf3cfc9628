//! Tokens and whom they speak for, through the public interface of the crate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

mod epochs;
mod figures;
mod kit;
mod own;
mod principal;
mod tokens;
