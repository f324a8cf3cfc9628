//! An upstream's event stream on its way to the caller: read, judged and written anew, one event at a time.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ostiary_core::audit::Outcome;
use ostiary_core::deny::Refusal;
use ostiary_core::json::Object;
use ostiary_core::mcp::message::Request;
use ostiary_core::mcp::round::{self, Ask};
use ostiary_core::mcp::sse::{self, Decoder, Event};
use ostiary_core::mcp::stream::{self, Kind, Message, Notice, NoticeKind, Stream};
use ostiary_core::mcp::{Era, Id};
use tokio::time::{Instant, Sleep, sleep};

use crate::ask;
use crate::dialogue;
use crate::flight::Flight;
use crate::forward;
use crate::message::{Message as Sent, Resumed};
use crate::opening;
use crate::reply;
use crate::respond;
use crate::revocations::Watch;
use crate::teller::Teller;
use crate::upstream::Lease;

/// How often a silent stream is kept alive towards the caller.
const BEAT: Duration = Duration::from_secs(15);
/// How often it is asked whether the caller may still have the stream.
const CHECK: Duration = Duration::from_secs(1);
/// How long an upstream may stay silent on the stream of a call. One that stays open may be silent for as long as it is.
const SILENCE: Duration = Duration::from_secs(300);
/// How long any stream may last.
const TOTAL: Duration = Duration::from_secs(3_600);
/// How long an upstream may take to end a stream that it has answered on.
const GOODBYE: Duration = Duration::from_secs(1);

/// How many requests of its own that are refused an upstream may send on one stream; each is recorded.
const REFUSED_ASKS: usize = 64;
/// How often it may ask on one stream whether the client is there.
const PINGS: usize = 4_096;

/// Its code for a client that does not take part.
const NOT_ALLOWED: i64 = 4030;
const METHOD_NOT_FOUND: i64 = -32_601;

/// A stream of events. Dropping it closes the upstream connection and records a cancelled call.
pub struct EventStream {
    flight: Flight,
    kind: Kind,
    incoming: Option<(Incoming, Lease)>,
    decoder: Decoder,
    judge: Stream,
    out: Vec<u8>,
    teller: Teller,
    refused_asks: usize,
    pings: usize,
    /// Whether an event had an id: its server may close the stream, and the client goes on after that event.
    resumable: bool,
    watch: Watch,
    beat: Pin<Box<Sleep>>,
    check: Pin<Box<Sleep>>,
    silence: Pin<Box<Sleep>>,
    total: Instant,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("flight", &self.flight).finish_non_exhaustive()
    }
}

impl EventStream {
    /// The stream of `incoming` for the message that is in `flight`.
    pub fn new(flight: Flight, incoming: Incoming, lease: Lease, kind: Kind) -> Self {
        let limit = usize::try_from(flight.work.server().max_response_bytes).unwrap_or(usize::MAX);
        let answers = match &flight.work.message {
            Sent::SessionStream(Resumed { request, .. }) => request.as_ref().map(|(_, sent)| sent.as_str()),
            _ => Some(flight.intent.id()),
        };
        let judge = Stream::new(answers, flight.work.message.era(), kind);
        Self {
            watch: Watch::new(flight.work.identity.standing()),
            flight,
            kind,
            incoming: Some((incoming, lease)),
            decoder: Decoder::new(limit),
            judge,
            out: Vec::new(),
            teller: Teller::default(),
            refused_asks: 0,
            pings: 0,
            resumable: false,
            beat: Box::pin(sleep(BEAT)),
            check: Box::pin(sleep(CHECK)),
            silence: Box::pin(sleep(SILENCE)),
            total: Instant::now() + TOTAL,
        }
    }

