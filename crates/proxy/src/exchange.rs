//! One message from its decision to its answer: decide → journal intent → recheck → forward.

use std::sync::Arc;

use ostiary_core::audit::Outcome;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::facts::{self, Class, Facts};
use ostiary_core::head::Head;
use ostiary_core::json::Object;
use ostiary_core::mcp::{Era, Id, Target};
use ostiary_core::policy::{Memory, Permit, Verdict};
use ostiary_core::snapshot::Server;

use crate::arrival;
use crate::client_answer;
use crate::clock;
use crate::events::Event;
use crate::forward;
use crate::identity::Identity;
use crate::journal::JournalError;
use crate::message::Message;
use crate::opening;
use crate::quota;
use crate::respond::Answer;
use crate::state::{Endpoint, Live, Shared};
use crate::trail::{End, Trail};
use crate::verdict;

/// How often a call is decided anew when the configuration changes under it.
pub const ATTEMPTS: usize = 5;

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
    /// Whether the handles that the caller presented have been opened.
    pub opened: bool,
}

impl Work {
    /// The server as the snapshot declares it.
    pub fn server(&self) -> &Server {
        &self.endpoint.server
    }

    /// Whether what was decided still holds: the same snapshot in force, a token that lives and was not revoked, and a
    /// store that would say so.
    pub fn holds(&self) -> bool {
        holds(&self.shared, self.live.generation, &self.identity)
    }

    /// The same, to be asked when the message is gone.
    pub fn holding(&self) -> impl Fn() -> bool + use<> {
        let (shared, generation) = (Arc::clone(&self.shared), self.live.generation);
        let identity = Arc::clone(&self.identity);
        move || holds(&shared, generation, &identity)
    }

    /// Whether the store would say so if the caller were revoked.
    ///
    /// # Errors
    /// [`Refusal`] 5030 if not.
    pub fn store_heard(&self) -> Result<(), Refusal> {
        self.shared.revocations.heard(clock::now().monotonic)
    }
}

fn holds(shared: &Shared, generation: u64, identity: &Identity) -> bool {
    let now = clock::now();
    shared.generation() == generation
        && identity.check(now.unix_s()).is_ok()
        && shared.revocations.heard(now.monotonic).is_ok()
}

/// Takes a message through decision, record, recheck and upstream to its answer.
///
/// # Errors
/// [`Refusal`] when it was not forwarded and has no record yet.
pub async fn run(trail: &mut Trail, mut work: Work) -> Result<Answer, Refusal> {
    if matches!(work.message, Message::Response(..)) {
        // Boxed, like all that is rare: every request would have room for it otherwise.
        return Box::pin(client_answer::run(trail, work)).await;
    }
    let id = work.message.id().cloned();
    let mut slot = None;
    for _ in 0..ATTEMPTS {
        let permit = decide(trail, &mut work).map_err(|refusal| for_message(refusal, &work.message))?;
        if slot.is_none() {
            slot = quota::open_stream(&work).map_err(|refusal| for_message(refusal, &work.message))?;
        }
        let written = trail.intent(&work.shared).await;
        let mut intent = written.map_err(|fault| no_record(&work.shared, &fault, id.clone()))?;
        let lease = match work.endpoint.checkout().await {
            Ok(lease) => lease,
            Err(fault) => return Ok(forward::unsent(permit, intent, work, &fault)),
        };
        // Nothing is awaited between this check and handing the request to the connection.
        if work.holds() {
            return Ok(forward::send(permit, intent, lease, work, slot.take()).await);
        }
        work.shared.counters.superseded.add();
        intent.close(End::unsent(Outcome::Superseded)).map_err(|fault| no_record(&work.shared, &fault, id.clone()))?;
        work.endpoint.upstream.put(lease);
        renew(trail, &mut work)?;
    }
    Err(Refusal::new(Reason::Superseded, "The configuration kept changing while this was decided; try again.")
        .with_id(id))
}

