//! The rules of the doorkeeper, as pure functions: no input or output, no clock, no randomness.
//!
//! Whatever changes with time or place is an argument. `ostiary-proxy` owns every effect and
//! `ostiary-py` is the only crate that knows Python.

#![forbid(unsafe_code)]

pub mod audit;
pub mod deny;
pub mod epoch;
pub mod facts;
mod fields;
pub mod head;
pub mod json;
pub mod mcp;
pub mod policy;
pub mod principal;
pub mod seal;
pub mod snapshot;
pub mod token;
