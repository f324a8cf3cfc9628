//! HTTP/2: its limits, its requests in the form of HTTP/1.1, and how many of them are open.
//!
//! The library ends a stream or a connection that breaks the protocol, by itself: pseudo-fields out of order, fields of
//! one connection such as `transfer-encoding`, a length that the body does not have, header blocks that are too large or
//! never end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::head::frame::{HEAD_BYTES, HEAD_FIELDS, Refused};
use tokio::sync::Notify;

use crate::body::AnswerBody;

/// Requests open at once on one connection.
const STREAMS: u32 = 100;
/// Streams that a client may open and reset before they are looked at (CVE-2023-44487).
const RESETS: usize = 20;
/// Streams that a client may make us reset (CVE-2025-8671).
const FAULTS: usize = 100;
/// Requests that a client may give up in [`BEAT`] before the connection is ended.
const GIVEN_UP: u32 = 200;
/// How often a connection is looked after.
pub const BEAT: Duration = Duration::from_secs(5);
/// A client that does not answer a ping in time is gone.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
/// What a client may send ahead of our reading, for one request and for all.
const STREAM_WINDOW: u32 = 256 * 1024;
const WINDOW: u32 = 1024 * 1024;
/// What may wait to be taken by the client, for each request.
const SEND: usize = 256 * 1024;

/// A server with these limits.
pub fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(FAULTS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// Brings a request into the form of HTTP/1.1: a target that is a path, and one Host. What has no such form is refused.
pub fn level<B>(request: &mut Request<B>) {
    if let Err(refusal) = leveled(request) {
        let method = request.method().as_str().to_owned();
        let path = request.uri().path().to_owned();
        request.extensions_mut().insert(Box::new(Refused { refusal, method, path }));
    }
}

fn leveled<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let refused = |message: &str| Err(Refusal::new(Reason::Header, message));
    if request.headers().len() > HEAD_FIELDS {
        let mut refusal = Refusal::new(Reason::Header, format!("A head has at most {HEAD_FIELDS} fields."));
        refusal.status = 431;
        return Err(refusal);
    }
    let uri = request.uri().clone();
    let Some(target) = uri.path_and_query().filter(|target| target.as_str().starts_with('/')) else {
        return refused("The target must be a path on this host, beginning with `/`.");
    };
    if let Some(authority) = uri.authority() {
        let named = request.headers().get_all(HOST).iter();
        if named.into_iter().any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
            return refused("`:authority` and `Host` name two hosts.");
        }
        let Ok(host) = HeaderValue::from_str(authority.as_str()) else {
            return refused("A request must name its host once, as `name` or `name:port`.");
        };
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = path_alone(target);
    Ok(())
}

/// What answers a HEAD has no body (RFC 9110 section 9.3.2), and says how long it would have been. The library sees to
/// that in HTTP/1.1 alone.
pub fn leave_out_body(answer: &mut Response<AnswerBody>) {
    let length = answer.body().size_hint().exact().map(HeaderValue::from);
    answer.headers_mut().extend(length.map(|length| (CONTENT_LENGTH, length)));
    *answer.body_mut() = AnswerBody::empty();
}

fn path_alone(target: &PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(target.clone());
    // A path alone is always a URI.
    Uri::from_parts(parts).unwrap_or_default()
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Streams {
    opened: AtomicU64,
    given_up: AtomicU32,
    /// Answers that wait for the client to make room.
    untaken: AtomicU32,
    /// How often an answer was asked for more.
    taken: AtomicU64,
    /// Told once too many requests were given up.
    pub flooded: Notify,
}

impl Streams {
    /// A request that is open until this is dropped.
    pub fn open(self: &Arc<Self>) -> Open {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Open { streams: Arc::clone(self), answered: false }
    }

    /// Whether any request was open since the last time that this was asked. `own` references are not requests.
    pub fn beat(self: &Arc<Self>, own: usize) -> bool {
        self.given_up.store(0, Ordering::Relaxed);
        self.opened.swap(0, Ordering::Relaxed) > 0 || Arc::strong_count(self) > own
    }

    /// How many answers were taken so far, in pieces, if there is one that waits for the client.
    pub fn waiting(&self) -> Option<u64> {
        (self.untaken.load(Ordering::Relaxed) > 0).then(|| self.taken.load(Ordering::Relaxed))
    }
}

/// One open request.
#[derive(Debug)]
pub struct Open {
    streams: Arc<Streams>,
    answered: bool,
}

impl Open {
    /// The request has its answer, and stays open for as long as the body is being sent.
    pub fn answered(mut self, body: AnswerBody) -> Sent {
        self.answered = true;
        let mut sent = Sent { body, open: self, untaken: false };
        sent.wait_for_client(!sent.body.is_end_stream());
        sent
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.answered && self.streams.given_up.fetch_add(1, Ordering::Relaxed) >= GIVEN_UP {
            self.streams.flooded.notify_one();
        }
    }
}

/// The body of an answer on an open stream.
#[derive(Debug)]
pub struct Sent {
    body: AnswerBody,
    open: Open,
    /// The client must make room before more of it is asked for.
    untaken: bool,
}

impl Sent {
    fn wait_for_client(&mut self, untaken: bool) {
        let waiting = &self.open.streams.untaken;
        match (std::mem::replace(&mut self.untaken, untaken), untaken) {
            (false, true) => drop(waiting.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(waiting.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.wait_for_client(false);
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.open.streams.taken.fetch_add(1, Ordering::Relaxed);
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.wait_for_client(matches!(frame, Poll::Ready(Some(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn an_answer_to_head_says_its_length_and_has_none() {
        for (body, length) in [(AnswerBody::whole("four"), "4"), (AnswerBody::empty(), "0")] {
            let mut answer = Response::new(body);
            leave_out_body(&mut answer);
            assert!(answer.body().is_end_stream());
            assert_eq!(answer.headers().get(CONTENT_LENGTH).map(HeaderValue::as_bytes), Some(length.as_bytes()));
        }
    }

    #[test]
    fn an_answer_waits_for_the_client_until_it_is_asked_for() {
        let streams = Arc::new(Streams::default());
        let mut context = Context::from_waker(Waker::noop());
        let empty = streams.open().answered(AnswerBody::empty());
        assert_eq!(streams.waiting(), None);
        let mut sent = streams.open().answered(AnswerBody::whole("x"));
        assert_eq!(streams.waiting(), Some(0));
        assert!(Pin::new(&mut sent).poll_frame(&mut context).is_ready());
        assert_eq!(streams.waiting(), Some(1));
        assert!(Pin::new(&mut sent).poll_frame(&mut context).is_ready());
        assert_eq!(streams.waiting(), None);
        let left = streams.open().answered(AnswerBody::whole("x"));
        assert!(streams.beat(1) && streams.waiting().is_some());
        drop((empty, sent, left));
        assert_eq!((streams.waiting(), streams.beat(1)), (None, false));
    }
}
