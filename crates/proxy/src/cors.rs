//! What pages of other origins may send, and what of the answers they may read (Fetch standard, CORS protocol).
//!
//! The public documents are for every page. The MCP endpoints are for pages of the origins that are admitted anyway: a
//! page needs a token like any other client, and no cookie is ever looked at there.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ostiary_core::head::host::origin_allowed;
use ostiary_core::snapshot::control::is_document;

use crate::respond::{self, Answer};
use crate::state::Live;

/// How long a browser may remember the answer to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// `*` covers every field but Authorization, which has to be named.
const FIELDS: HeaderValue = HeaderValue::from_static("Authorization, *");
/// What a client has to read besides the body (2025-11-25, Session Management and Authorization).
const EXPOSED: HeaderValue = HeaderValue::from_static("Mcp-Session-Id, WWW-Authenticate");

/// Whether a browser asks what the page may send, rather than the page itself for something.
pub fn is_preflight(parts: &Parts) -> bool {
    let asks = |name: HeaderName| parts.headers.contains_key(name);
    parts.method == Method::OPTIONS && asks(ORIGIN) && asks(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight for a path that takes `methods`.
pub fn preflight(methods: &'static str) -> Answer {
    let mut answer = respond::empty(StatusCode::NO_CONTENT);
    let fields = answer.headers_mut();
    fields.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, FIELDS);
    fields.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    answer
}

/// Opens an answer to the page that asked, if it is one that may.
pub fn open(live: &Live, parts: &Parts, answer: &mut Answer) {
    let (path, gateway) = (parts.uri.path(), &live.snapshot.gateway);
    let fields = answer.headers_mut();
    if is_document(path) {
        // To everybody alike, so that a cache may keep it for everybody.
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    } else if let Some(origin) = parts.headers.get(ORIGIN)
        && path.strip_prefix("/mcp/").is_some_and(|server| live.endpoint(server).is_some())
        && origin.to_str().is_ok_and(|text| origin_allowed(Some(text), &gateway.hosts, &gateway.origins))
    {
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        fields.append(VARY, HeaderValue::from_static("Origin"));
    }
}
