//! Session ids of the session era: ours, sealed to server and principal (2025-11-25, Session Management).
//!
//! The id carries the upstream's own id inside, so nothing is stored and a restart ends no session. Somebody else's
//! id is answered exactly like an unknown one: it cannot be opened.

use aws_lc_rs::rand;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::principal::Caller;
use ostiary_core::seal::{NONCE_BYTES, SealKey};

/// What a session is bound to: server, subject, actor and client.
fn binding<'a>(server: &'a str, caller: &'a Caller) -> [&'a str; 4] {
    [
        server,
        &caller.subject.id,
        caller.actor.as_ref().map_or("", |actor| &actor.id),
        caller.client_id.as_deref().unwrap_or(""),
    ]
}

/// The refusal for an id that is unknown, somebody else's, or ended.
#[must_use]
pub fn unknown() -> Refusal {
    Refusal::new(Reason::Session, "There is no such session; initialize a new one.")
}

/// Seals the upstream's session id for `caller`.
///
/// # Errors
/// [`Refusal`] (internal) if the system has no randomness.
pub fn seal(key: &SealKey, server: &str, caller: &Caller, upstream: &str) -> Result<String, Refusal> {
    let mut nonce = [0; NONCE_BYTES];
    rand::fill(&mut nonce)
        .ok()
        .and_then(|()| key.seal(&binding(server, caller), &nonce, upstream.as_bytes()))
        .ok_or_else(|| Refusal::new(Reason::Internal, "The session could not be sealed."))
}

/// Opens a session id that `caller` presents for `server`.
///
/// # Errors
/// [`unknown`] when it is not ours, or not this caller's.
pub fn open(key: &SealKey, server: &str, caller: &Caller, presented: &str) -> Result<String, Refusal> {
    key.open(&binding(server, caller), presented).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(unknown)
}
