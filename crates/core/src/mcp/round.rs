//! What servers ask of their clients: as requests on a stream in the session era, inside a result in the stateless one.

use super::UpstreamFault;
use crate::json::{Object, Value};

/// What a server may ask for, in either era; each is for the policy to allow.
const KNOWN: [&str; 3] = ["sampling/createMessage", "elicitation/create", "roots/list"];
/// The code of an error that sends the user to a URL (2025-11-25, Elicitation, URL mode).
pub const URL_ELICITATION: i64 = -32_042;
/// The most requests that one result may hold.
const REQUESTS: usize = 32;

/// One request of a server to its client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask<'a> {
    pub method: &'a str,
    pub params: Option<&'a Object>,
}

/// Whether `method` is something that a server may ask for.
#[must_use]
pub fn is_known(method: &str) -> bool {
    KNOWN.contains(&method)
}

/// The requests inside an `input_required` result (2026-07-28, Multi Round-Trip Requests).
///
/// # Errors
/// [`UpstreamFault::ResultShape`] for anything but an object of requests, [`UpstreamFault::Request`] for one that no
/// server may make.
pub fn requested(result: &Object) -> Result<Vec<Ask<'_>>, UpstreamFault> {
    if !matches!(result.get("requestState"), None | Some(Value::String(_))) {
        return Err(UpstreamFault::ResultShape);
    }
    let requests = match result.get("inputRequests") {
        None => return Ok(Vec::new()),
        Some(Value::Object(requests)) if requests.len() <= REQUESTS => requests,
        Some(_) => return Err(UpstreamFault::ResultShape),
    };
    requests.iter().map(|(_, request)| one(request)).collect()
}

/// The URLs to which an error sends the user, each as the elicitation that it is.
///
/// # Errors
/// As [`requested`].
pub fn elicited(data: Option<&Value>) -> Result<Vec<Ask<'_>>, UpstreamFault> {
    let listed = data.and_then(|data| data.get("elicitations")?.as_array()).ok_or(UpstreamFault::ErrorShape)?;
    if listed.len() > REQUESTS {
        return Err(UpstreamFault::ErrorShape);
    }
    let ask = |item: &'_ Value| item.as_object().is_some();
    if !listed.iter().all(ask) {
        return Err(UpstreamFault::ErrorShape);
    }
    Ok(listed.iter().map(|item| Ask { method: "elicitation/create", params: item.as_object() }).collect())
}

fn one(request: &Value) -> Result<Ask<'_>, UpstreamFault> {
    let Value::Object(request) = request else { return Err(UpstreamFault::ResultShape) };
    let method = request.get("method").and_then(Value::as_str).ok_or(UpstreamFault::ResultShape)?;
    if !is_known(method) {
        return Err(UpstreamFault::Request);
    }
    match request.get("params") {
        None => Ok(Ask { method, params: None }),
        Some(Value::Object(params)) => Ok(Ask { method, params: Some(params) }),
        Some(_) => Err(UpstreamFault::ResultShape),
    }
}
