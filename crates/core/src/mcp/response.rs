//! What an upstream answered, and how it is written for the client.

use super::read::strip_ours;
use super::{Era, Id, UpstreamFault};
use crate::json::{self, Limits, Object, Value, write, write_object, write_str};

/// The codes with which the gateway itself refuses.
const OURS: [i64; 7] = [4030, 4031, 4290, 5000, 5020, 5030, 5040];
/// JSON-RPC 2.0 section 5.1.
const INTERNAL: i64 = -32603;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub result: Result<Object, ErrorObject>,
    /// The result is not the end: the server asks its client for something first (2026-07-28, Multi Round-Trip
    /// Requests).
    pub asks: bool,
}

/// A JSON-RPC error (JSON-RPC 2.0 section 5.1).
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorObject {
    pub code: i64,
    pub message: String,
    pub data: Option<Value>,
}

/// Reads the body of an upstream's answer to the request that went out under `our_id`.
///
/// # Errors
/// [`UpstreamFault`] unless it is exactly one response to that request.
pub fn read_response(body: &[u8], our_id: &str, era: Era) -> Result<Response, UpstreamFault> {
    match json::parse(body, &Limits::ANSWER)? {
        Value::Object(object) => from_object(object, our_id, era, false),
        _ => Err(UpstreamFault::NotResponse),
    }
}

/// Reads the body of a refusal by the upstream (a 4xx or 5xx), which may be an error that names no request.
///
/// # Errors
/// [`UpstreamFault`] unless it is a JSON-RPC error for `our_id`, or for no id at all.
pub fn read_failure(body: &[u8], our_id: &str, era: Era) -> Result<Response, UpstreamFault> {
    match json::parse(body, &Limits::ANSWER)? {
        Value::Object(object) => match from_object(object, our_id, era, true)? {
            response @ Response { result: Err(_), .. } => Ok(response),
            Response { result: Ok(_), .. } => Err(UpstreamFault::NotResponse),
        },
        _ => Err(UpstreamFault::NotResponse),
    }
}

/// Takes a response out of a message. Members that JSON-RPC does not know are left behind, and so is what a server
/// says in our name.
pub(super) fn from_object(
    mut object: Object,
    our_id: &str,
    era: Era,
    nameless_error: bool,
) -> Result<Response, UpstreamFault> {
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") || object.get("method").is_some() {
        return Err(UpstreamFault::NotResponse);
    }
    let ours = match object.get("id") {
        Some(Value::String(id)) => id == our_id,
        Some(Value::Null) | None => nameless_error && object.get("error").is_some(),
        Some(_) => false,
    };
    let parts = (object.remove("result"), object.remove("error"));
    if !ours {
        return Err(UpstreamFault::WrongId);
    }
    match parts {
        (Some(Value::Object(mut result)), None) => {
            let asks = asks(&result, era)?;
            strip_ours(&mut result);
            Ok(Response { result: Ok(result), asks })
        }
        (Some(_), None) => Err(UpstreamFault::ResultShape),
        (None, Some(error)) => Ok(Response { result: Err(read_error(error)?), asks: false }),
        (Some(_), Some(_)) | (None, None) => Err(UpstreamFault::NotResponse),
    }
}

/// Whether the result asks for input (2026-07-28, Results: an absent `resultType` counts as `complete`).
fn asks(result: &Object, era: Era) -> Result<bool, UpstreamFault> {
    match (era, result.get("resultType")) {
        // A client of the session era that knows the word all the same would act on what nobody judged.
        (Era::Session, Some(Value::String(kind))) if matches!(kind.as_str(), "input_required" | "task") => {
            Err(UpstreamFault::ResultType(kind.clone()))
        }
        (Era::Session, _) | (Era::Stateless, None) => Ok(false),
        (Era::Stateless, Some(Value::String(kind))) if kind == "complete" => Ok(false),
        (Era::Stateless, Some(Value::String(kind))) if kind == "input_required" => Ok(true),
        (Era::Stateless, Some(Value::String(kind))) => Err(UpstreamFault::ResultType(kind.chars().take(64).collect())),
        (Era::Stateless, Some(_)) => Err(UpstreamFault::ResultShape),
    }
}

fn read_error(error: Value) -> Result<ErrorObject, UpstreamFault> {
    let Value::Object(mut error) = error else { return Err(UpstreamFault::ErrorShape) };
    let code = error.get("code").and_then(Value::as_number).and_then(json::Number::as_i64);
    match (code, error.remove("message")) {
        // Our own codes come from us alone: with one, a server could hold out a remedy in our name.
        (Some(code), Some(Value::String(message))) if OURS.contains(&code) => {
            Ok(ErrorObject { code: INTERNAL, message, data: None })
        }
        (Some(code), Some(Value::String(message))) => Ok(ErrorObject { code, message, data: error.remove("data") }),
        _ => Err(UpstreamFault::ErrorShape),
    }
}

/// The answer written anew under the client's own id.
#[must_use]
pub fn write_response(response: &Response, client_id: &Id) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    client_id.write_json(&mut out);
    match &response.result {
        Ok(result) => {
            out.extend_from_slice(b",\"result\":");
            write_object(result, &mut out);
        }
        Err(error) => {
            out.extend_from_slice(b",\"error\":{\"code\":");
            out.extend_from_slice(error.code.to_string().as_bytes());
            out.extend_from_slice(b",\"message\":");
            write_str(&error.message, &mut out);
            if let Some(data) = &error.data {
                out.extend_from_slice(b",\"data\":");
                write(data, &mut out);
            }
            out.push(b'}');
        }
    }
    out.push(b'}');
    out
}
