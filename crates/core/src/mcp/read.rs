//! The one reading of a client's message.

use super::era::{self, STATELESS_VERSION, UNNAMED_VERSION};
use super::message::{Incoming, Mirrored, Notification, Request};
use super::method::{Method, is_notification, named_member};
use super::{Era, Id};
use crate::deny::{Reason, Refusal};
use crate::head::{HEADER_MISMATCH, Head};
use crate::json::{self, Limits, Object, Value};

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// The members of `params._meta` that belong to the protocol.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META: [&str; 9] = [
    META_VERSION,
    META_CAPABILITIES,
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/related-task",
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
];

/// Members of `tools/call` that open exchanges which this version does not serve: tasks, and further rounds.
const UNSERVED: [&str; 3] = ["task", "inputResponses", "requestState"];

/// The most arguments that are mirrored in header fields.
const MIRRORED: usize = 32;

/// The longest tool name (2025-11-25, Tools, Tool Names).
const TOOL_NAME_BYTES: usize = 128;

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
    check_members(&object)?;
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid("`jsonrpc` must be \"2.0\"."));
    }
    let id = match object.get("id").map(Id::read) {
        Some(None) => return Err(invalid("`id` must be a string or a whole number within ±(2^53 - 1).")),
        Some(id) => id,
        None => None,
    };
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
    check_params(kind, params.as_ref(), era)?;
    agree_on_params(head, kind, params.as_ref())?;
    if let Some(Value::Object(meta)) = params.as_mut().and_then(|params| params.get_mut("_meta")) {
        meta.retain(|key, _| !is_ours(key));
    }
    let version = version.to_owned();
    Ok(match id {
        Some(id) => Incoming::Request(Request { id, kind, method, params, era, version }),
        None => Incoming::Notification(Notification { kind, method, params, era, version }),
    })
}

/// JSON-RPC 2.0 section 4: the members of a request, and no others. A response is told apart to say what is wrong.
fn check_members(object: &Object) -> Result<(), Refusal> {
    let answers = object.get("result").is_some() || object.get("error").is_some();
    if answers && object.get("method").is_none() {
        return Err(invalid("Responses are not taken here; nothing was asked of this client."));
    }
    if object.iter().all(|(key, _)| matches!(key, "jsonrpc" | "id" | "method" | "params")) {
        Ok(())
    } else {
        Err(invalid("A request has the members `jsonrpc`, `id`, `method` and `params`, and no others."))
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
        (None, _) => Err(era::unsupported(version)),
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

fn check_params(kind: Method, params: Option<&Object>, era: Era) -> Result<(), Refusal> {
    if let Some(params) = params {
        check_spelling("params", params, kind.params())?;
    }
    let member = |name: &str| params.and_then(|params| params.get(name));
    check_meta(member("_meta"), era)?;
    match kind {
        Method::Initialize => match member("protocolVersion") {
            Some(Value::String(_)) => Ok(()),
            _ => Err(bad_params("`params.protocolVersion` must be a string.")),
        },
        Method::ToolsList => match member("cursor") {
            None | Some(Value::String(_)) => Ok(()),
            Some(_) => Err(bad_params("`params.cursor` must be a string.")),
        },
        Method::ToolsCall => {
            if UNSERVED.into_iter().any(|name| member(name).is_some()) {
                return Err(bad_params("Tasks and further rounds of a call are not served; call the tool directly."));
            }
            match member("name") {
                Some(Value::String(name)) if is_tool_name(name) => {}
                _ => return Err(bad_params("`params.name` must be a tool name: 1 to 128 visible ASCII characters.")),
            }
            match member("arguments") {
                None => Ok(()),
                Some(arguments @ Value::Object(_)) if numbers_are_exact(arguments) => Ok(()),
                Some(Value::Object(_)) => Err(bad_arguments(
                    "A number in the arguments would not mean the same to every reader; send it as a string.",
                )),
                Some(_) => Err(bad_arguments("`params.arguments` must be an object.")),
            }
        }
        Method::Initialized | Method::Ping | Method::Discover => Ok(()),
    }
}

/// `params._meta` (2026-07-28, Base Protocol, Per-request protocol fields, and `_meta`).
fn check_meta(meta: Option<&Value>, era: Era) -> Result<(), Refusal> {
    let meta = match meta {
        None => None,
        Some(Value::Object(meta)) => Some(meta),
        Some(_) => return Err(bad_params("`params._meta` must be an object.")),
    };
    if let Some(meta) = meta {
        check_spelling("params._meta", meta, &META)?;
    }
    let token = meta.and_then(|meta| meta.get("progressToken"));
    if token.is_some_and(|token| Id::read(token).is_none()) {
        return Err(bad_params("`params._meta.progressToken` must be a string or a whole number."));
    }
    let capabilities = meta.and_then(|meta| meta.get(META_CAPABILITIES));
    if era == Era::Stateless && capabilities.and_then(Value::as_object).is_none() {
        return Err(bad_params(format!("`params._meta` must hold `{META_CAPABILITIES}`, an object.")));
    }
    Ok(())
}

/// Refuses members that another reader could take for a known one: some match names without regard to case, some
/// fold Unicode while they do. The specification's own names are ASCII, so nothing else is needed here.
fn check_spelling(place: &str, object: &Object, known: &[&str]) -> Result<(), Refusal> {
    let look_alike =
        |key: &str| !key.is_ascii() || known.iter().any(|known| *known != key && known.eq_ignore_ascii_case(key));
    if object.iter().any(|(key, _)| look_alike(key)) {
        return Err(bad_params(format!("`{place}` has a member that is a known one but for its spelling.")));
    }
    Ok(())
}

/// Visible ASCII: what the specification recommends and a little more, and nothing that looks like something else.
pub(super) fn is_tool_name(name: &str) -> bool {
    (1..=TOOL_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn numbers_are_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_exact(),
        Value::Array(items) => items.iter().all(numbers_are_exact),
        Value::Object(object) => object.iter().all(|(_, member)| numbers_are_exact(member)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
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

fn bad_params(message: impl Into<String>) -> Refusal {
    malformed(INVALID_PARAMS, message)
}

fn bad_arguments(message: &str) -> Refusal {
    Refusal::new(Reason::BadArguments, message).with_code(400, INVALID_PARAMS)
}
