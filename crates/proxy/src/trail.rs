//! What is known of one request so far, and the records that are made of it.
//!
//! Every stage adds what it found. A refusal, at whatever stage, is recorded with all that was known by then; an
//! allowed message gets an intent before it is forwarded and an outcome when it is over, under one id.

mod intent;
mod said;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request};
use ostiary_core::audit::{self, Draft, Json, Kind, Record, Rule};
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::facts::{self, Class};
use ostiary_core::head::frame::Refused;
use ostiary_core::head::{Head, forwarded};
use ostiary_core::json::{self, Object};
use ostiary_core::mcp::round::Ask;
use ostiary_core::mcp::{Era, Target};
use ostiary_core::policy::{Finding, Remedy, RuleRef, Shadow};
use ostiary_core::snapshot::{Durability, Refusals};

use crate::clock::{self, Moment};
use crate::identity::Identity;
use crate::journal::JournalError;
use crate::message::Message;
use crate::respond::Asked;
use crate::state::{Endpoint, Live, Shared};
use said::{About, Arguments, Origin, RECORDED_ARGUMENTS, clipped, without_arguments};

pub use intent::{End, Intent};

/// The field in which proxies say where a request came from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One request on its way through the stages.
#[derive(Debug)]
pub struct Trail {
    id: String,
    arrived: Moment,
    live: Arc<Live>,
    origin: Arc<Origin>,
    endpoint: Option<Endpoint>,
    identity: Option<Arc<Identity>>,
    said: Option<Said>,
    found: Option<Found>,
    refused_method: Option<String>,
    /// Why the request was refused before it was looked at: by the door, or for what a proxy said of its source.
    turned_away: Option<Refusal>,
}

/// What is asked for.
#[derive(Debug)]
struct Said {
    mcp_method: String,
    about: About,
    class: Class,
    era: &'static str,
    session: bool,
    arguments: Arguments,
    call: bool,
    stateless: bool,
}

/// What the policy found.
#[derive(Debug)]
struct Found {
    finding: Arc<Finding>,
    facts: Arc<[u8]>,
}

impl Trail {
    /// The trail of a request that has just arrived, or of what stands for one that the door refused.
    pub fn new<B>(arrived: Moment, live: Arc<Live>, peer: SocketAddr, request: &mut Request<B>) -> Self {
        let refused = request.extensions_mut().remove::<Box<Refused>>();
        // What could not be read is not in the record.
        let legible = refused.as_ref().is_none_or(|refused| !refused.method.is_empty());
        let forwarded = request.headers().get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let source = forwarded::source(peer.ip(), &live.snapshot.gateway.trusted_proxies, forwarded);
        let (ip, untold) = source.map_or_else(|refusal| (peer.ip().to_canonical(), Some(refusal)), |ip| (ip, None));
        Self {
            id: clock::decision_id(),
            arrived,
            live,
            origin: Arc::new(Origin {
                ip: ip.to_string(),
                method: if legible { clipped(request.method().as_str()) } else { String::new() },
                path: if legible { clipped(request.uri().path()) } else { String::new() },
                ..Origin::default()
            }),
            endpoint: None,
            identity: None,
            said: None,
            found: None,
            refused_method: None,
            turned_away: refused.map(|refused| refused.refusal).or(untold),
        }
    }

    /// Ends here what was refused before it was looked at.
    ///
    /// # Errors
    /// [`Refusal`], as it was found.
    pub fn admitted(&mut self) -> Result<(), Refusal> {
        self.turned_away.take().map_or(Ok(()), Err)
    }

    /// The snapshot that this request was met with.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// The decision id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The address of the caller, as far as trusted proxies tell.
    pub fn source(&self) -> &str {
        &self.origin.ip
    }

    /// What came with the HTTP request, as facts.
    pub fn request_facts(&self, head: &Head) -> facts::Request {
        self.origin.facts(head)
    }

    /// Adds what the head says.
    pub fn head(&mut self, head: &Head) {
        let origin = Arc::make_mut(&mut self.origin);
        origin.user_agent = head.user_agent.as_deref().map(clipped);
        origin.traceparent.clone_from(&head.traceparent);
    }

    /// Adds where it goes.
    pub fn endpoint(&mut self, endpoint: &Endpoint) {
        self.endpoint = Some(endpoint.clone());
    }

    /// Adds who calls.
    pub fn identity(&mut self, identity: &Arc<Identity>) {
        self.identity = Some(Arc::clone(identity));
    }

    /// Adds what is asked for.
    pub fn message(&mut self, message: &Message, session: bool, class: Class) {
        let arguments = if message.has_arguments() {
            let empty = Object::new();
            Arguments::of(message.arguments().unwrap_or(&empty), &self.live)
        } else {
            Arguments::default()
        };
        self.said = Some(Said {
            mcp_method: clipped(message.method()),
            about: About::of(message.target()),
            class,
            era: era_word(message.era()),
            session,
            arguments,
            call: message.is_call() && self.live.snapshot.gateway.refusals == Refusals::Result,
            stateless: message.era() == Era::Stateless,
        });
    }

