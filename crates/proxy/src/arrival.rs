//! The first stages: the head, the route, the caller and the body of a request.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::head::{self, Head};
use ostiary_core::snapshot::control::{JWKS_PATH, METADATA_PREFIX, Pages, is_document};
use ostiary_core::token;

use crate::clock;
use crate::cors;
use crate::identity::Identity;
use crate::respond::Answer;
use crate::state::{Endpoint, Live, Shared};
use crate::trail::Trail;

/// The largest body of a message, in bytes. The official Python SDK takes as much.
pub const BODY_BYTES: usize = 4 * 1024 * 1024;
/// The largest body that is passed over without being read, in bytes.
const PASSED_OVER_BYTES: usize = 64 * 1024;
/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Where a request goes.
#[derive(Debug)]
pub enum Route {
    /// A public document, already answered.
    Document(Answer),
    /// The MCP endpoint of a server.
    Mcp(Arc<str>),
    /// The control app.
    Control,
}

/// Judges the head: what can be said without knowing a route or a caller.
///
/// # Errors
/// [`Refusal`] for a head with two readings, an unknown Host (421) or a foreign Origin (403).
pub fn head(parts: &Parts, live: &Live) -> Result<Head, Refusal> {
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let target = parts.uri.to_string();
    let head = Head::read(parts.method.as_str(), &target, fields)?;
    let gateway = &live.snapshot.gateway;
    if !head::host::allowed(&head.host, &gateway.hosts) {
        return Err(Refusal::new(Reason::Host, "This host is not served here."));
    }
    let control = live.snapshot.control.path(&head.path);
    let for_any_page = is_document(&head.path) || control.and_then(|path| path.pages(&head.method)) == Some(Pages::Any);
    if !for_any_page && !head::host::origin_allowed(head.origin.as_deref(), &gateway.hosts, &gateway.origins) {
        return Err(Refusal::new(Reason::Origin, "Requests from this origin are not taken."));
    }
    Ok(head)
}

/// Finds the route by the exact path: no decoding, no trailing slash, no case folding.
///
/// # Errors
/// [`Refusal`] for an unknown route or server (404), or a method that the route does not take (405).
pub fn route(parts: &Parts, live: &Live) -> Result<Route, Refusal> {
    let path = parts.uri.path();
    if path == JWKS_PATH {
        return document(parts, live.documents.jwks());
    }
    if let Some(rest) = path.strip_prefix(METADATA_PREFIX) {
        let found = match rest {
            "" => live.documents.only_metadata(),
            _ => rest.strip_prefix("/mcp/").and_then(|server| live.documents.metadata(server)),
        };
        return found.map_or_else(|| Err(no_route()), |answer| document(parts, answer));
    }
    if let Some(known) = live.snapshot.control.path(path) {
        return match known.pages(parts.method.as_str()) {
            Some(_) => Ok(Route::Control),
            None => Err(Refusal::new(Reason::Method, format!("This path takes {}.", known.allow()))),
        };
    }
    let Some(name) = path.strip_prefix("/mcp/") else { return Err(no_route()) };
    let Some(endpoint) = live.endpoint(name) else {
        return Err(Refusal::new(Reason::UnknownServer, "There is no such server."));
    };
    match parts.method {
        Method::POST | Method::GET | Method::DELETE => Ok(Route::Mcp(Arc::clone(&endpoint.name))),
        _ if cors::is_preflight(parts) => Ok(Route::Document(cors::preflight("GET, POST, DELETE"))),
        _ => Err(Refusal::new(Reason::Method, "This endpoint takes POST, GET and DELETE.")),
    }
}

fn no_route() -> Refusal {
    Refusal::new(Reason::Route, "There is nothing at this path.")
}

fn document(parts: &Parts, answer: Answer) -> Result<Route, Refusal> {
    match parts.method {
        Method::GET | Method::HEAD => Ok(Route::Document(answer)),
        _ if cors::is_preflight(parts) => Ok(Route::Document(cors::preflight("GET, HEAD"))),
        _ => Err(Refusal::new(Reason::Method, "This document can be read with GET.")),
    }
}

/// Verifies the token for `server`. Every error path ends in a refusal: there is no default caller.
///
/// # Errors
/// [`Refusal`]: 404 for a server that is gone, 401 for a missing or bad token.
pub fn identity(
    live: &Live,
    server: &str,
    head: &Head,
    trail: &mut Trail,
    shared: &Shared,
) -> Result<(Endpoint, Arc<Identity>), Refusal> {
    let Some(endpoint) = live.endpoint(server) else {
        return Err(Refusal::new(Reason::UnknownServer, "There is no such server."));
    };
    trail.endpoint(endpoint);
    let Some(bearer) = &head.bearer else {
        return Err(Refusal::new(Reason::TokenMissing, "A bearer token is required."));
    };
    let now_s = clock::now().unix_s();
    let identity = Identity::of(live, endpoint, bearer, now_s, &shared.revocations).inspect_err(|refusal| {
        if refusal.reason == Reason::TokenInvalid
            && let Some(issuer) = token::unknown_key(bearer, &live.snapshot.issuers)
        {
            shared.events.unknown_key(issuer);
        }
    })?;
    // Who was revoked and comes all the same is on record.
    trail.identity(&identity);
    identity.check(now_s)?;
    identity.standing().used(now_s);
    Ok((endpoint.clone(), identity))
}

/// Reads the body whole, up to `most` bytes and in time.
///
/// # Errors
/// [`Refusal`]: 413 when it is too large, 408 when it takes too long, 400 when it breaks off.
pub async fn body(body: Incoming, most: usize) -> Result<Bytes, Refusal> {
    let limited = Limited::new(body, most).collect();
    match tokio::time::timeout(BODY_TIME, limited).await {
        Err(_) => Err(Refusal::new(Reason::Timeout, "The request body did not arrive in time.")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(Reason::TooLarge, format!("The request body is over {most} bytes.")))
        }
        Ok(Err(_)) => Err(Refusal::new(Reason::Header, "The request body broke off or was badly framed.")),
    }
}

/// Passes over a body that nobody read, as far as it has arrived. False if there is more to come, which is not waited for.
pub async fn passed_over(body: Option<Incoming>) -> bool {
    let Some(body) = body else { return true };
    let mut body = pin!(Limited::new(body, PASSED_OVER_BYTES));
    poll_fn(|context| {
        loop {
            match body.as_mut().poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) | Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}