    /// The next bytes for the caller, as soon as there are some.
    pub fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if !self.out.is_empty() {
                self.beat.as_mut().reset(Instant::now() + BEAT);
                return Poll::Ready(Some(std::mem::take(&mut self.out).into()));
            }
            let Some((incoming, _)) = &mut self.incoming else { return Poll::Ready(None) };
            match Pin::new(incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence.as_mut().reset(Instant::now() + SILENCE);
                    if let Some(data) = frame.data_ref() {
                        self.take(data);
                    }
                }
                Poll::Ready(Some(Err(_))) => self.fail(forward::nonsense("the stream broke off")),
                Poll::Ready(None) => self.ended(),
                Poll::Pending => {
                    if self.wait(context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Nothing comes: is the caller still allowed, has it waited too long, does it need a sign of life?
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let standing = Arc::clone(self.flight.work.identity.standing());
        let revoked = self.watch.poll_ended(&standing, context).is_ready();
        if revoked || self.check.as_mut().poll(context).is_ready() {
            self.check.as_mut().reset(Instant::now() + CHECK);
            match self.flight.overtaken() {
                Some(refusal) => self.end(refusal),
                None if Instant::now() >= self.total => self.end(forward::late()),
                None => {}
            }
        } else if self.kind == Kind::Answer && self.silence.as_mut().poll(context).is_ready() {
            self.fail(forward::late());
        } else if self.beat.as_mut().poll(context).is_ready() {
            self.out.extend_from_slice(b": still here\n\n");
        } else {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn take(&mut self, data: &Bytes) {
        self.flight.count(data.len());
        let events = match self.decoder.feed(data) {
            Ok(events) => events,
            Err(fault) => return self.fail(forward::nonsense(&fault.to_string())),
        };
        for event in events {
            if self.incoming.is_none() {
                return;
            }
            self.event(event);
        }
        // What came before a fault has been passed on; nothing after it can be told apart.
        if let Some(fault) = self.decoder.fault().cloned()
            && self.incoming.is_some()
        {
            self.fail(forward::nonsense(&fault.to_string()));
        }
    }

    fn event(&mut self, event: Event) {
        if let Some(refusal) = self.flight.overtaken() {
            return self.end(refusal);
        }
        let place = match self.place(&event) {
            Ok(place) => place,
            Err(refusal) => return self.end(refusal),
        };
        let Some(data) = event.data.filter(|data| !data.is_empty()) else {
            // An event without data names a place to go on from (2025-11-25, Transports).
            if place.id.is_some() || place.retry.is_some() {
                sse::encode(&Event { data: Some(String::new()), ..place }, &mut self.out);
            }
            return;
        };
        match self.judge.judge(&data) {
            Err(fault) => self.fail(forward::nonsense(&fault.to_string())),
            Ok(Message::Notice(notice)) => self.notice(notice, place),
            Ok(Message::Dropped { .. }) => {}
            Ok(Message::Ask { id, method, params }) => self.ask(id, &method, params.as_ref(), place),
            Ok(Message::Answer(response)) => match reply::write(&self.flight, response) {
                Err(withheld) => {
                    let (refusal, outcome) = withheld.told();
                    let refusal = self.flight.told(refusal, outcome);
                    self.last(refusal);
                }
                Ok(reply) => match self.flight.close(reply.outcome) {
                    Ok(()) => {
                        self.write(reply.body, place);
                        self.finish();
                    }
                    Err(refusal) => self.last(refusal),
                },
            },
        }
    }

    /// The id and the waiting time of an event as the caller gets them. Only sessions can go on after a break.
    fn place(&mut self, event: &Event) -> Result<Event, Refusal> {
        if self.flight.work.message.era() == Era::Stateless {
            return Ok(Event::default());
        }
        let sealed = match event.id.as_deref().filter(|id| !id.is_empty()) {
            None => None,
            Some(own) => opening::seal_event(&self.flight.work, own, self.flight.intent.id())?,
        };
        self.resumable |= sealed.is_some();
        Ok(Event { id: sealed, retry: event.retry, ..Event::default() })
    }

    /// A notification of the server: passed on if it speaks of what is the caller's, dropped otherwise.
    fn notice(&mut self, mut notice: Notice, place: Event) {
        let work = &self.flight.work;
        let session = dialogue::session_of(work);
        let about = notice.about();
        let passes = match notice.kind {
            NoticeKind::Plain => true,
            NoticeKind::Progress => {
                let own = work.message.answered_request().and_then(Request::progress_token);
                about.is_some_and(|token| {
                    own == Some(token.clone()) || work.shared.dialogues.awaits_progress(&session, &token)
                })
            }
            NoticeKind::Updated => notice.uri().is_some_and(|uri| self.flight.may_read(uri)),
            NoticeKind::Acknowledged => {
                let kept = |uri: &str| self.flight.may_read(uri);
                notice.retain_subscriptions(kept);
                true
            }
            NoticeKind::Cancelled if self.kind == Kind::Listen => {
                work.message.id().inspect(|id| notice.set_about(id)).is_some()
            }
            NoticeKind::Cancelled => match about.and_then(|id| work.shared.dialogues.withdrawn(&session, &id)) {
                Some((id, _cancelled)) => {
                    notice.set_about(&Id::Text(id));
                    true
                }
                None => false,
            },
        };
        if self.kind == Kind::Listen
            && let Some(id) = work.message.id()
        {
            notice.set_subscription(id);
        }
        if passes {
            self.write(notice.write(), place);
        }
    }

    /// A request of the server to the client: asked if a rule allows it, answered by us otherwise.
    fn ask(&mut self, server_id: Id, method: &str, params: Option<&Object>, place: Event) {
        let ask = Ask { method, params };
        if method == "ping" {
            self.pings += 1;
            if self.pings > PINGS {
                return self.fail(forward::nonsense("it asks too often whether its client is there"));
            }
            return self.tell(stream::pong(&server_id));
        }
        let (code, why) = if round::is_known(method) {
            match ask::decide(&self.flight, ask) {
                Ok(permitted) => {
                    let request = ask::open(&self.flight, permitted, server_id, ask);
                    return self.write(request, place);
                }
                Err(refusal) => (NOT_ALLOWED, refusal.message),
            }
        } else {
            ask::unknown(&self.flight, ask);
            (METHOD_NOT_FOUND, "Clients are not asked for this.".to_owned())
        };
        self.refused_asks += 1;
        if self.refused_asks > REFUSED_ASKS {
            return self.fail(forward::nonsense("it asks too much of its client"));
        }
        self.tell(stream::refuse_ask(&server_id, code, &why));
    }

    /// Answers a request of the server in the client's place.
    fn tell(&mut self, answer: Vec<u8>) {
        if !self.teller.tell(&self.flight, answer) {
            self.fail(forward::nonsense("it asks faster than it takes answers"));
        }
    }

    fn write(&mut self, message: Vec<u8>, place: Event) {
        // What is written here was written by us as JSON, which is UTF-8.
        let data = String::from_utf8(message).ok();
        sse::encode(&Event { event: Some("message".to_owned()), data, ..place }, &mut self.out);
    }

    /// The upstream ended the stream.
    fn ended(&mut self) {
        let outcome = match self.kind {
            Kind::Session => Outcome::Ok,
            Kind::Answer if self.resumable => Outcome::Detached,
            // An abrupt end of a subscription says all that there is to say (2026-07-28, Subscriptions).
            Kind::Listen => Outcome::Upstream,
            Kind::Answer => return self.fail(forward::nonsense("the stream ended without an answer")),
        };
        // A failure to record it has been reported; there is nobody left to be told.
        let _ = self.flight.close(outcome);
        self.incoming = None;
    }

    /// Ends the stream because the caller may not have more of it.
    fn end(&mut self, refusal: Refusal) {
        let refusal = self.flight.told(refusal, Outcome::Cancelled);
        self.last(refusal);
    }

    /// Ends the stream with an error in place of the answer; the upstream connection is closed.
    fn fail(&mut self, refusal: Refusal) {
        let refusal = self.flight.told(refusal, Outcome::Upstream);
        self.last(refusal);
    }

    fn last(&mut self, refusal: Refusal) {
        // A session's own stream answers nothing, so there is nothing that an error could answer.
        if let Some(request) = self.flight.work.message.own_request() {
            let refusal = refusal.with_id(Some(request.id.clone()));
            let body = respond::error_body(&refusal, refusal.code.unwrap_or(5020), &self.flight.asked());
            self.write(body, Event::default());
        }
        self.incoming = None;
    }

    /// After the answer only the end may follow; a connection that ends properly is used again.
    fn finish(&mut self) {
        let Some((incoming, lease)) = self.incoming.take() else { return };
        let upstream = Arc::clone(&self.flight.work.endpoint.upstream);
        tokio::spawn(async move {
            let mut incoming = pin!(incoming);
            let ended = tokio::time::timeout(GOODBYE, incoming.frame()).await;
            if matches!(ended, Ok(None)) {
                upstream.put(lease);
            }
        });
    }
}
