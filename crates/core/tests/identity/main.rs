//! Tokens and whom they speak for, through the public interface of the crate.

mod kit;
mod principal;
mod tokens;
