//! What did they send, exactly? MCP messages of both eras, read once and strictly.
//!
//! The rules are those of the specification's revisions 2025-03-26 to 2026-07-28; where they leave room, the stricter
//! reading is taken. Nothing that arrives is forwarded as bytes: what was read is written anew.

pub mod era;
mod fault;
mod id;
pub mod list;
pub mod message;
pub mod method;
mod params;
mod read;
pub mod response;
pub mod round;
pub mod sse;
pub mod stream;
pub mod uri;

pub use era::Era;
pub use fault::UpstreamFault;
pub use id::Id;
pub use message::Target;
pub use method::{Listed, Method};

#[cfg(test)]
mod tests;
