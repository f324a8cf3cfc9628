//! Sends one permitted message upstream and turns what comes back into the caller's answer.
//!
//! Only this module writes to an upstream, and it takes a [`Permit`], which only the policy can make.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use ostiary_core::audit::Outcome;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::mcp::{self, Era, Id};
use ostiary_core::policy::Permit;
use ostiary_core::token::{self, Assertion};

use crate::body::AnswerBody;
use crate::clock::{self, Moment};
use crate::exchange::{self, Work};
use crate::message::Message;
use crate::reply;
use crate::respond::{self, Answer, Asked};
use crate::session;
use crate::stream::EventStream;
use crate::trail::{End, Intent};
use crate::upstream::{Fault, Lease};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("ostiary/", env!("CARGO_PKG_VERSION")));
/// The longest session id taken from an upstream, in bytes.
const SESSION_BYTES: usize = 1_024;

/// One message under way: what its answer, its record and its connection need.
#[derive(Debug)]
pub struct Flight {
    pub permit: Permit,
    pub intent: Intent,
    pub work: Work,
    started: Moment,
    /// Whether the request was handed to a connection.
    sent: bool,
    status: Option<u16>,
    bytes: u64,
}

/// What an upstream request is for, and so what its token says.
#[derive(Debug)]
enum Purpose {
    /// The message that was permitted.
    Message,
    /// Telling the upstream, within that message's session, that its own request is not served. No call is made.
    Refusal { id: String },
}

/// Sends the message on `lease` and answers the caller; the outcome is recorded when the answer is complete.
///
/// Cancel safe: dropping closes the upstream connection and records the call as cancelled.
pub async fn send(permit: Permit, intent: Intent, lease: Lease, work: Work) -> Answer {
    let mut flight = Flight { permit, intent, work, started: clock::now(), sent: false, status: None, bytes: 0 };
    let body = Bytes::from(flight.work.message.upstream_body(flight.intent.id()));
    let request = match flight.request(body, &Purpose::Message) {
        Ok(request) => request,
        Err(refusal) => return flight.fail(refusal, Outcome::Error),
    };
    flight.work.shared.counters.allowed.add();
    flight.sent = true;
    let upstream = std::sync::Arc::clone(&flight.work.endpoint.upstream);
    let timeout = Duration::from_secs(flight.work.server().timeout_s);
    let sent = upstream.send(lease, request, timeout, || flight.holds()).await;
    match sent {
        Ok((response, lease)) => flight.arrived(response, lease).await,
        Err(fault @ Fault::Changed) => flight.fail(refusal_of(&fault), Outcome::Superseded),
        Err(fault) => flight.fail(refusal_of(&fault), Outcome::Upstream),
    }
}

/// What the caller is told of an upstream that failed.
#[must_use]
pub fn refusal_of(fault: &Fault) -> Refusal {
    match fault {
        Fault::Timeout => late(),
        Fault::Address(_) | Fault::Connect(_) => {
            Refusal::new(Reason::Upstream, "The server cannot be reached; nothing was sent. Try again later.")
        }
        Fault::Changed => Refusal::new(
            Reason::Superseded,
            "The configuration changed before this was sent, so nothing was; try again.",
        ),
        Fault::Broken(_) => {
            Refusal::new(Reason::Upstream, "The server broke off before it answered; the call may have run.")
        }
    }
}

/// The server took too long.
#[must_use]
pub fn late() -> Refusal {
    Refusal::new(Reason::Upstream, "The server did not answer in time; the call may have run.").with_code(504, 5040)
}

/// The server's answer is not one that may reach a client.
#[must_use]
pub fn nonsense(what: &str) -> Refusal {
    Refusal::new(Reason::Upstream, format!("The server's answer was not passed on: {what}. The call may have run."))
}

fn unbuildable<E>(_: E) -> Refusal {
    Refusal::new(Reason::Internal, "The upstream request could not be built; nothing was sent.")
}

