//! One message under way: what its upstream request says, whether it still holds, and how it ends.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use ostiary_core::audit::Outcome;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::facts::{Class, Facts};
use ostiary_core::mcp::{Era, uri};
use ostiary_core::policy::{Memory, Permit, Verdict};
use ostiary_core::snapshot::Known;
use ostiary_core::token::{self, Assertion};

use crate::clock::{self, Moment};
use crate::dialogue::{self, Registered};
use crate::events::Event;
use crate::exchange::{self, Work};
use crate::forward;
use crate::message::{Message, Resumed};
use crate::quota::Slot;
use crate::respond::{self, Answer, Asked};
use crate::trail::{End, Intent};

pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("ostiary/", env!("CARGO_PKG_VERSION")));

/// One message under way: what its answer, its record and its connection need.
#[derive(Debug)]
pub struct Flight {
    pub permit: Permit,
    pub intent: Intent,
    pub work: Work,
    started: Moment,
    /// Whether the request was handed to a connection.
    pub sent: bool,
    pub status: Option<u16>,
    bytes: u64,
    /// Lets the caller cancel it, for as long as it is under way.
    registered: Option<Registered>,
    /// Its place among the caller's open streams.
    slot: Option<Slot>,
}

/// What an upstream request is for, and so what its token says.
#[derive(Debug)]
pub enum Purpose {
    /// The message that was permitted.
    Message,
    /// Answering, within that message's session, a request of the upstream's own. No call is made.
    Answer { id: String },
}

/// The upstream request could not be made.
pub fn unbuildable<E>(_: E) -> Refusal {
    Refusal::new(Reason::Internal, "The upstream request could not be built; nothing was sent.")
}

impl Flight {
    /// One message that is about to be sent.
    pub fn new(permit: Permit, intent: Intent, work: Work, slot: Option<Slot>) -> Self {
        let registered = dialogue::register(&work, intent.id());
        let started = clock::now();
        Self { permit, intent, work, started, sent: false, status: None, bytes: 0, registered, slot }
    }

    /// Builds an upstream request from what was decided: nothing of the caller's raw head or body is in it.
    pub fn request(&self, body: Bytes, purpose: &Purpose) -> Result<Request<Full<Bytes>>, Refusal> {
        let work = &self.work;
        if *self.permit.snapshot() != *work.live.snapshot.digest {
            // The recheck compared generations already; a permit of another snapshot opens nothing here either way.
            return Err(unbuildable(()));
        }
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = Uri::from(work.endpoint.upstream.target().clone());
        let (method, accept) = match (purpose, &work.message) {
            (Purpose::Message, Message::SessionEnd) => (Method::DELETE, BOTH),
            (Purpose::Message, Message::SessionStream(_)) => (Method::GET, EVENTS),
            _ => (Method::POST, BOTH),
        };
        let fields = request.headers_mut();
        fields.insert(HOST, work.endpoint.upstream.host().clone());
        fields.insert(USER_AGENT, AGENT);
        fields.insert(ACCEPT, accept);
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if method == Method::POST {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let (Purpose::Message, Message::SessionStream(Resumed { last_event: Some(event), .. })) =
            (purpose, &work.message)
        {
            fields.insert(LAST_EVENT, HeaderValue::from_str(event).map_err(unbuildable)?);
        }
        for (name, value) in work.message.upstream_headers(&work.head) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(unbuildable)?;
            fields.insert(name, HeaderValue::from_str(&value).map_err(unbuildable)?);
        }
        let trace = [
            ("traceparent", &work.head.traceparent),
            ("tracestate", &work.head.tracestate),
            ("baggage", &work.head.baggage),
        ];
        for (name, value) in trace {
            let Some(value) = value else { continue };
            fields.insert(HeaderName::from_static(name), HeaderValue::from_str(value).map_err(unbuildable)?);
        }
        if let Some(session) = &work.session {
            fields.insert(SESSION, HeaderValue::from_str(session).map_err(unbuildable)?);
        }
        match &work.server().identity {
            Known::Jwt => {
                let bearer = format!("Bearer {}", self.assertion(purpose)?);
                let mut value = HeaderValue::from_str(&bearer).map_err(unbuildable)?;
                value.set_sensitive(true);
                fields.insert(AUTHORIZATION, value);
            }
            Known::Credential { header, .. } => {
                let name = HeaderName::from_bytes(header.as_bytes()).map_err(unbuildable)?;
                fields.insert(name, work.endpoint.credential().map_err(|fault| forward::refusal_of(&fault))?.clone());
            }
            Known::Nobody => {}
        }
        *request.method_mut() = method;
        Ok(request)
    }

    /// The call's own JWT: who, for whom, which tool and which arguments, for this upstream and a minute.
    fn assertion(&self, purpose: &Purpose) -> Result<String, Refusal> {
        let work = &self.work;
        let (jti, tool, args_sha256) = match purpose {
            Purpose::Message => (self.intent.id(), work.message.tool(), self.intent.args_sha256()),
            Purpose::Answer { id } => (id.as_str(), None, None),
        };
        let caller = work.identity.caller()?;
        let claims = Assertion {
            iss: &work.live.snapshot.gateway.url,
            aud: work.endpoint.upstream.url(),
            sub: &caller.subject.id,
            client_id: caller.client_id.as_deref(),
            act: &caller.act,
            jti,
            server: &work.endpoint.name,
            tool,
            args_sha256,
            task: None,
            purpose: None,
        };
        Ok(token::mint(&work.live.signer, &claims, clock::now().unix_s()))
    }