    /// The trail of a request that the server of `intent` makes of its client.
    pub fn of_ask(intent: &Intent, live: Arc<Live>, ask: Ask<'_>, era: Era) -> Self {
        let empty = Object::new();
        let arguments = Arguments::of(ask.params.unwrap_or(&empty), &live);
        Self {
            id: clock::decision_id(),
            arrived: clock::now(),
            live,
            origin: Arc::clone(&intent.origin),
            endpoint: intent.endpoint.clone(),
            identity: intent.identity.clone(),
            said: Some(Said {
                mcp_method: clipped(ask.method),
                about: intent.about.clone(),
                class: intent.class.unwrap_or(Class::Read),
                era: era_word(era),
                session: false,
                arguments,
                call: false,
                stateless: era == Era::Stateless,
            }),
            found: None,
            refused_method: None,
            turned_away: None,
        }
    }

    /// The trail of one resource among those that a message names.
    pub fn of_part(&self, uri: &str) -> Self {
        Self {
            id: clock::decision_id(),
            arrived: self.arrived,
            live: Arc::clone(&self.live),
            origin: Arc::clone(&self.origin),
            endpoint: self.endpoint.clone(),
            identity: self.identity.clone(),
            said: self.said.as_ref().map(|said| Said {
                mcp_method: said.mcp_method.clone(),
                about: About::of(Target::Resource(uri)),
                arguments: Arguments::default(),
                ..*said
            }),
            found: None,
            refused_method: None,
            turned_away: None,
        }
    }

    /// Adds the method of a body that was refused as a message, where it says one. For the record only.
    pub fn unread(&mut self, body: &[u8]) {
        let parsed = json::parse(body, &json::Limits::DEFAULT).ok();
        self.refused_method = parsed.as_ref().and_then(|value| value.get("method")?.as_str()).map(clipped);
    }

    /// Adds what the policy found.
    pub fn decided(&mut self, finding: Arc<Finding>, facts: Arc<[u8]>) {
        let facts = if facts.len() > RECORDED_ARGUMENTS { without_arguments(&facts).into() } else { facts };
        self.found = Some(Found { finding, facts });
    }

    /// Starts over under a new id and snapshot, keeping what the caller sent.
    pub fn renew(&mut self, live: Arc<Live>) {
        self.id = clock::decision_id();
        self.live = live;
        // Who called stays known until the token is judged anew: a refusal in between is no anonymous one.
        self.found = None;
    }

