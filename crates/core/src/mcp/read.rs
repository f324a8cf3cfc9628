//! The one reading of a client's message.

use super::era::{self, STATELESS_VERSION, UNNAMED_VERSION};
use super::message::{ClientResponse, Incoming, Mirrored, Notification, Request};
use super::method::{Method, is_notification, named_member};
use super::{Era, Id, params};
use crate::deny::{Reason, Refusal};
use crate::head::{HEADER_MISMATCH, Head};
use crate::json::{self, Limits, Object, Value};

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;

/// The member of `params._meta` that names the protocol version.
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// The most arguments that are mirrored in header fields.
const MIRRORED: usize = 32;

/// Reads the body of a POST as exactly one message of a served method, agreed with its head.
///
/// # Errors
/// [`Refusal`] for whatever is malformed, ambiguous, contradicts the head or is not served. It carries the request's
/// id where that was read safely. A refused notification has status 202 in the session era, where a client must not
/// be told more, and 403 in the stateless one.
pub fn read(body: &[u8], head: &Head, limits: &Limits) -> Result<Incoming, Refusal> {
    let value = json::parse(body, limits)
        .map_err(|error| malformed(PARSE_ERROR, format!("The body is not one strict JSON text: {error}.")))?;
    let object = match value {
        Value::Object(object) => object,
        Value::Array(_) => return Err(invalid("Batches are not taken; send each message in a request of its own.")),
        _ => return Err(invalid("The body must be one JSON-RPC object.")),
    };
    let id = object.get("id").and_then(Id::read);
    message(object, head).map_err(|refusal| refusal.with_id(id))
}

fn message(mut object: Object, head: &Head) -> Result<Incoming, Refusal> {
    let answers = object.get("method").is_none() && (object.get("result").is_some() || object.get("error").is_some());
    check_members(&object, answers)?;
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid("`jsonrpc` must be \"2.0\"."));
    }
    let id = match object.get("id").map(Id::read) {
        Some(None) => return Err(invalid("`id` must be a string or a whole number within ±(2^53 - 1).")),
        Some(id) => id,
        None => None,
    };
    if answers {
        return response(object, id, head).map(Incoming::Response);
    }
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(invalid("`method` must be a string."));
    };
    let mut params = match object.remove("params") {
        None => None,
        Some(Value::Object(params)) => Some(params),
        Some(_) => return Err(invalid("`params` must be an object.")),
    };
    match (&id, is_notification(&method)) {
        (Some(_), true) => return Err(invalid("A notification has no `id`.")),
        (None, false) => return Err(invalid("This method is a request, and a request needs an `id`.")),
        _ => {}
    }

    let (era, version) = agree_on_era(head, params.as_ref(), id.is_some())?;
    agree_on_names(head, &method, params.as_ref(), era, id.is_some())?;
    let kind = Method::find(&method, era).ok_or_else(|| unserved(era, id.is_some()))?;
    params::check(kind, params.as_ref(), era)?;
    agree_on_params(head, kind, params.as_ref())?;
    if let Some(params) = &mut params {
        strip_ours(params);
        params::tidy(kind, params);
    }
    let version = version.to_owned();
    Ok(match id {
        Some(id) => Incoming::Request(Request { id, kind, method, params, era, version }),
        None => Incoming::Notification(Notification { kind, method, params, era, version }),
    })
}

/// JSON-RPC 2.0 sections 4 and 5: the members of a request or of a response, and no others.
fn check_members(object: &Object, answers: bool) -> Result<(), Refusal> {
    let known = |key: &str| match key {
        "jsonrpc" | "id" => true,
        "method" | "params" => !answers,
        "result" | "error" => answers,
        _ => false,
    };
    match (object.iter().all(|(key, _)| known(key)), answers) {
        (true, _) => Ok(()),
        (false, false) => {
            Err(invalid("A request has the members `jsonrpc`, `id`, `method` and `params`, and no others."))
        }
        (false, true) => {
            Err(invalid("A response has the members `jsonrpc`, `id` and one of `result` and `error`, and no others."))
        }
    }
}

/// A client's answer. Whether anything was asked under its id is for the session to say.
fn response(mut object: Object, id: Option<Id>, head: &Head) -> Result<ClientResponse, Refusal> {
    let (era, version) = agree_on_era(head, None, false)?;
    if era == Era::Stateless || head.mcp_method.is_some() || head.mcp_name.is_some() || !head.mcp_params.is_empty() {
        return Err(invalid("Responses are not taken here; nothing was asked of this client."));
    }
    let Some(id) = id else { return Err(invalid("A response needs the `id` of the request that it answers.")) };
    let (member, content) = match (object.remove("result"), object.remove("error")) {
        (Some(Value::Object(result)), None) => ("result", result),
        (None, Some(Value::Object(error))) if is_error(&error) => ("error", error),
        _ => return Err(invalid("A response has one of `result`, an object, and `error`, with `code` and `message`.")),
    };
    if !content.iter().all(|(_, value)| params::numbers_are_finite(value)) {
        return Err(invalid("A number in the answer is larger than any reader can hold."));
    }
    let mut content = content;
    strip_ours(&mut content);
    Ok(ClientResponse { id, member, content, version: version.to_owned() })
}

