//! The rules of decisions, each with its refusing twin.

mod cost;
mod could;
pub(super) mod kit;
mod lists;
mod objects;
mod order;
pub(super) mod property;
mod table;
