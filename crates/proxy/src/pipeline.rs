//! The stages that every request goes through, in order:
//! head → route → token → principal → message → decide → journal intent → recheck → forward → filter → journal outcome.
//!
//! A stage either hands on something more precise than it got, or ends the request with a [`Refusal`], which is
//! recorded and answered in one place, here.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use hyper::body::Incoming;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::head::Head;
use ostiary_core::json::Limits;
use ostiary_core::mcp::{Era, message};

use crate::arrival::{self, Route};
use crate::clock;
use crate::control;
use crate::cors;
use crate::events::Event;
use crate::exchange::{self, Work};
use crate::message::{Message, Resumed};
use crate::respond::{self, Answer};
use crate::state::Shared;
use crate::trail::Trail;

/// Answers one request, whatever happens: a panic is caught, counted, recorded and answered with 500.
///
/// Cancel safe: when the caller goes away the future is dropped, the upstream connection with it, and an intent that
/// has no outcome yet is closed as `cancelled`.
pub async fn answer(shared: Arc<Shared>, peer: SocketAddr, mut request: Request<Incoming>) -> Answer {
    shared.counters.requests.add();
    let mut trail = Trail::new(clock::now(), shared.live(), peer, &mut request);
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let finished = Caught(pin!(stages(&shared, &mut trail, &parts, &mut body))).await;
    let mut answer = match finished {
        Some(Ok(answer)) => answer,
        Some(Err(refusal)) => refuse(&shared, &trail, refusal).await,
        None => {
            shared.counters.panics.add();
            shared.events.push(Event::Panic, "a request handler panicked; the request was answered with 500");
            let fault =
                Refusal::new(Reason::Internal, "Ostiary failed on this request; its log names the decision id.");
            refuse(&shared, &trail, fault).await
        }
    };
    cors::open(&trail.live(), &parts, &mut answer);
    let waited_for = body.is_some() && parts.headers.contains_key(EXPECT);
    if parts.version <= Version::HTTP_11 && (waited_for || !arrival::passed_over(body).await) {
        // What is left of the body would be read as the next request; who is told so opens another connection.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn stages(
    shared: &Arc<Shared>,
    trail: &mut Trail,
    parts: &Parts,
    body: &mut Option<Incoming>,
) -> Result<Answer, Refusal> {
    trail.admitted()?;
    let live = trail.live();
    let head = arrival::head(parts, &live)?;
    trail.head(&head);
    let server = match arrival::route(parts, &live)? {
        Route::Document(answer) => return Ok(answer),
        // Boxed: it is rare, and every request would have room for it otherwise.
        Route::Control => return Box::pin(control::hand_over(shared, trail, &head, parts, body)).await,
        Route::Mcp(server) => server,
    };
    let (endpoint, identity) = arrival::identity(&live, &server, &head, trail, shared)?;
    let message = if let (&Method::POST, Some(body)) = (&parts.method, body.take_if(|_| parts.method == Method::POST)) {
        let bytes = arrival::body(body, arrival::BODY_BYTES).await?;
        let read = message::read(&bytes, &head, &Limits::DEFAULT);
        read.inspect_err(|_| trail.unread(&bytes))?.into()
    } else {
        session_message(&parts.method, &head)?
    };
    let work =
        Work { shared: Arc::clone(shared), live, endpoint, identity, head, message, session: None, opened: false };
    exchange::run(trail, work).await
}

/// What is done with a session without a body. There are none in the stateless era (2026-07-28, Streamable HTTP: 405).
fn session_message(method: &Method, head: &Head) -> Result<Message, Refusal> {
    if Era::of_head(head)?.0 == Era::Stateless {
        return Err(Refusal::new(Reason::Method, "There are no sessions in this protocol version: use POST."));
    }
    match *method {
        Method::DELETE => Ok(Message::SessionEnd),
        _ if head.accept_sse => Ok(Message::SessionStream(Resumed::default())),
        _ => Err(Refusal::new(Reason::NotAcceptable, "A stream is `text/event-stream`, which `Accept` does not name.")),
    }
}

/// Records a refusal and answers it. Without a record the answer says that no record could be written.
async fn refuse(shared: &Arc<Shared>, trail: &Trail, refusal: Refusal) -> Answer {
    let refusal = match trail.deny(shared, &refusal).await {
        Ok(()) => refusal,
        Err(fault) => exchange::no_record(shared, &fault, refusal.id),
    };
    if refusal.status == StatusCode::ACCEPTED.as_u16() {
        return respond::empty(StatusCode::ACCEPTED);
    }
    respond::refusal(&refusal, &trail.asked())
}

/// Polls a future and turns a panic in it into `None`.
struct Caught<'a, F>(Pin<&'a mut F>);

impl<F: Future> Future for Caught<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}
