//! What the parameters of each method must be, so that every reader takes the same from them.

use super::read::{META_VERSION, bad_arguments, bad_params};
use super::{Era, Id, Method, uri};
use crate::deny::Refusal;
use crate::json::{Number, Object, Value};

const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The members of `params._meta` that belong to the protocol.
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
/// RFC 5424's severities, as MCP's logging spells them.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
/// What a `subscriptions/listen` can ask for (2026-07-28, Subscriptions).
const LISTEN: [&str; 4] = ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"];
/// The most resources that one `subscriptions/listen` may name.
pub(super) const SUBSCRIPTIONS: usize = 1_000;
/// The longest tool name (2025-11-25, Tools, Tool Names).
const TOOL_NAME_BYTES: usize = 128;
const PROMPT_NAME_BYTES: usize = 256;
/// The client's capability that only tasks need, and the extension that they became.
const TASKS: &str = "tasks";
const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Checks the parameters of a message of `kind`.
///
/// # Errors
/// [`Refusal`] 400 with -32602.
pub(super) fn check(kind: Method, params: Option<&Object>, era: Era) -> Result<(), Refusal> {
    if let Some(params) = params {
        check_spelling("params", params, kind.params())?;
    }
    let member = |name: &str| params.and_then(|params| params.get(name));
    // Of arguments more is asked, below.
    if params.is_some_and(|params| params.iter().any(|(name, value)| name != "arguments" && !numbers_are_finite(value)))
    {
        return Err(bad_params("A number in `params` is larger than any reader can hold."));
    }
    check_meta(member("_meta"), era)?;
    if kind.has_rounds() {
        check_rounds(params, era)?;
    }
    match kind {
        Method::Initialize => text(member("protocolVersion"), "protocolVersion").map(drop),
        Method::ToolsList | Method::PromptsList | Method::ResourcesList | Method::TemplatesList => {
            member("cursor").map_or(Ok(()), |cursor| text(Some(cursor), "cursor").map(drop))
        }
        Method::ToolsCall => check_call(params),
        Method::PromptsGet => {
            prompt_name(member("name"), "name")?;
            member("arguments").map_or(Ok(()), |arguments| texts(arguments, "arguments"))
        }
        Method::ResourcesRead | Method::Subscribe | Method::Unsubscribe => resource_uri(member("uri"), "uri"),
        Method::Complete => check_complete(params),
        Method::Listen => check_listen(member("notifications")),
        Method::SetLevel => match text(member("level"), "level")? {
            level if LEVELS.contains(&level) => Ok(()),
            _ => Err(bad_params("`params.level` must be one of the eight severities of RFC 5424, such as `info`.")),
        },
        Method::Cancelled => about(member("requestId"), "requestId"),
        Method::Progress => {
            about(member("progressToken"), "progressToken")?;
            match member("progress") {
                Some(Value::Number(_)) => Ok(()),
                _ => Err(bad_params("`params.progress` must be a number.")),
            }
        }
        Method::Initialized | Method::Ping | Method::Discover | Method::RootsChanged => Ok(()),
    }
}

/// Takes out what would open exchanges that are not served here: capabilities for tasks, the wish for one (which whoever
/// serves none ignores: 2025-11-25, Tasks, Task Support), and notifications that no rule could judge.
pub(super) fn tidy(kind: Method, params: &mut Object) {
    if kind == Method::ToolsCall {
        params.remove("task");
    }
    if kind == Method::Initialize
        && let Some(Value::Object(capabilities)) = params.get_mut("capabilities")
    {
        without_tasks(capabilities);
    }
    if let Some(Value::Object(capabilities)) =
        params.get_mut("_meta").and_then(|meta| meta.as_object_mut()?.get_mut(META_CAPABILITIES))
    {
        without_tasks(capabilities);
    }
    if kind == Method::Listen
        && let Some(Value::Object(wanted)) = params.get_mut("notifications")
    {
        wanted.retain(|name, _| LISTEN.contains(&name));
    }
}

pub(super) fn without_tasks(capabilities: &mut Object) {
    capabilities.remove(TASKS);
    if let Some(Value::Object(extensions)) = capabilities.get_mut("extensions") {
        extensions.remove(TASKS_EXTENSION);
    }
}

fn text<'a>(value: Option<&'a Value>, name: &str) -> Result<&'a str, Refusal> {
    value.and_then(Value::as_str).ok_or_else(|| bad_params(format!("`params.{name}` must be a string.")))
}

fn texts(value: &Value, name: &str) -> Result<(), Refusal> {
    match value {
        Value::Object(members) if members.iter().all(|(_, member)| member.as_str().is_some()) => Ok(()),
        _ => Err(bad_params(format!("`params.{name}` must be an object of strings."))),
    }
}

