//! Tokens and whom they speak for, through the public interface of the crate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

mod figures;
mod kit;
mod principal;
mod tokens;
