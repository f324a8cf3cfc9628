//! What happened: records, the chain that binds each to all before it, and its verification (DESIGN section 7).
//!
//! A record is one line of RFC 8785 JSON. Its `hash` is the SHA-256 of that line without `hash`; the line holds the
//! hash before it as `prev`, so that no record can change, go or come without breaking the ones after it.

mod chain;
mod control;
mod digest;
mod record;
mod redact;
mod verify;

pub use chain::{Chain, Draft, GENESIS, Hash};
pub use control::{ControlError, checkpoint, control, recovery};
pub use digest::{args_sha256, args_sha256_keyed};
pub use record::{Json, Kind, Outcome, Record, Request, Rule, Upstream, principal_json, strings_json, token_json};
pub(crate) use redact::mark;
pub use redact::{Redacted, Redaction};
pub use verify::{Bad, SegmentReport, Verifier, last_hash};