fn about(value: Option<&Value>, name: &str) -> Result<(), Refusal> {
    match value.and_then(Id::read) {
        Some(_) => Ok(()),
        None => Err(bad_params(format!("`params.{name}` must be a string or a whole number."))),
    }
}

fn prompt_name(value: Option<&Value>, name: &str) -> Result<(), Refusal> {
    if is_prompt_name(text(value, name)?) {
        return Ok(());
    }
    Err(bad_params(format!(
        "`params.{name}` must be a prompt's name: 1 to 256 ASCII characters, not beginning or ending with a space."
    )))
}

fn resource_uri(value: Option<&Value>, name: &str) -> Result<(), Refusal> {
    if uri::is_normal(text(value, name)?) {
        return Ok(());
    }
    Err(bad_params(format!(
        "`params.{name}` must be an absolute URI in its normal form (RFC 3986 section 6.2.2), without dot segments."
    )))
}

fn check_call(params: Option<&Object>) -> Result<(), Refusal> {
    let member = |name: &str| params.and_then(|params| params.get(name));
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

/// What a further round brings (2026-07-28, Multi Round-Trip Requests).
fn check_rounds(params: Option<&Object>, era: Era) -> Result<(), Refusal> {
    let member = |name: &str| params.and_then(|params| params.get(name));
    let (responses, state) = (member("inputResponses"), member("requestState"));
    if era == Era::Session && (responses.is_some() || state.is_some()) {
        return Err(bad_params("Further rounds of a request belong to the stateless era."));
    }
    match responses {
        None => {}
        Some(Value::Object(members)) if members.iter().all(|(_, answer)| answer.as_object().is_some()) => {}
        Some(_) => return Err(bad_params("`params.inputResponses` must be an object of objects.")),
    }
    state.map_or(Ok(()), |state| text(Some(state), "requestState").map(drop))
}

/// `completion/complete`: for a prompt by its name, or for a resource by the template of its URI.
fn check_complete(params: Option<&Object>) -> Result<(), Refusal> {
    let object = |name: &str| {
        let found = params.and_then(|params| params.get(name)?.as_object());
        found.ok_or_else(|| bad_params(format!("`params.{name}` must be an object.")))
    };
    let (reference, argument) = (object("ref")?, object("argument")?);
    check_spelling("params.ref", reference, &["type", "name", "uri", "title"])?;
    check_spelling("params.argument", argument, &["name", "value"])?;
    text(argument.get("name"), "argument.name")?;
    text(argument.get("value"), "argument.value")?;
    if let Some(context) = params.and_then(|params| params.get("context")) {
        let Value::Object(context) = context else { return Err(bad_params("`params.context` must be an object.")) };
        context.get("arguments").map_or(Ok(()), |arguments| texts(arguments, "context.arguments"))?;
    }
    match (reference.get("type").and_then(Value::as_str), reference.get("name"), reference.get("uri")) {
        (Some("ref/prompt"), name, None) => prompt_name(name, "ref.name"),
        (Some("ref/resource"), None, Some(Value::String(uri))) if uri::is_normal(uri) || uri::is_template(uri) => {
            Ok(())
        }
        _ => Err(bad_params(
            "`params.ref` must be a `ref/prompt` with a `name`, or a `ref/resource` with a `uri` in its normal form.",
        )),
    }
}

fn check_listen(wanted: Option<&Value>) -> Result<(), Refusal> {
    let Some(Value::Object(wanted)) = wanted else {
        return Err(bad_params("`params.notifications` must be an object."));
    };
    check_spelling("params.notifications", wanted, &LISTEN)?;
    for (name, value) in wanted.iter() {
        let fits = match (name, value) {
            ("resourceSubscriptions", Value::Array(uris)) => {
                uris.len() <= SUBSCRIPTIONS && uris.iter().all(|uri| uri.as_str().is_some_and(uri::is_normal))
            }
            (name, value) => !LISTEN.contains(&name) || matches!(value, Value::Bool(_)),
        };
        if !fits {
            return Err(bad_params(
                "`params.notifications` holds true or false, and in `resourceSubscriptions` a list of URIs in normal form.",
            ));
        }
    }
    Ok(())
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

/// ASCII with spaces inside: the specification says nothing of prompts' names.
pub(super) fn is_prompt_name(name: &str) -> bool {
    (1..=PROMPT_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && name.trim_matches(' ') == name
}

fn numbers_are_exact(value: &Value) -> bool {
    all_numbers(value, Number::is_exact)
}

/// Whether no number in `value` is beyond every double.
pub(super) fn numbers_are_finite(value: &Value) -> bool {
    all_numbers(value, Number::is_finite)
}

fn all_numbers(value: &Value, test: fn(&Number) -> bool) -> bool {
    match value {
        Value::Number(number) => test(number),
        Value::Array(items) => items.iter().all(|item| all_numbers(item, test)),
        Value::Object(object) => object.iter().all(|(_, member)| all_numbers(member, test)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