/// Goes over to the snapshot that is in force now.
///
/// # Errors
/// As [`arrival::identity`].
pub fn renew(trail: &mut Trail, work: &mut Work) -> Result<(), Refusal> {
    work.live = work.shared.live();
    trail.renew(Arc::clone(&work.live));
    let name = Arc::clone(&work.endpoint.name);
    (work.endpoint, work.identity) = arrival::identity(&work.live, &name, &work.head, trail, &work.shared)?;
    Ok(())
}

/// The decision, or the refusal that follows from it.
fn decide(trail: &mut Trail, work: &mut Work) -> Result<Permit, Refusal> {
    let class = work.message.class(work.server());
    trail.message(&work.message, work.head.session.is_some(), class);
    work.store_heard()?;
    opening::handles(work)?;
    let facts = facts(work, trail.request_facts(&work.head), class)?;
    let decision = work.live.snapshot.decide(&facts, Memory::On);
    trail.decided(Arc::clone(&decision.finding), decision.recorded_json);
    match decision.verdict {
        Verdict::Allow(permit) => {
            opening::narrow(trail, work, &facts)?;
            Ok(permit)
        }
        Verdict::Deny(reason) => Err(verdict::refusal(reason, &work.message, work.server(), &decision.finding)),
    }
}

/// What the decision on the message of `work` is made of.
///
/// # Errors
/// As [`Identity::caller`].
pub fn facts(work: &Work, request: facts::Request, class: Class) -> Result<Facts, Refusal> {
    let mut facts = work.identity.facts(&work.endpoint.name, work.message.method())?;
    match work.message.target() {
        Target::None => {}
        Target::Tool(tool) => facts.tool = Some(tool.to_owned()),
        Target::Prompt(prompt) => facts.prompt = Some(prompt.to_owned()),
        Target::Resource(uri) => facts.resource_uri = Some(uri.to_owned()),
    }
    if work.message.has_arguments() {
        facts.arguments = Some(Arc::new(work.message.arguments().cloned().unwrap_or_else(Object::new).into()));
    }
    facts.request = Some(request);
    facts.class = Some(class);
    facts.time = Some(clock::now().unix_s());
    Ok(facts)
}

/// Decides a message that stays open anew, under the snapshot that is in force now.
///
/// # Errors
/// [`Refusal`] when it is not allowed any more, or its server is another one now.
pub fn still_allowed(work: &mut Work, request: facts::Request, live: Arc<Live>) -> Result<Permit, Refusal> {
    let gone = || Refusal::new(Reason::Superseded, "The configuration of the server changed; begin anew.");
    let endpoint = live.endpoint(&work.endpoint.name).cloned().ok_or_else(gone)?;
    if endpoint.upstream.url() != work.endpoint.upstream.url() {
        return Err(gone());
    }
    let bearer = work.head.bearer.as_deref().unwrap_or_default();
    let now_s = clock::now().unix_s();
    work.identity = Identity::of(&live, &endpoint, bearer, now_s, &work.shared.revocations)?;
    work.identity.check(now_s)?;
    work.endpoint = endpoint;
    work.live = live;
    let facts = facts(work, request, work.message.class(work.server()))?;
    let decision = work.live.snapshot.decide(&facts, Memory::On);
    match decision.verdict {
        Verdict::Allow(permit) => Ok(permit),
        Verdict::Deny(reason) => Err(verdict::refusal(reason, &work.message, work.server(), &decision.finding)),
    }
}

/// The refusal as this kind of message is told it: a notification or a response gets no JSON-RPC answer.
pub fn for_message(mut refusal: Refusal, message: &Message) -> Refusal {
    let denied = matches!(refusal.code, Some(4000..=4999));
    let unasked = matches!(message, Message::Notification(_)) && refusal.reason == Reason::NotOpen;
    match message {
        Message::Notification(_) | Message::Response(..) if denied || unasked => {
            refusal.code = None;
            refusal.status = match message.era() {
                Era::Session => 202,
                Era::Stateless => 403,
            };
        }
        // A stream is asked for by HTTP alone.
        Message::SessionStream(_) if denied => {
            refusal.code = None;
            refusal.status = if refusal.reason == Reason::Limit { 429 } else { 403 };
        }
        _ => {}
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