impl Flight {
    /// Builds an upstream request from what was decided: nothing of the caller's raw head or body is in it.
    fn request(&self, body: Bytes, purpose: &Purpose) -> Result<Request<Full<Bytes>>, Refusal> {
        let work = &self.work;
        if *self.permit.snapshot() != *work.live.snapshot.digest {
            // The recheck compared generations already; a permit of another snapshot opens nothing here either way.
            return Err(unbuildable(()));
        }
        let ends = matches!(work.message, Message::SessionEnd);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = if ends { Method::DELETE } else { Method::POST };
        *request.uri_mut() = Uri::from(work.endpoint.upstream.target().clone());
        let fields = request.headers_mut();
        fields.insert(HOST, work.endpoint.upstream.host().clone());
        fields.insert(USER_AGENT, AGENT);
        fields.insert(ACCEPT, BOTH);
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if !ends {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
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
        if work.server().takes_jwt() {
            let bearer = format!("Bearer {}", self.assertion(purpose)?);
            let mut value = HeaderValue::from_str(&bearer).map_err(unbuildable)?;
            value.set_sensitive(true);
            fields.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// The call's own JWT: who, for whom, which tool and which arguments, for this upstream and a minute.
    fn assertion(&self, purpose: &Purpose) -> Result<String, Refusal> {
        let work = &self.work;
        let (jti, tool, args_sha256) = match purpose {
            Purpose::Message => (self.intent.id(), work.message.tool(), self.intent.args_sha256()),
            Purpose::Refusal { id } => (id.as_str(), None, None),
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

    /// Whether what was decided still holds: the same snapshot in force, and a token that lives.
    fn holds(&self) -> bool {
        self.work.shared.generation() == self.work.live.generation
            && self.work.identity.check_time(clock::now().unix_s()).is_ok()
    }

    /// Why an open stream must end although its call was allowed: a lockdown, or the end of the token.
    pub fn overtaken(&self) -> Option<Refusal> {
        if let Err(refusal) = self.work.identity.check_time(clock::now().unix_s()) {
            return Some(refusal.with_code(401, 4030));
        }
        let changed = self.work.shared.generation() != self.work.live.generation;
        if changed && self.work.shared.live().snapshot.lockdown {
            let message = "Everything is locked down, so the answer is withheld; the call may have run.";
            return Some(Refusal::new(Reason::Lockdown, message));
        }
        None
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
        }
    }

    /// Records how it ended. If that cannot be recorded, the caller is told so instead of the answer.
    ///
    /// # Errors
    /// The refusal that says that the call was executed and its outcome is not recorded.
    pub fn close(&mut self, outcome: Outcome) -> Result<(), Refusal> {
        let end = self.end(outcome);
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
            self.work.shared.events.push(crate::events::Event::UpstreamFault, &refusal.message);
        }
        let refusal = self.close(outcome).err().unwrap_or(refusal);
        match &self.work.message {
            Message::Request(request) => refusal.with_id(Some(request.id.clone())),
            Message::Notification(_) | Message::SessionEnd => Refusal { code: None, ..refusal },
        }
    }

    /// What the answer to a refusal needs to know.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            decision: self.intent.id(),
            metadata: Some(&self.work.endpoint.metadata),
            as_result: None,
            scopes: &[],
            allow: "POST, DELETE",
        }
    }

    async fn arrived(mut self, response: Response<Incoming>, lease: Lease) -> Answer {
        let (parts, body) = response.into_parts();
        self.status = Some(parts.status.as_u16());
        let encoded = parts.headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes() != b"identity");
        if encoded {
            return self.fail(nonsense("it is compressed, which was not asked for"), Outcome::Upstream);
        }
        let form = form(&parts.headers);
        match (&self.work.message, parts.status, form) {
            (Message::Request(_), StatusCode::OK, Form::Json) => self.whole(&parts.headers, body, lease).await,
            (Message::Request(_), StatusCode::OK, Form::Events) => self.events(&parts.headers, body, lease),
            (Message::Request(_), StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND, Form::Json) => {
                self.failure(parts.status, body, lease).await
            }
            (
                Message::Request(_),
                StatusCode::BAD_REQUEST
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_ACCEPTABLE,
                _,
            ) if self.work.message.era() == Era::Stateless => self.only_sessions(),
            (Message::Notification(_), StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT, _) => {
                self.done(StatusCode::ACCEPTED, body, lease).await
            }
            (Message::SessionEnd, StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _) => {
                self.done(StatusCode::NO_CONTENT, body, lease).await
            }
            (Message::SessionEnd, StatusCode::METHOD_NOT_ALLOWED, _) => {
                let refusal = Refusal::new(Reason::Method, "This server does not let clients end sessions.");
                self.fail(refusal, Outcome::Error)
            }
            (_, StatusCode::NOT_FOUND, _) if self.work.session.is_some() => {
                self.fail(session::unknown(), Outcome::Error)
            }
            (_, status, _) => {
                self.fail(nonsense(&format!("its HTTP status was {}", status.as_u16())), Outcome::Upstream)
            }
        }
    }

