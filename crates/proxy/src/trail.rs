//! What is known of one request so far, and the records that are made of it.
//!
//! Every stage adds what it found. A refusal, at whatever stage, is recorded with all that was known by then; an
//! allowed message gets an intent before it is forwarded and an outcome when it is over, under one id.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request};
use ostiary_core::audit::{self, Json, Kind, Outcome, Record, Redacted, Redaction, Rule};
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::facts::{self, Class};
use ostiary_core::head::frame::Refused;
use ostiary_core::head::{Head, forwarded};
use ostiary_core::json::{self, Object, Value};
use ostiary_core::mcp::Era;
use ostiary_core::policy::{Finding, Remedy, RuleRef, Shadow};
use ostiary_core::snapshot::{Durability, Redact, Refusals};

use crate::clock::{self, Moment};
use crate::identity::Identity;
use crate::journal::JournalError;
use crate::message::Message;
use crate::respond::Asked;
use crate::state::{Endpoint, Live, Shared};

/// The field in which proxies say where a request came from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The longest request path, user agent or tool name that a refusal's record repeats, in bytes.
const RECORDED_TEXT: usize = 1_024;

/// The largest canonical arguments that a record repeats, in bytes; of larger ones it keeps the digest, so that nobody
/// fills the disk with calls that are refused.
const RECORDED_ARGUMENTS: usize = 64 * 1024;

/// One request on its way through the stages.
#[derive(Debug)]
pub struct Trail {
    id: String,
    arrived: Moment,
    live: Arc<Live>,
    ip: String,
    method: String,
    path: String,
    user_agent: Option<String>,
    traceparent: Option<String>,
    endpoint: Option<Endpoint>,
    identity: Option<Arc<Identity>>,
    said: Option<Said>,
    found: Option<Found>,
    refused_method: Option<String>,
    /// Why the request was refused before it was looked at: by the door, or for what a proxy said of its source.
    turned_away: Option<Refusal>,
}

/// What the caller asked for.
#[derive(Debug)]
struct Said {
    mcp_method: String,
    tool: Option<String>,
    class: Class,
    era: &'static str,
    session: bool,
    /// RFC 8785 text of the arguments.
    canonical: Option<Vec<u8>>,
    redacted: Option<(Vec<u8>, Vec<String>)>,
    digest: Option<String>,
    recorded_digest: Option<String>,
    call: bool,
    stateless: bool,
}

/// What the policy found.
#[derive(Debug)]
struct Found {
    finding: Arc<Finding>,
    facts: Arc<[u8]>,
}

