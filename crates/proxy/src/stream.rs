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
use ostiary_core::mcp::sse::{self, Decoder, Event};
use ostiary_core::mcp::stream::{Message, Stream};
use tokio::time::{Instant, Sleep, sleep};

use crate::forward::{self, Flight};
use crate::reply;
use crate::respond;
use crate::upstream::Lease;

/// How often a silent stream is kept alive towards the caller.
const BEAT: Duration = Duration::from_secs(15);
/// How long an upstream may stay silent on an open stream.
const SILENCE: Duration = Duration::from_secs(300);
/// How long an upstream may take to end a stream that it has answered on.
const GOODBYE: Duration = Duration::from_secs(1);

/// How many requests of its own an upstream may send on one stream; each is refused and recorded.
const ASKS: usize = 16;

/// The stream that answers one request. Dropping it closes the upstream connection and records a cancelled call.
pub struct EventStream {
    flight: Flight,
    incoming: Option<(Incoming, Lease)>,
    decoder: Decoder,
    judge: Stream,
    out: Vec<u8>,
    /// How many requests of its own the upstream has sent.
    asks: usize,
    beat: Pin<Box<Sleep>>,
    silence: Pin<Box<Sleep>>,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("flight", &self.flight).finish_non_exhaustive()
    }
}

impl EventStream {
    /// The stream of `incoming` for the request that is in `flight`.
    pub fn new(flight: Flight, incoming: Incoming, lease: Lease) -> Self {
        let limit = usize::try_from(flight.work.server().max_response_bytes).unwrap_or(usize::MAX);
        let judge = Stream::new(flight.intent.id(), flight.work.message.era());
        Self {
            flight,
            incoming: Some((incoming, lease)),
            decoder: Decoder::new(limit),
            judge,
            out: Vec::new(),
            asks: 0,
            beat: Box::pin(sleep(BEAT)),
            silence: Box::pin(sleep(SILENCE)),
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
                Poll::Ready(None) => self.fail(forward::nonsense("the stream ended without an answer")),
                Poll::Pending if self.silence.as_mut().poll(context).is_ready() => self.fail(forward::late()),
                Poll::Pending if self.beat.as_mut().poll(context).is_ready() => match self.flight.overtaken() {
                    Some(refusal) => self.end(refusal),
                    None => self.out.extend_from_slice(b": still here\n\n"),
                },
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, data: &Bytes) {
        self.flight.count(data.len());
        let events = match self.decoder.feed(data) {
            Ok(events) => events,
            Err(fault) => return self.fail(forward::nonsense(&fault.to_string())),
        };
        for event in events {
            // An event without data only names a place to resume from, which this version does not offer.
            let Some(data) = event.data.filter(|data| !data.is_empty()) else { continue };
            if self.incoming.is_none() {
                return;
            }
            self.event(&data);
        }
        // What came before a fault has been passed on; nothing after it can be told apart.
        if let Some(fault) = self.decoder.fault().cloned()
            && self.incoming.is_some()
        {
            self.fail(forward::nonsense(&fault.to_string()));
        }
    }

    fn event(&mut self, data: &str) {
        if let Some(refusal) = self.flight.overtaken() {
            return self.end(refusal);
        }
        match self.judge.judge(data) {
            Err(fault) => self.fail(forward::nonsense(&fault.to_string())),
            Ok(Message::Notice(notice)) => self.write(notice),
            Ok(Message::Dropped { .. }) => {}
            Ok(Message::Ask { id, method }) => {
                self.asks += 1;
                if self.asks > ASKS {
                    return self.fail(forward::nonsense("it asks too much of its client"));
                }
                self.flight.refuse_ask(&id, &method);
            }
            Ok(Message::Answer(response)) => match reply::write(&self.flight.work, response) {
                Err(fault) => self.fail(forward::nonsense(&fault.to_string())),
                Ok(reply) => match self.flight.close(reply.outcome) {
                    Ok(()) => {
                        self.write(reply.body);
                        self.finish();
                    }
                    Err(refusal) => self.last(refusal),
                },
            },
        }
    }

    fn write(&mut self, message: Vec<u8>) {
        // What is written here was written by us as JSON, which is UTF-8.
        let data = String::from_utf8(message).ok();
        sse::encode(&Event { event: Some("message".to_owned()), data, id: None, retry: None }, &mut self.out);
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
        let refusal = refusal.with_id(self.flight.work.message.id().cloned());
        let body = respond::error_body(&refusal, refusal.code.unwrap_or(5020), &self.flight.asked());
        self.write(body);
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