    /// Reads a body to its end, within the server's limits. The connection may be used again once the body is
    /// understood: a server that speaks nonsense is likely to hang up.
    async fn read(&mut self, body: Incoming) -> Result<Bytes, Refusal> {
        let limit = usize::try_from(self.work.server().max_response_bytes).unwrap_or(usize::MAX);
        let timeout = Duration::from_secs(self.work.server().timeout_s);
        match tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await {
            Err(_) => Err(late()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(nonsense(&format!("it is larger than {limit} bytes")))
            }
            Ok(Err(_)) => Err(nonsense("it broke off")),
            Ok(Ok(collected)) => {
                let bytes = collected.to_bytes();
                self.count(bytes.len());
                Ok(bytes)
            }
        }
    }

    /// Gives the connection back.
    fn reuse(&mut self, lease: Lease) -> &mut Self {
        self.work.endpoint.upstream.put(lease);
        self
    }

    async fn whole(mut self, fields: &HeaderMap, body: Incoming, lease: Lease) -> Answer {
        let bytes = match self.read(body).await {
            Ok(bytes) => bytes,
            Err(refusal) => return self.fail(refusal, Outcome::Upstream),
        };
        let session = match self.session(fields) {
            Ok(session) => session,
            Err(refusal) => return self.fail(refusal, Outcome::Upstream),
        };
        let read = mcp::response::read_response(&bytes, self.intent.id(), self.work.message.era());
        match read.and_then(|response| reply::write(&self.work, response)) {
            Err(fault) => self.fail(nonsense(&fault.to_string()), Outcome::Upstream),
            Ok(reply) => match self.reuse(lease).close(reply.outcome) {
                Ok(()) => with_session(respond::json(StatusCode::OK, reply.body), session),
                Err(refusal) => respond::refusal(&refusal.with_id(self.work.message.id().cloned()), &self.asked()),
            },
        }
    }

    /// An error that the upstream answered with status 400 or 404 keeps that status: clients tell eras apart by it.
    async fn failure(mut self, status: StatusCode, body: Incoming, lease: Lease) -> Answer {
        let bytes = match self.read(body).await {
            Ok(bytes) => bytes,
            Err(refusal) => return self.fail(refusal, Outcome::Upstream),
        };
        if status == StatusCode::NOT_FOUND && self.work.session.is_some() {
            return self.fail(session::unknown(), Outcome::Error);
        }
        let read = mcp::response::read_failure(&bytes, self.intent.id(), self.work.message.era());
        match read.and_then(|response| reply::write(&self.work, response)) {
            Err(_) if self.work.message.era() == Era::Stateless => self.only_sessions(),
            Err(fault) => self.fail(nonsense(&fault.to_string()), Outcome::Upstream),
            Ok(reply) => match self.reuse(lease).close(Outcome::Error) {
                Ok(()) => respond::json(status, reply.body),
                Err(refusal) => respond::refusal(&refusal.with_id(self.work.message.id().cloned()), &self.asked()),
            },
        }
    }