fn clipped(text: &str) -> String {
    let mut end = text.len().min(RECORDED_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
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
            ip: ip.to_string(),
            method: if legible { clipped(request.method().as_str()) } else { String::new() },
            path: if legible { clipped(request.uri().path()) } else { String::new() },
            user_agent: None,
            traceparent: None,
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

    /// What came with the HTTP request, as facts.
    pub fn request_facts(&self, head: &Head) -> facts::Request {
        facts::Request {
            ip: Some(self.ip.clone()),
            method: Some(self.method.clone()),
            path: Some(self.path.clone()),
            headers: None,
            origin: head.origin.clone(),
            user_agent: self.user_agent.clone(),
        }
    }

    /// Adds what the head says.
    pub fn head(&mut self, head: &Head) {
        self.user_agent = head.user_agent.as_deref().map(clipped);
        self.traceparent.clone_from(&head.traceparent);
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
        let snapshot = &self.live.snapshot;
        let mut canonical = None;
        let mut redacted = None;
        let mut digest = None;
        let mut recorded_digest = None;
        if message.is_call() {
            let empty = Object::new();
            let arguments = message.arguments().unwrap_or(&empty);
            let mut text = Vec::with_capacity(128);
            json::canonical_object(arguments, &mut text);
            let plain = audit::args_sha256(&text);
            let redacted_now = if text.len() > RECORDED_ARGUMENTS {
                Redaction::new(&Redact::All).arguments(arguments)
            } else {
                self.live.redaction.arguments(arguments)
            };
            if let Some(Redacted { value, paths }) = redacted_now {
                let mut rest = Vec::new();
                json::canonical(&value, &mut rest);
                redacted = Some((rest, paths));
                recorded_digest = Some(audit::args_sha256_keyed(&self.live.digest_key, &text));
            }
            digest = Some(plain);
            canonical = Some(text);
        }
        self.said = Some(Said {
            mcp_method: clipped(message.method()),
            tool: message.tool().map(clipped),
            class,
            era: era_word(message),
            session,
            canonical,
            redacted,
            digest,
            recorded_digest,
            call: message.is_call() && snapshot.gateway.refusals == Refusals::Result,
            stateless: message.era() == Era::Stateless,
        });
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
            allow: if self.path.starts_with("/mcp/") { "POST, DELETE" } else { "GET, HEAD" },
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
        if self.identity.is_none() {
            shared.counters.rejected.add();
            if !shared.denials.singly(refusal.reason) {
                return Ok(());
            }
        } else {
            shared.counters.denied.add();
        }
        let draft = self.with_record(Kind::Deny, shared.journal.gateway(), |mut record| {
            record.decision = Some("deny");
            record.reason = Some(refusal.reason.as_str());
            record.draft()
        });
        if self.live.snapshot.audit.durability == Durability::Disk {
            shared.journal.append_disk(draft).await
        } else {
            shared.journal.append_os(draft)
        }
    }

    /// Records that the message is about to be forwarded, as durably as its class asks for.
    ///
    /// # Errors
    /// [`JournalError`] when no record can be written; then nothing may be forwarded.
    pub async fn intent(&self, shared: &Arc<Shared>) -> Result<Intent, JournalError> {
        let draft = self.with_record(Kind::Intent, shared.journal.gateway(), |mut record| {
            record.decision = Some("allow");
            record.draft()
        });
        let mut intent = Intent {
            shared: Arc::clone(shared),
            live: Arc::clone(&self.live),
            id: self.id.clone(),
            arrived: self.arrived,
            identity: self.identity.clone(),
            endpoint: self.endpoint.clone(),
            mcp_method: self.said.as_ref().map(|said| said.mcp_method.clone()),
            tool: self.said.as_ref().and_then(|said| said.tool.clone()),
            class: self.said.as_ref().map(|said| said.class),
            args_sha256: self.said.as_ref().and_then(|said| said.digest.clone()),
            // From here on: a caller that goes away during the sync leaves a written intent, which needs its outcome.
            open: true,
        };
        let written =
            if self.needs_disk() { shared.journal.append_disk(draft).await } else { shared.journal.append_os(draft) };
        if let Err(fault) = written {
            intent.open = false;
            return Err(fault);
        }
        Ok(intent)
    }

    fn with_record<T>(&self, kind: Kind, gateway: &str, finish: impl FnOnce(Record<'_>) -> T) -> T {
        let mut record = Record::new(kind, &self.id, self.arrived.unix_ms, gateway, &self.live.snapshot.digest);
        record.ms = self.arrived.elapsed_ms();
        record.request = audit::Request {
            ip: Some(&self.ip),
            method: Some(self.method.as_str()).filter(|method| !method.is_empty()),
            path: Some(self.path.as_str()).filter(|path| !path.is_empty()),
            user_agent: self.user_agent.as_deref(),
            traceparent: self.traceparent.as_deref(),
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
            record.tool = said.tool.as_deref();
            record.action = Some(said.class.as_str());
            record.args_sha256 = said.recorded_digest.as_deref().or(said.digest.as_deref());
            match (&said.redacted, &said.canonical) {
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

fn era_word(message: &Message) -> &'static str {
    match message.era() {
        Era::Session => "session",
        Era::Stateless => "stateless",
    }
}

/// Facts whose arguments are too large to be recorded. Replay then says `unknown` where a rule read one.
fn without_arguments(facts: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut facts = json::parse(facts, &json::Limits::DEFAULT).unwrap_or(Value::Null);
    if let Some(arguments) = facts.as_object_mut().and_then(|facts| facts.get_mut("arguments")) {
        let mut mark = Object::new();
        mark.insert("redacted", true.into());
        *arguments = Value::Object(mark);
    }
    json::canonical(&facts, &mut out);
    out
}

fn recorded(rule: &RuleRef) -> Rule<'_> {
    Rule { name: &rule.name, file: &rule.file, line: rule.line, owner: rule.owner.as_deref() }
}

/// How a forwarded message ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub outcome: Outcome,
    /// HTTP status of the upstream, if it answered.
    pub status: Option<u16>,
    /// Milliseconds from sending to the end of the answer.
    pub upstream_ms: Option<u64>,
    /// Bytes of the upstream's body.
    pub bytes: Option<u64>,
}

impl End {
    /// An end before anything was sent.
    #[must_use]
    pub fn unsent(outcome: Outcome) -> Self {
        Self { outcome, status: None, upstream_ms: None, bytes: None }
    }
}

/// A recorded intent that still needs its outcome. Dropping it records the call as cancelled.
#[derive(Debug)]
pub struct Intent {
    shared: Arc<Shared>,
    live: Arc<Live>,
    id: String,
    arrived: Moment,
    identity: Option<Arc<Identity>>,
    endpoint: Option<Endpoint>,
    mcp_method: Option<String>,
    tool: Option<String>,
    class: Option<Class>,
    args_sha256: Option<String>,
    open: bool,
}

impl Intent {
    /// The decision id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Digest of the canonical arguments of a call, in base64url.
    pub fn args_sha256(&self) -> Option<&str> {
        self.args_sha256.as_deref()
    }

    /// Records a request of the upstream to the client, which is not passed on.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be written.
    pub fn asked(&self, id: &str, method: &str) -> Result<(), JournalError> {
        let gateway = self.shared.journal.gateway();
        let mut record = Record::new(Kind::Deny, id, clock::now().unix_ms, gateway, &self.live.snapshot.digest);
        if let Some(identity) = &self.identity {
            identity.fill(&mut record);
        }
        let method = clipped(method);
        record.server = self.endpoint.as_ref().map(|endpoint| &*endpoint.name);
        record.mcp_method = Some(&method);
        record.decision = Some("deny");
        record.reason = Some(Reason::UnknownMethod.as_str());
        self.shared.journal.append_os(record.draft())
    }

    /// Records the outcome: handed to the operating system when this returns.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be written; the message has been dealt with all the same.
    pub fn close(&mut self, end: End) -> Result<(), JournalError> {
        self.open = false;
        let gateway = self.shared.journal.gateway();
        let mut record =
            Record::new(Kind::Outcome, &self.id, clock::now().unix_ms, gateway, &self.live.snapshot.digest);
        record.ms = self.arrived.elapsed_ms();
        if let Some(identity) = &self.identity {
            identity.fill(&mut record);
        }
        record.server = self.endpoint.as_ref().map(|endpoint| &*endpoint.name);
        record.mcp_method = self.mcp_method.as_deref();
        record.tool = self.tool.as_deref();
        record.action = self.class.map(Class::as_str);
        record.decision = Some("allow");
        record.outcome = Some(end.outcome);
        record.upstream = self.endpoint.as_ref().map(|endpoint| audit::Upstream {
            url: endpoint.upstream.url(),
            status: end.status,
            ms: end.upstream_ms,
            bytes: end.bytes,
        });
        let written = self.shared.journal.append_os(record.draft());
        if let Err(fault) = &written {
            self.shared.counters.journal_faults.add();
            self.shared.events.push(crate::events::Event::JournalFailed, &fault.to_string());
        }
        written
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if self.open {
            self.shared.counters.cancelled.add();
            // Whoever could be told is gone; the failure is counted and reported as an event.
            let _ = self.close(End::unsent(Outcome::Cancelled));
        }
    }
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
