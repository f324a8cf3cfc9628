//! JSON as the gateway understands it: one strict reading, one writing that keeps number text, one canonical form.

mod value;

pub use value::{Number, Object, Value};
