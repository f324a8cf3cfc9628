//! What a server asks of its client: decided like any other request, for the caller whose call or session it is.

use std::sync::Arc;
use std::time::Instant;

use ostiary_core::audit::Outcome;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::facts::{Class, Facts};
use ostiary_core::json::Object;
use ostiary_core::mcp::Id;
use ostiary_core::mcp::round::Ask;
use ostiary_core::mcp::stream;
use ostiary_core::policy::{Memory, Permit, Verdict};

use crate::dialogue::{self, OpenAsk};
use crate::exchange;
use crate::flight::Flight;
use crate::trail::{End, Intent, Trail};
use crate::verdict;

/// A request of a server that its client may be asked.
#[derive(Debug)]
pub struct Permitted {
    permit: Permit,
    intent: Intent,
    facts: Facts,
}

impl Permitted {
    /// Spends the permit on asking inside an answer, which ends it: with the answer it has been asked.
    ///
    /// # Errors
    /// [`Refusal`] when that cannot be recorded.
    pub fn ask_at_once(mut self) -> Result<(), Refusal> {
        drop(self.permit);
        self.intent.close(End::unsent(Outcome::Ok)).map_err(|_| exchange::unrecorded(None))
    }
}

/// Decides whether the server of `flight` may ask its client, and records that.
///
/// # Errors
/// [`Refusal`] when no rule allows it, or no record of it can be written.
pub fn decide(flight: &Flight, ask: Ask<'_>) -> Result<Permitted, Refusal> {
    let work = &flight.work;
    let live = work.shared.live();
    let mut trail = Trail::of_ask(&flight.intent, Arc::clone(&live), ask, work.message.era());
    let class = work.message.class(work.server());
    let facts = facts(flight, ask, class)?;
    let decision = live.snapshot.decide(&facts, Memory::On);
    trail.decided(Arc::clone(&decision.finding), decision.recorded_json);
    match decision.verdict {
        Verdict::Allow(permit) => match trail.intent_now(&work.shared) {
            Ok(intent) => Ok(Permitted { permit, intent, facts }),
            Err(fault) => Err(exchange::no_record(&work.shared, &fault, None)),
        },
        Verdict::Deny(reason) => {
            let refusal = verdict::ask_refusal(reason, ask.method, work.server());
            match trail.deny_now(&work.shared, &refusal) {
                Ok(()) => Err(refusal),
                Err(fault) => Err(exchange::no_record(&work.shared, &fault, None)),
            }
        }
    }
}

fn facts(flight: &Flight, ask: Ask<'_>, class: Class) -> Result<Facts, Refusal> {
    let mut facts = exchange::facts(&flight.work, flight.intent.request_facts(&flight.work.head), class)?;
    facts.server_request = Some(ask.method.to_owned());
    facts.arguments = Some(Arc::new(ask.params.cloned().unwrap_or_else(Object::new).into()));
    Ok(facts)
}

/// Keeps the request until its client answers, and gives it as the client is asked.
pub fn open(flight: &Flight, permitted: Permitted, server_id: Id, ask: Ask<'_>) -> Vec<u8> {
    let Permitted { permit, intent, facts } = permitted;
    // It is spent on asking once.
    drop(permit);
    let id = intent.id().to_owned();
    let progress = ask.params.and_then(|params| Id::read(params.get("_meta")?.get("progressToken")?));
    let open = OpenAsk { server_id, progress, intent, facts, since: Instant::now() };
    flight.work.shared.dialogues.ask(&dialogue::session_of(&flight.work), &id, open);
    stream::client_request(&id, ask.method, ask.params)
}

/// Records that the server asked for something that no gateway passes on.
pub fn unknown(flight: &Flight, ask: Ask<'_>) {
    let work = &flight.work;
    let trail = Trail::of_ask(&flight.intent, work.shared.live(), ask, work.message.era());
    let refusal = Refusal::new(Reason::UnknownMethod, "Nothing of this name is asked of clients.");
    // A failing journal shows at the outcome, which ends the stream.
    let _ = trail.deny_now(&work.shared, &refusal);
}
