//! One message from its decision to its answer: decide → journal intent → recheck → forward.

use std::sync::Arc;

use ostiary_core::audit::Outcome;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::facts::{Class, Facts};
use ostiary_core::head::Head;
use ostiary_core::json::Object;
use ostiary_core::mcp::{Era, Id};
use ostiary_core::policy::{Memory, Permit, Verdict};
use ostiary_core::snapshot::Server;

use crate::arrival;
use crate::clock;
use crate::events::Event;
use crate::forward;
use crate::identity::Identity;
use crate::journal::JournalError;
use crate::message::Message;
use crate::respond::Answer;
use crate::session;
use crate::state::{Endpoint, Live, Shared};
use crate::trail::{End, Trail};
use crate::verdict;

/// How often a call is decided anew when the configuration changes under it.
const ATTEMPTS: usize = 5;

/// A message with everything that its decision and its forwarding need, under one snapshot.
#[derive(Debug)]
pub struct Work {
    pub shared: Arc<Shared>,
    pub live: Arc<Live>,
    pub endpoint: Endpoint,
    pub identity: Arc<Identity>,
    pub head: Head,
    pub message: Message,
    /// The upstream's own session id.
    pub session: Option<String>,
}

impl Work {
    /// The server as the snapshot declares it.
    pub fn server(&self) -> &Server {
        &self.endpoint.server
    }
}

/// Takes a message through decision, record, recheck and upstream to its answer.
///
/// # Errors
/// [`Refusal`] when it was not forwarded and has no record yet.
pub async fn run(trail: &mut Trail, mut work: Work) -> Result<Answer, Refusal> {
    let id = work.message.id().cloned();
    for _ in 0..ATTEMPTS {
        let permit = decide(trail, &mut work).map_err(|refusal| for_message(refusal, &work.message))?;
        let written = trail.intent(&work.shared).await;
        let mut intent = written.map_err(|fault| no_record(&work.shared, &fault, id.clone()))?;
        let lease = match work.endpoint.upstream.checkout().await {
            Ok(lease) => lease,
            Err(fault) => return Ok(forward::unsent(permit, intent, work, &fault)),
        };
        // Nothing is awaited between this check and handing the request to the connection.
        let token_lives = work.identity.check_time(clock::now().unix_s()).is_ok();
        if token_lives && work.shared.generation() == work.live.generation {
            return Ok(forward::send(permit, intent, lease, work).await);
        }
        work.shared.counters.superseded.add();
        intent.close(End::unsent(Outcome::Superseded)).map_err(|fault| no_record(&work.shared, &fault, id.clone()))?;
        work.endpoint.upstream.put(lease);
        work.live = work.shared.live();
        trail.renew(Arc::clone(&work.live));
        let name = Arc::clone(&work.endpoint.name);
        (work.endpoint, work.identity) = arrival::identity(&work.live, &name, &work.head, trail)?;
    }
    Err(Refusal::new(Reason::Superseded, "The configuration kept changing while this was decided; try again.")
        .with_id(id))
}

/// The decision, or the refusal that follows from it.
fn decide(trail: &mut Trail, work: &mut Work) -> Result<Permit, Refusal> {
    let class = work.message.class(work.server());
    trail.message(&work.message, work.head.session.is_some(), class);
    let caller = work.identity.caller()?;
    let presented = work.head.session.as_deref();
    let bound = matches!(work.message.era(), Era::Session);
    work.session = match presented {
        Some(presented) if bound => Some(session::open(&work.live.seal, &work.endpoint.name, caller, presented)?),
        None if matches!(work.message, Message::SessionEnd) => return Err(session::unknown()),
        _ => None,
    };
    let facts = facts(trail, work, class)?;
    let decision = work.live.snapshot.decide(&facts, Memory::On);
    trail.decided(Arc::clone(&decision.finding), decision.recorded_json);
    match decision.verdict {
        Verdict::Allow(permit) => Ok(permit),
        Verdict::Deny(reason) => Err(verdict::refusal(reason, &work.message, work.server(), &decision.finding)),
    }
}

fn facts(trail: &Trail, work: &Work, class: Class) -> Result<Facts, Refusal> {
    let mut facts = work.identity.facts(&work.endpoint.name, work.message.method())?;
    facts.tool = work.message.tool().map(str::to_owned);
    if work.message.is_call() {
        facts.arguments = Some(Arc::new(work.message.arguments().cloned().unwrap_or_else(Object::new).into()));
    }
    facts.request = Some(trail.request_facts(&work.head));
    facts.class = Some(class);
    facts.time = Some(clock::now().unix_s());
    Ok(facts)
}

/// The refusal as this kind of message is told it: a notification gets no JSON-RPC answer.
pub fn for_message(mut refusal: Refusal, message: &Message) -> Refusal {
    if let (Message::Notification(notification), Some(4000..=4999)) = (message, refusal.code) {
        refusal.code = None;
        refusal.status = match notification.era {
            Era::Session => 202,
            Era::Stateless => 403,
        };
    }
    refusal.with_id(message.id().cloned())
}

/// The refusal for a request that cannot be recorded: it is not forwarded.
pub fn no_record(shared: &Shared, fault: &JournalError, id: Option<Id>) -> Refusal {
    shared.counters.journal_faults.add();
    shared.events.push(Event::JournalFailed, &fault.to_string());
    unrecorded(id)
}

/// The same, where the fault has been reported already.
pub fn unrecorded(id: Option<Id>) -> Refusal {
    Refusal::new(Reason::Journal, "No record of this request can be written, so it was not forwarded; try again later.")
        .with_id(id)
}