    /// A server of the session era answers a stateless request with a bare or nameless 4xx. Clients that probe go on
    /// to `initialize` when they are told which versions there are (2026-07-28, Versioning).
    fn only_sessions(mut self) -> Answer {
        let requested = match &self.work.message {
            Message::Request(request) => request.version.clone(),
            Message::Notification(_) | Message::SessionEnd => String::new(),
        };
        self.fail(mcp::era::only_sessions(&requested), Outcome::Error)
    }

    async fn done(mut self, status: StatusCode, body: Incoming, lease: Lease) -> Answer {
        // Whatever such an answer holds, nobody asked for it.
        if let Err(refusal) = self.read(body).await {
            return self.fail(refusal, Outcome::Upstream);
        }
        match self.reuse(lease).close(Outcome::Ok) {
            Ok(()) => respond::empty(status),
            Err(refusal) => respond::refusal(&Refusal { code: None, ..refusal }, &self.asked()),
        }
    }

    fn events(mut self, fields: &HeaderMap, body: Incoming, lease: Lease) -> Answer {
        let session = match self.session(fields) {
            Ok(session) => session,
            Err(refusal) => return self.fail(refusal, Outcome::Upstream),
        };
        let mut answer = Response::new(AnswerBody::Events(Box::pin(EventStream::new(self, body, lease))));
        let fields = answer.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(NO_BUFFERING, HeaderValue::from_static("no"));
        with_session(answer, session)
    }

    /// The session id for the client, when this answer begins a session.
    fn session(&self, fields: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        if self.work.message.kind() != Some(mcp::Method::Initialize) {
            return Ok(None);
        }
        let Some(given) = fields.get(SESSION) else { return Ok(None) };
        let readable = given
            .to_str()
            .ok()
            .filter(|id| !id.is_empty() && id.len() <= SESSION_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic()));
        let Some(id) = readable else { return Err(nonsense("its session id is not visible ASCII")) };
        let sealed = session::seal(&self.work.live.seal, &self.work.endpoint.name, self.work.identity.caller()?, id)?;
        HeaderValue::from_str(&sealed).map(Some).map_err(unbuildable)
    }

    /// Tells the upstream that a request of its own is not served, as a message of its session, and records that.
    pub fn refuse_ask(&self, id: &Id, method: &str) {
        let own = clock::decision_id();
        // A failing journal shows at the outcome, which ends the stream.
        let _ = self.intent.asked(&own, method);
        let body = Bytes::from(mcp::stream::refuse_ask(id));
        let Ok(request) = self.request(body, &Purpose::Refusal { id: own }) else { return };
        let upstream = std::sync::Arc::clone(&self.work.endpoint.upstream);
        tokio::spawn(async move {
            // If this does not arrive, the upstream waits in vain and the caller's own limits end the call.
            let Ok(lease) = upstream.checkout().await else { return };
            if let Ok((response, lease)) = upstream.send(lease, request, Duration::from_secs(5), || true).await
                && Limited::new(response.into_body(), 64 * 1024).collect().await.is_ok()
            {
                upstream.put(lease);
            }
        });
    }
}

/// Ends a message whose upstream could not even be reached.
pub fn unsent(permit: Permit, intent: Intent, work: Work, fault: &Fault) -> Answer {
    let mut flight = Flight { permit, intent, work, started: clock::now(), sent: false, status: None, bytes: 0 };
    flight.fail(refusal_of(fault), Outcome::Upstream)
}

fn with_session(mut answer: Answer, session: Option<HeaderValue>) -> Answer {
    if let Some(session) = session {
        answer.headers_mut().insert(SESSION, session);
    }
    answer
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    Events,
    Other,
}

fn form(fields: &HeaderMap) -> Form {
    let mut values = fields.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Form::Other };
    let Ok(text) = value.to_str() else { return Form::Other };
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Form::Json
    } else if essence.eq_ignore_ascii_case("text/event-stream") {
        Form::Events
    } else {
        Form::Other
    }
}