    /// Why an answer is withheld although its call was allowed and sent.
    pub fn withheld(&self) -> Option<Refusal> {
        if self.work.identity.standing().is_revoked() {
            return Some(forward::revoked());
        }
        let shared = &self.work.shared;
        let changed = shared.generation() != self.work.live.generation;
        (changed && shared.live().snapshot.lockdown).then(|| {
            let message = "Everything is locked down, so the answer is withheld; the call may have run.";
            Refusal::new(Reason::Lockdown, message)
        })
    }

    /// Why an open stream must end although its message was allowed: the end of the token, its revocation, a lockdown,
    /// or rules that no longer allow it. The flight goes on under the snapshot that is in force now.
    pub fn overtaken(&mut self) -> Option<Refusal> {
        if let Err(refusal) = self.work.identity.check(clock::now().unix_s()) {
            return Some(refusal.with_code(401, 4030));
        }
        if let Some(refusal) = self.withheld() {
            return Some(refusal);
        }
        if self.work.message.stays_open()
            && let Err(refusal) = self.work.store_heard()
        {
            return Some(refusal);
        }
        if self.work.shared.generation() == self.work.live.generation {
            return None;
        }
        let live = self.work.shared.live();
        // A call that was sent is answered. What stays open has to be allowed still.
        if !self.work.message.stays_open() {
            return None;
        }
        let request = self.intent.request_facts(&self.work.head);
        match exchange::still_allowed(&mut self.work, request, live) {
            Ok(permit) => {
                self.permit = permit;
                None
            }
            Err(refusal) => Some(refusal),
        }
    }

    /// Whether the caller may read this resource, or hear of it, by what is in force now: a call may have been sent long ago.
    #[must_use]
    pub fn may_read(&self, uri: &str) -> bool {
        let work = &self.work;
        let live = work.shared.live();
        let Ok(facts) = exchange::facts(work, self.intent.request_facts(&work.head), Class::Read) else {
            return false;
        };
        let hearing = match work.message.era() {
            Era::Session => "resources/subscribe",
            Era::Stateless => "subscriptions/listen",
        };
        uri::is_normal(uri)
            && [hearing, "resources/read"].into_iter().any(|method| {
                let resource_uri = Some(uri.to_owned());
                let bare = Facts { tool: None, prompt: None, arguments: None, ..facts.clone() };
                let facts = Facts { mcp_method: method.to_owned(), resource_uri, class: Some(Class::Read), ..bare };
                matches!(live.snapshot.decide(&facts, Memory::On).verdict, Verdict::Allow(_))
            })
    }

    /// Counts bytes of the upstream's body.
    pub fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    fn end(&self, outcome: Outcome) -> End {
        End {
            outcome,
            status: self.status,
            upstream_ms: Some(self.started.elapsed_ms()),
            bytes: self.status.map(|_| self.bytes),
            reason: None,
        }
    }

    /// Records how it ended. If that cannot be recorded, the caller is told so instead of the answer.
    ///
    /// # Errors
    /// The refusal that says that the call was executed and its outcome is not recorded.
    pub fn close(&mut self, outcome: Outcome) -> Result<(), Refusal> {
        self.close_at(self.end(outcome))
    }

    fn close_at(&mut self, end: End) -> Result<(), Refusal> {
        self.intent.close(end).map_err(|_| {
            if !self.sent {
                return exchange::unrecorded(None);
            }
            let mut data = ostiary_core::json::Object::new();
            data.insert("executed", true.into());
            Refusal::new(Reason::Journal, "The call was executed, but its outcome could not be recorded.")
                .with_data(data.into())
        })
    }

    /// Ends the flight with a refusal for the caller.
    pub fn fail(&mut self, refusal: Refusal, outcome: Outcome) -> Answer {
        respond::refusal(&self.told(refusal, outcome), &self.asked())
    }

    /// The refusal that ends the flight, its outcome recorded.
    pub fn told(&mut self, refusal: Refusal, outcome: Outcome) -> Refusal {
        if outcome == Outcome::Upstream {
            self.work.shared.counters.upstream_faults.add();
            self.work.shared.events.push(Event::UpstreamFault, &refusal.message);
        }
        // Where it was cut short here, the record says why.
        let reason = (outcome == Outcome::Cancelled).then_some(refusal.reason);
        let refusal = self.close_at(End { reason, ..self.end(outcome) }).err().unwrap_or(refusal);
        // Whoever hears of the end may use the id and the place again.
        self.registered = None;
        self.slot = None;
        match &self.work.message {
            Message::Request(request) => refusal.with_id(Some(request.id.clone())),
            _ => Refusal { code: None, ..refusal },
        }
    }

    /// What the answer to a refusal needs to know.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            decision: self.intent.id(),
            metadata: Some(&self.work.endpoint.metadata),
            as_result: None,
            scopes: &[],
            first_scopes: self.work.live.snapshot.gateway.first_scopes(),
            allow: "GET, POST, DELETE",
        }
    }
}
