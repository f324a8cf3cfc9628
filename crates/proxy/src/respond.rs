//! Turns a refusal or a message into the HTTP answer that the caller sees.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::json::{self, Object, Value};
use ostiary_core::mcp::Id;

use crate::body::AnswerBody;

/// An HTTP answer on its way to the caller.
pub type Answer = Response<AnswerBody>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What an answer to a refusal needs to know of the request beside the refusal itself.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The id under which the refusal is recorded.
    pub decision: &'a str,
    /// Where the protected-resource metadata of the server stands, once the server is known.
    pub metadata: Option<&'a str>,
    /// The refused call was a `tools/call` and refusals are wanted as tool results; the flag says stateless era.
    pub as_result: Option<bool>,
    /// The scopes that would have been enough.
    pub scopes: &'a [String],
    /// The scopes to ask for with a first token.
    pub first_scopes: &'a [String],
    /// The methods that the route takes, for 405.
    pub allow: &'a str,
}

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    answer
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(AnswerBody::empty());
    *answer.status_mut() = status;
    answer
}

fn text(status: StatusCode, line: &str) -> Answer {
    let mut answer = Response::new(AnswerBody::whole(format!("{line}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, TEXT);
    answer.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    answer
}

/// The answer to a refused request (DESIGN: "What a refused caller sees").
pub fn refusal(refusal: &Refusal, asked: &Asked<'_>) -> Answer {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match (refusal.code, asked.as_result) {
        (Some(code), Some(stateless)) if is_final_denial(refusal) => {
            json(StatusCode::OK, tool_result(refusal, code, asked, stateless))
        }
        (Some(code), _) => json(status, error_body(refusal, code, asked)),
        (None, _) if status == StatusCode::ACCEPTED => empty(status),
        (None, _) => text(status, &refusal.message),
    };
    if let Some(challenge) = challenge(refusal, asked) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    match refusal.reason {
        Reason::Method => {
            answer.headers_mut().extend(HeaderValue::from_str(asked.allow).ok().map(|allow| (ALLOW, allow)));
        }
        Reason::Journal | Reason::Store => {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Reason::Limit => {
            let seconds = refusal.data.as_ref().and_then(|data| data.get("retry_after")?.as_number()?.as_i64());
            answer.headers_mut().extend(seconds.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
        }
        // What follows such a head or body on the connection cannot be trusted to be a request.
        Reason::Header | Reason::TooLarge | Reason::Timeout => {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    answer
}

/// Policy has the last word and no other credential would change it.
fn is_final_denial(refusal: &Refusal) -> bool {
    refusal.status == 200 && refusal.code == Some(4030)
}

fn data(refusal: &Refusal, asked: &Asked<'_>) -> Value {
    if let Some(data) = &refusal.data
        && !matches!(refusal.code, Some(4000..=5999))
    {
        return data.clone();
    }
    let mut data = match &refusal.data {
        Some(Value::Object(given)) => given.clone(),
        _ => Object::new(),
    };
    data.insert("decision", asked.decision.into());
    data.insert("reason", refusal.reason.as_str().into());
    if !asked.scopes.is_empty() {
        let mut remedy = Object::new();
        remedy.insert("kind", "scope".into());
        remedy.insert("scopes", Value::Array(asked.scopes.iter().map(|s| s.as_str().into()).collect()));
        data.insert("remedy", Value::Object(remedy));
    }
    Value::Object(data)
}

fn id_value(id: Option<&Id>) -> Value {
    match id {
        Some(Id::Int(number)) => (*number).into(),
        Some(Id::Text(text)) => text.as_str().into(),
        None => Value::Null,
    }
}

fn envelope(id: Option<&Id>, member: &str, content: Object) -> Vec<u8> {
    let mut message = Object::new();
    message.insert("jsonrpc", "2.0".into());
    message.insert("id", id_value(id));
    message.insert(member, Value::Object(content));
    let mut out = Vec::with_capacity(256);
    json::write(&Value::Object(message), &mut out);
    out
}

/// A JSON-RPC error message for a refusal.
pub fn error_body(refusal: &Refusal, code: i64, asked: &Asked<'_>) -> Vec<u8> {
    let mut error = Object::new();
    error.insert("code", code.into());
    error.insert("message", refusal.message.as_str().into());
    error.insert("data", data(refusal, asked));
    envelope(refusal.id.as_ref(), "error", error)
}

fn tool_result(refusal: &Refusal, code: i64, asked: &Asked<'_>, stateless: bool) -> Vec<u8> {
    let mut block = Object::new();
    block.insert("type", "text".into());
    block.insert("text", refusal.message.as_str().into());
    let mut why = match data(refusal, asked) {
        Value::Object(object) => object,
        _ => Object::new(),
    };
    why.insert("code", code.into());
    let mut meta = Object::new();
    meta.insert("ostiary/refusal", Value::Object(why));
    let mut result = Object::new();
    if stateless {
        result.insert("resultType", "complete".into());
    }
    result.insert("content", Value::Array(vec![Value::Object(block)]));
    result.insert("isError", true.into());
    result.insert("_meta", Value::Object(meta));
    envelope(refusal.id.as_ref(), "result", result)
}

/// The challenge of RFC 6750 section 3 with the metadata parameter of RFC 9728 section 5.1.
///
/// Client libraries read the parameters with loose patterns, so the description comes last and holds no quote.
fn challenge(refusal: &Refusal, asked: &Asked<'_>) -> Option<HeaderValue> {
    let error = match refusal.reason {
        Reason::TokenMissing => "",
        Reason::TokenInvalid | Reason::TokenExpired | Reason::TokenAudience | Reason::Revoked => {
            "error=\"invalid_token\""
        }
        _ if refusal.status == 403 && !asked.scopes.is_empty() => "error=\"insufficient_scope\"",
        _ => return None,
    };
    let mut parts = Vec::new();
    if !error.is_empty() {
        parts.push(error.to_owned());
    }
    let scopes = if refusal.status == 401 { asked.first_scopes } else { asked.scopes };
    if !scopes.is_empty() {
        parts.push(format!("scope=\"{}\"", scopes.join(" ")));
    }
    if let Some(metadata) = asked.metadata {
        parts.push(format!("resource_metadata=\"{metadata}\""));
    }
    if !error.is_empty() {
        let plain: String =
            refusal.message.chars().filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\')).collect();
        parts.push(format!("error_description=\"{plain}\""));
    }
    HeaderValue::from_str(&format!("Bearer {}", parts.join(", "))).ok()
}
