//! JSON as the gateway understands it: one strict reading, one writing that keeps number text, one canonical form.
//!
//! Two readers that disagree about one text are how a request is decided as one thing and carried out as
//! another. So what RFC 8259 leaves open is refused here (duplicate keys, a byte order mark, lone surrogates,
//! anything after the value), and what was read is written anew before it goes anywhere.

mod canonical;
mod number;
mod parse;
mod scan;
mod value;
mod write;

pub use canonical::{canonical, canonical_object};
pub use number::Number;
pub use parse::{JsonError, JsonErrorKind, Limits, parse};
pub use value::{Object, Value};
pub use write::{write, write_object, write_str};
