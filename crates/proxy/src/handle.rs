//! The handles that we give out in place of a server's own: session ids, cursors, states of rounds, event ids.
//!
//! Each carries the server's handle inside, sealed to its purpose, the server and the caller, so nothing is stored and
//! a restart ends nothing. Somebody else's handle is answered exactly like an unknown one: it cannot be opened.

use aws_lc_rs::rand;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::mcp::message::INVALID_PARAMS;
use ostiary_core::principal::Caller;
use ostiary_core::seal::NONCE_BYTES;

use crate::exchange::Work;

/// What a handle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `Mcp-Session-Id` (2025-11-25, Session Management).
    Session,
    /// `nextCursor` of the list that a method asks for (2026-07-28, Pagination).
    Cursor,
    /// `requestState` of a request whose parameters have this digest (2026-07-28, Multi Round-Trip Requests).
    State,
    /// The id of an event of a session (2025-11-25, Resumability and Redelivery).
    Event,
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Cursor => "cursor",
            Self::State => "state",
            Self::Event => "event",
        }
    }

    /// The refusal for a handle that is unknown, somebody else's, or over.
    #[must_use]
    pub fn unknown(self) -> Refusal {
        match self {
            Self::Session => Refusal::new(Reason::Session, "There is no such session; initialize a new one."),
            Self::Cursor => bad_params("There is no such cursor; begin the list anew."),
            Self::State => bad_params("There is no such `requestState` for this request; begin it anew."),
            Self::Event => {
                Refusal { status: 400, code: None, ..Refusal::new(Reason::Session, "There is no such event.") }
            }
        }
    }
}

fn bad_params(message: &str) -> Refusal {
    Refusal::new(Reason::Malformed, message).with_code(400, INVALID_PARAMS)
}

/// What every handle is bound to: purpose, server, subject, actor and client, and whatever `context` adds.
fn binding<'a>(purpose: Purpose, server: &'a str, caller: &'a Caller, context: &'a str) -> [&'a str; 6] {
    [
        purpose.word(),
        server,
        &caller.subject.id,
        caller.actor.as_ref().map_or("", |actor| &actor.id),
        caller.client_id.as_deref().unwrap_or(""),
        context,
    ]
}

/// Seals `own`, the server's handle, for the caller of `work`.
///
/// # Errors
/// [`Refusal`] (internal) if the system has no randomness.
pub fn seal(work: &Work, purpose: Purpose, context: &str, own: &[u8]) -> Result<String, Refusal> {
    let mut nonce = [0; NONCE_BYTES];
    let caller = work.identity.caller()?;
    rand::fill(&mut nonce)
        .ok()
        .and_then(|()| work.live.seal.seal(&binding(purpose, &work.endpoint.name, caller, context), &nonce, own))
        .ok_or_else(|| Refusal::new(Reason::Internal, "A handle could not be sealed."))
}

/// Opens a handle that the caller of `work` presents.
///
/// # Errors
/// [`Purpose::unknown`] when it is not ours, not this caller's, or for something else.
pub fn open(work: &Work, purpose: Purpose, context: &str, presented: &str) -> Result<Vec<u8>, Refusal> {
    let caller = work.identity.caller()?;
    let opened = work.live.seal.open(&binding(purpose, &work.endpoint.name, caller, context), presented);
    opened.ok_or_else(|| purpose.unknown())
}

/// The same for a handle that is a text.
///
/// # Errors
/// As [`open`].
pub fn open_text(work: &Work, purpose: Purpose, context: &str, presented: &str) -> Result<String, Refusal> {
    String::from_utf8(open(work, purpose, context, presented)?).map_err(|_| purpose.unknown())
}
