//! Sends one permitted message upstream and turns what comes back into the caller's answer.
//!
//! Only this module writes to an upstream, and it takes a [`Permit`], which only the policy can make.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use ostiary_core::audit::Outcome;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::mcp::stream::Kind;
use ostiary_core::mcp::{self, Era, Method};
use ostiary_core::policy::Permit;

use crate::body::AnswerBody;
use crate::dialogue;
use crate::exchange::Work;
use crate::flight::{Flight, Purpose, SESSION, unbuildable};
use crate::handle;
use crate::message::Message;
use crate::quota::Slot;
use crate::reply::{self, Withheld};
use crate::respond::{self, Answer};
use crate::stream::EventStream;
use crate::trail::Intent;
use crate::upstream::{Fault, Lease};

const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The longest session id taken from an upstream, in bytes.
const SESSION_BYTES: usize = 1_024;
/// How long a server may take to begin a stream that stays open: some say nothing before their first event.
const OPENING: Duration = Duration::from_secs(300);
/// How often it is asked, while a server lets wait, whether its answer is still to be had; of a revocation it is told.
const CHECK: Duration = Duration::from_secs(1);
/// Sends the message on `lease` and answers the caller; the outcome is recorded when the answer is complete.
///
/// Cancel safe: dropping closes the upstream connection and records the call as cancelled.
pub async fn send(permit: Permit, intent: Intent, lease: Lease, work: Work, slot: Option<Slot>) -> Answer {
    let mut flight = Flight::new(permit, intent, work, slot);
    let body = Bytes::from(flight.work.message.upstream_body(flight.intent.id()));
    let request = match flight.request(body, &Purpose::Message) {
        Ok(request) => request,
        Err(refusal) => return flight.fail(refusal, Outcome::Error),
    };
    flight.work.shared.counters.allowed.add();
    flight.sent = true;
    let upstream = Arc::clone(&flight.work.endpoint.upstream);
    let stays = flight.work.message.stays_open();
    let timeout = if stays { OPENING } else { Duration::from_secs(flight.work.server().timeout_s) };
    let mut sending = pin!(upstream.send(lease, request, timeout, flight.work.holding()));
    let sent = loop {
        tokio::select! {
            biased;
            sent = sending.as_mut() => break sent,
            () = flight.work.identity.standing().ended() => {}
            () = tokio::time::sleep(CHECK) => {}
        }
        let over = if stays { flight.overtaken() } else { flight.withheld() };
        if let Some(refusal) = over {
            return flight.fail(refusal, Outcome::Cancelled);
        }
    };
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
        Fault::Credential => Refusal::new(
            Reason::Upstream,
            "The credential of this server is not set, so nothing was sent. Trying again will not help; its owner can set it.",
        ),
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

/// The caller lost the right to the answer of a call that was sent.
#[must_use]
pub fn revoked() -> Refusal {
    Refusal::new(Reason::Revoked, "The token has been revoked, so the answer is withheld; the call may have run.")
}

/// The server's answer is not one that may reach a client.
#[must_use]
pub fn nonsense(what: &str) -> Refusal {
    Refusal::new(Reason::Upstream, format!("The server's answer was not passed on: {what}. The call may have run."))
}

impl Flight {
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
            (Message::Request(_) | Message::SessionStream(_), StatusCode::OK, Form::Events) => {
                self.events(&parts.headers, body, lease)
            }
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
            (
                Message::Notification(_) | Message::Response(..),
                StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT,
                _,
            ) => self.done(StatusCode::ACCEPTED, body, lease).await,
            (Message::SessionStream(_), status, _) if status.is_client_error() => self.no_stream(status),
            (Message::SessionEnd, StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _) => {
                self.work.shared.dialogues.end(&dialogue::session_of(&self.work));
                self.done(StatusCode::NO_CONTENT, body, lease).await
            }
            (Message::SessionEnd, StatusCode::METHOD_NOT_ALLOWED, _) => {
                let refusal = Refusal::new(Reason::Method, "This server does not let clients end sessions.");
                self.fail(refusal, Outcome::Error)
            }
            (_, StatusCode::NOT_FOUND, _) if self.work.session.is_some() => {
                self.fail(handle::Purpose::Session.unknown(), Outcome::Error)
            }
            (_, status, _) => {
                self.fail(nonsense(&format!("its HTTP status was {}", status.as_u16())), Outcome::Upstream)
            }
        }
    }

    /// Reads a body to its end, within the server's limits. The connection may be used again once the body is
    /// understood: a server that speaks nonsense is likely to hang up.
    async fn read(&mut self, body: Incoming) -> Result<Bytes, (Refusal, Outcome)> {
        let limit = usize::try_from(self.work.server().max_response_bytes).unwrap_or(usize::MAX);
        let timeout = Duration::from_secs(self.work.server().timeout_s);
        let read = tokio::select! {
            biased;
            () = self.work.identity.standing().ended() => return Err((revoked(), Outcome::Cancelled)),
            read = Limited::new(body, limit).collect() => read,
            () = tokio::time::sleep(timeout) => return Err((late(), Outcome::Upstream)),
        };
        let upstream = |refusal| Err((refusal, Outcome::Upstream));
        match read {
            Err(error) if error.is::<LengthLimitError>() => {
                upstream(nonsense(&format!("it is larger than {limit} bytes")))
            }
            Err(_) => upstream(nonsense("it broke off")),
            Ok(collected) => {
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
            Err((refusal, outcome)) => return self.fail(refusal, outcome),
        };
        if let Some(refusal) = self.withheld() {
            return self.fail(refusal, Outcome::Cancelled);
        }
        let session = match self.session(fields) {
            Ok(session) => session,
            Err(refusal) => return self.fail(refusal, Outcome::Upstream),
        };
        let read = mcp::response::read_response(&bytes, self.intent.id(), self.work.message.era());
        match read.map_err(Withheld::from).and_then(|response| reply::write(&self, response)) {
            Err(withheld) => {
                let (refusal, outcome) = withheld.told();
                self.fail(refusal, outcome)
            }
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
            Err((refusal, outcome)) => return self.fail(refusal, outcome),
        };
        if status == StatusCode::NOT_FOUND && self.work.session.is_some() {
            return self.fail(handle::Purpose::Session.unknown(), Outcome::Error);
        }
        let read = mcp::response::read_failure(&bytes, self.intent.id(), self.work.message.era());
        match read.map_err(Withheld::from).and_then(|response| reply::write(&self, response)) {
            Err(Withheld::Fault(_)) if self.work.message.era() == Era::Stateless => self.only_sessions(),
            Err(withheld) => {
                let (refusal, outcome) = withheld.told();
                self.fail(refusal, outcome)
            }
            Ok(reply) => match self.reuse(lease).close(Outcome::Error) {
                Ok(()) => respond::json(status, reply.body),
                Err(refusal) => respond::refusal(&refusal.with_id(self.work.message.id().cloned()), &self.asked()),
            },
        }
    }

    /// A server of the session era answers a stateless request with a bare or nameless 4xx. Clients that probe go on
    /// to `initialize` when they are told which versions there are (2026-07-28, Versioning).
    fn only_sessions(mut self) -> Answer {
        let requested = self.work.message.own_request().map(|request| request.version.clone()).unwrap_or_default();
        self.fail(mcp::era::only_sessions(&requested), Outcome::Error)
    }

    /// The server offers no such stream, or not now (2025-11-25, Listening for Messages from the Server).
    fn no_stream(mut self, status: StatusCode) -> Answer {
        let plain = |status: StatusCode, reason, message: &str| Refusal {
            status: status.as_u16(),
            code: None,
            ..Refusal::new(reason, message)
        };
        let refusal = match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                plain(status, Reason::Method, "This server offers no stream to listen on.")
            }
            StatusCode::NOT_FOUND if self.work.session.is_some() => handle::Purpose::Session.unknown(),
            StatusCode::CONFLICT => plain(status, Reason::Session, "The session has its stream already."),
            _ => plain(
                StatusCode::BAD_REQUEST,
                Reason::Session,
                "The server opens no stream here; begin a session first.",
            ),
        };
        self.fail(refusal, Outcome::Error)
    }

    async fn done(mut self, status: StatusCode, body: Incoming, lease: Lease) -> Answer {
        // Whatever such an answer holds, nobody asked for it.
        if let Err((refusal, outcome)) = self.read(body).await {
            return self.fail(refusal, outcome);
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
        let kind = match &self.work.message {
            Message::SessionStream(_) => Kind::Session,
            message if message.kind() == Some(Method::Listen) => Kind::Listen,
            _ => Kind::Answer,
        };
        let mut answer = Response::new(AnswerBody::Events(Box::pin(EventStream::new(self, body, lease, kind))));
        let fields = answer.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(NO_BUFFERING, HeaderValue::from_static("no"));
        with_session(answer, session)
    }

    /// The session id for the client, when this answer begins a session.
    fn session(&self, fields: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        if self.work.message.kind() != Some(Method::Initialize) {
            return Ok(None);
        }
        let Some(given) = fields.get(SESSION) else { return Ok(None) };
        let readable = given
            .to_str()
            .ok()
            .filter(|id| !id.is_empty() && id.len() <= SESSION_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic()));
        let Some(id) = readable else { return Err(nonsense("its session id is not visible ASCII")) };
        let sealed = handle::seal(&self.work, handle::Purpose::Session, "", id.as_bytes())?;
        HeaderValue::from_str(&sealed).map(Some).map_err(unbuildable)
    }
}

/// Ends a message whose upstream could not even be reached.
pub fn unsent(permit: Permit, intent: Intent, work: Work, fault: &Fault) -> Answer {
    let mut flight = Flight::new(permit, intent, work, None);
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