    /// What the answer to a refusal needs to know.
    pub fn asked(&self) -> Asked<'_> {
        let scopes = match self.found.as_ref().and_then(|found| found.finding.remedy.as_ref()) {
            Some(Remedy::Scope(scopes)) => scopes.as_slice(),
            None => &[],
        };
        Asked {
            decision: &self.id,
            metadata: self.endpoint.as_ref().map(|endpoint| &*endpoint.metadata),
            as_result: self.said.as_ref().filter(|said| said.call).map(|said| said.stateless),
            scopes,
            first_scopes: self.live.snapshot.gateway.first_scopes(),
            allow: match self.live.snapshot.control.path(&self.origin.path) {
                Some(known) => known.allow(),
                None if self.origin.path.starts_with("/mcp/") => "GET, POST, DELETE",
                None => "GET, HEAD",
            },
        }
    }

    /// Whether a record of this request has to be on disk before anything follows.
    fn needs_disk(&self) -> bool {
        match self.live.snapshot.audit.durability {
            Durability::Disk => true,
            Durability::Os => false,
            Durability::ByClass => {
                self.said.as_ref().is_some_and(|said| matches!(said.class, Class::Update | Class::Admin))
            }
        }
    }

    /// Records a refusal.
    ///
    /// # Errors
    /// [`JournalError`] when no record can be written.
    pub async fn deny(&self, shared: &Shared, refusal: &Refusal) -> Result<(), JournalError> {
        let Some(draft) = self.denial(shared, refusal) else { return Ok(()) };
        if self.live.snapshot.audit.durability == Durability::Disk {
            shared.journal.append_disk(draft).await
        } else {
            shared.journal.append_os(draft)
        }
    }

    /// The same at once, handed to the operating system: for what a server asks while its stream is being read.
    ///
    /// # Errors
    /// As [`Trail::deny`].
    pub fn deny_now(&self, shared: &Shared, refusal: &Refusal) -> Result<(), JournalError> {
        self.denial(shared, refusal).map_or(Ok(()), |draft| shared.journal.append_os(draft))
    }

    /// The record of a refusal, unless it is one of too many without an identity.
    fn denial(&self, shared: &Shared, refusal: &Refusal) -> Option<Draft> {
        if self.identity.is_none() {
            shared.counters.rejected.add();
            if !shared.denials.singly(refusal.reason) {
                return None;
            }
        } else {
            shared.counters.denied.add();
        }
        Some(self.with_record(Kind::Deny, shared.journal.gateway(), |mut record| {
            record.decision = Some("deny");
            record.reason = Some(refusal.reason.as_str());
            record.draft()
        }))
    }

    /// Records that the message is about to be forwarded, as durably as its class asks for.
    ///
    /// # Errors
    /// [`JournalError`] when no record can be written; then nothing may be forwarded.
    pub async fn intent(&self, shared: &Arc<Shared>) -> Result<Intent, JournalError> {
        let (draft, mut intent) = self.allowed(shared);
        let written =
            if self.needs_disk() { shared.journal.append_disk(draft).await } else { shared.journal.append_os(draft) };
        intent.written(written)?;
        Ok(intent)
    }

    /// The same at once, handed to the operating system: for what a server asks while its stream is being read.
    ///
    /// # Errors
    /// As [`Trail::intent`].
    pub fn intent_now(&self, shared: &Arc<Shared>) -> Result<Intent, JournalError> {
        let (draft, mut intent) = self.allowed(shared);
        intent.written(shared.journal.append_os(draft))?;
        Ok(intent)
    }

    fn allowed(&self, shared: &Arc<Shared>) -> (Draft, Intent) {
        let draft = self.with_record(Kind::Intent, shared.journal.gateway(), |mut record| {
            record.decision = Some("allow");
            record.draft()
        });
        let said = self.said.as_ref();
        let intent = Intent {
            shared: Arc::clone(shared),
            live: Arc::clone(&self.live),
            id: self.id.clone(),
            arrived: self.arrived,
            identity: self.identity.clone(),
            endpoint: self.endpoint.clone(),
            origin: Arc::clone(&self.origin),
            mcp_method: said.map(|said| said.mcp_method.clone()),
            about: said.map(|said| said.about.clone()).unwrap_or_default(),
            class: said.map(|said| said.class),
            args_sha256: said.and_then(|said| said.arguments.digest.clone()),
            // From here on: a caller that goes away during the sync leaves a written intent, which needs its outcome.
            open: true,
        };
        (draft, intent)
    }

    fn with_record<T>(&self, kind: Kind, gateway: &str, finish: impl FnOnce(Record<'_>) -> T) -> T {
        let mut record = Record::new(kind, &self.id, self.arrived.unix_ms, gateway, &self.live.snapshot.digest);
        record.ms = self.arrived.elapsed_ms();
        record.request = audit::Request {
            ip: Some(&self.origin.ip),
            method: Some(self.origin.method.as_str()).filter(|method| !method.is_empty()),
            path: Some(self.origin.path.as_str()).filter(|path| !path.is_empty()),
            user_agent: self.origin.user_agent.as_deref(),
            traceparent: self.origin.traceparent.as_deref(),
            era: self.said.as_ref().map(|said| said.era),
            session: self.said.as_ref().filter(|said| said.session).map(|_| "sealed"),
        };
        record.server = self.endpoint.as_ref().map(|endpoint| &*endpoint.name);
        record.mcp_method = self.refused_method.as_deref();
        if let Some(identity) = &self.identity {
            identity.fill(&mut record);
        }
        if let Some(said) = &self.said {
            record.mcp_method = Some(&said.mcp_method);
            said.about.fill(&mut record);
            record.action = Some(said.class.as_str());
            let arguments = &said.arguments;
            record.args_sha256 = arguments.recorded_digest.as_deref().or(arguments.digest.as_deref());
            match (&arguments.redacted, &arguments.canonical) {
                (Some((text, paths)), _) => {
                    record.args = Json::Canonical(text);
                    record.redacted = Some(paths);
                }
                (None, Some(text)) => record.args = Json::Canonical(text),
                (None, None) => {}
            }
        }
        let Some(found) = &self.found else { return finish(record) };
        let finding = &found.finding;
        let rules: Vec<Rule<'_>> = finding.rules.iter().map(|rule| recorded(rule)).collect();
        record.rules = &rules;
        let shadow = finding.shadow.as_ref().map(Shadow::to_json);
        record.shadow = shadow.as_ref().map_or(Json::Null, Json::Value);
        let remedy = finding.remedy.as_ref().map(Remedy::to_json);
        record.remedy = remedy.as_ref().map_or(Json::Null, Json::Value);
        record.facts = Json::Canonical(&found.facts);
        finish(record)
    }
}

fn era_word(era: Era) -> &'static str {
    match era {
        Era::Session => "session",
        Era::Stateless => "stateless",
    }
}

fn recorded(rule: &RuleRef) -> Rule<'_> {
    Rule { name: &rule.name, file: &rule.file, line: rule.line, owner: rule.owner.as_deref() }
}

/// Records `count` refusals of one reason that came too fast to be recorded one by one.
///
/// # Errors
/// [`JournalError`] when it cannot be written.
pub fn aggregated(shared: &Shared, at: Moment, reason: Reason, count: u64) -> Result<(), JournalError> {
    let live = shared.live();
    let id = clock::decision_id();
    let mut record = Record::new(Kind::Deny, &id, at.unix_ms, shared.journal.gateway(), &live.snapshot.digest);
    record.decision = Some("deny");
    record.reason = Some(reason.as_str());
    record.count = Some(count);
    shared.journal.append_os(record.draft())
}