fn is_error(error: &Object) -> bool {
    error.get("code").and_then(Value::as_number).and_then(json::Number::as_i64).is_some()
        && error.get("message").and_then(Value::as_str).is_some()
        && error.iter().all(|(key, _)| matches!(key, "code" | "message" | "data"))
}

/// Takes out of `_meta` what only the gateway may say.
pub(super) fn strip_ours(holder: &mut Object) {
    if let Some(Value::Object(meta)) = holder.get_mut("_meta") {
        meta.retain(|key, _| !is_ours(key));
    }
}

/// The era is what `MCP-Protocol-Version` says, and `params._meta` must say the same.
fn agree_on_era<'a>(head: &'a Head, params: Option<&Object>, request: bool) -> Result<(Era, &'a str), Refusal> {
    let claimed = params.and_then(|params| params.get("_meta")?.get(META_VERSION));
    let Some(version) = head.version.as_deref() else {
        return match claimed {
            None => Ok((Era::Session, UNNAMED_VERSION)),
            Some(_) => Err(mismatch("`MCP-Protocol-Version` is missing, but `params._meta` names a version.")),
        };
    };
    let agreed = claimed.map(|claimed| claimed.as_str() == Some(version));
    match (Era::of_version(version), agreed) {
        (_, Some(false)) => Err(mismatch("`MCP-Protocol-Version` and `params._meta` name different versions.")),
        (None, claimed) => Err(era::unsupported(version, claimed.is_some())),
        (Some(Era::Session), Some(true)) => Err(mismatch(
            "A version in `params._meta` belongs to the stateless era, and the header to the session era.",
        )),
        (Some(Era::Stateless), None) if request => Err(bad_params(format!(
            "`params._meta` must hold `{META_VERSION}`, as every request of {STATELESS_VERSION} does."
        ))),
        (Some(era), _) => Ok((era, version)),
    }
}

/// `Mcp-Method` and `Mcp-Name` must say what the body says: both are required in the stateless era, and where the
/// session era sends them all the same, nobody in between may be told something else.
fn agree_on_names(head: &Head, method: &str, params: Option<&Object>, era: Era, request: bool) -> Result<(), Refusal> {
    let required = era == Era::Stateless && request;
    match head.mcp_method.as_deref() {
        Some(named) if named != method => return Err(mismatch("`Mcp-Method` and the body name different methods.")),
        None if required => return Err(mismatch("`Mcp-Method` is missing.")),
        _ => {}
    }
    let member = named_member(method);
    let own = member.and_then(|member| params?.get(member)).and_then(Value::as_str);
    match (head.mcp_name.as_deref(), own) {
        (Some(named), Some(own)) if named == own => Ok(()),
        (Some(_), _) => Err(mismatch("`Mcp-Name` and the body name different things.")),
        (None, Some(_)) if required => Err(mismatch("`Mcp-Name` is missing.")),
        (None, _) => Ok(()),
    }
}

/// Each `Mcp-Param-*` must repeat a scalar of the arguments. Which one is for the server to say, whose schema names
/// it; that it is one of them can be said here.
fn agree_on_params(head: &Head, kind: Method, params: Option<&Object>) -> Result<(), Refusal> {
    let arguments = match kind {
        Method::ToolsCall => params.and_then(|params| params.get("arguments")?.as_object()),
        _ => None,
    };
    // Each is sought among all arguments, so their number bounds the work.
    if head.mcp_params.len() > MIRRORED {
        return Err(mismatch("There are too many `Mcp-Param` headers."));
    }
    let found = |name: &str, text: &str| {
        arguments.is_some_and(|arguments| {
            let mirrored = Mirrored::new(text);
            // A server may mirror an argument under another name; one of the header's own name is what it must mean.
            mirrored.is_what_is_named(name, arguments).unwrap_or_else(|| mirrored.occurs_in(arguments))
        })
    };
    if head.mcp_params.iter().all(|(name, text)| found(name, text)) {
        Ok(())
    } else {
        Err(mismatch("An `Mcp-Param` header holds a value that the arguments do not."))
    }
}

/// Whether a `_meta` key is under our own name, which only the gateway may speak in.
pub(super) fn is_ours(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| prefix.split('.').any(|label| label.eq_ignore_ascii_case("ostiary")))
}

fn unserved(era: Era, request: bool) -> Refusal {
    let refusal = |status, code: Option<i64>| Refusal {
        status,
        code,
        ..Refusal::new(Reason::UnknownMethod, "This method is not served here; trying again will not help.")
    };
    match (era, request) {
        (Era::Stateless, true) => refusal(404, Some(METHOD_NOT_FOUND)),
        (Era::Session, true) => refusal(200, Some(METHOD_NOT_FOUND)),
        (Era::Stateless, false) => refusal(403, None),
        (Era::Session, false) => refusal(202, None),
    }
}

fn malformed(code: i64, message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Malformed, message).with_code(400, code)
}

fn invalid(message: &str) -> Refusal {
    malformed(INVALID_REQUEST, message)
}

fn mismatch(message: &str) -> Refusal {
    malformed(HEADER_MISMATCH, message)
}

pub(super) fn bad_params(message: impl Into<String>) -> Refusal {
    malformed(INVALID_PARAMS, message)
}

pub(super) fn bad_arguments(message: &str) -> Refusal {
    Refusal::new(Reason::BadArguments, message).with_code(400, INVALID_PARAMS)
}
