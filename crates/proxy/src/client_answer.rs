//! A client's answer to a request of its server: taken only for one that is open, and decided again.

use std::sync::Arc;

use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::mcp::Id;
use ostiary_core::policy::{Memory, Verdict};

use crate::clock;
use crate::dialogue::{self, OpenAsk};
use crate::exchange::{self, Work};
use crate::forward;
use crate::message::Message;
use crate::opening;
use crate::respond::Answer;
use crate::trail::Trail;
use crate::verdict;

/// Passes on the client's answer under the id that the server gave its request.
///
/// # Errors
/// [`Refusal`] when nothing is open under that id, or the request would not be allowed any more.
pub async fn run(trail: &mut Trail, mut work: Work) -> Result<Answer, Refusal> {
    trail.message(&work.message, work.head.session.is_some(), work.message.class(work.server()));
    work.store_heard()?;
    opening::handles(&mut work)?;
    let OpenAsk { server_id, intent, mut facts, .. } = take(&work)?;
    let upstream = Arc::clone(&work.endpoint.upstream);
    let lease = work.endpoint.checkout().await.map_err(|fault| forward::refusal_of(&fault))?;
    if !work.holds() {
        exchange::renew(trail, &mut work)?;
        work.store_heard()?;
    }
    if work.endpoint.upstream.url() != upstream.url() {
        return Err(Refusal::new(Reason::Superseded, "The server is another one now; begin a new session."));
    }
    // Nothing is awaited between this decision and handing the answer to the connection.
    facts.time = Some(clock::now().unix_s());
    let decision = work.live.snapshot.decide(&facts, Memory::On);
    trail.decided(Arc::clone(&decision.finding), decision.recorded_json);
    match decision.verdict {
        Verdict::Allow(permit) => {
            if let Message::Response(_, named) = &mut work.message {
                *named = Some(server_id);
            }
            Ok(forward::send(permit, intent, lease, work, None).await)
        }
        Verdict::Deny(reason) => {
            let refusal = verdict::refusal(reason, &work.message, work.server(), &decision.finding);
            Err(exchange::for_message(refusal, &work.message))
        }
    }
}

/// The request that is answered.
fn take(work: &Work) -> Result<OpenAsk, Refusal> {
    let open = match &work.message {
        // Every request of a server is put under an id of ours, and those are texts.
        Message::Response(response, _) => match &response.id {
            Id::Text(id) => work.shared.dialogues.answered(&dialogue::session_of(work), id),
            Id::Int(_) => None,
        },
        _ => None,
    };
    open.ok_or_else(|| Refusal::new(Reason::NotOpen, "Nothing is open under this id that could be answered."))
}
