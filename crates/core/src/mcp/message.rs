//! A client's message after it was read, and how it is written for the upstream.

use super::method::{Method, named_member};
use super::{Era, Id};
use crate::head::{Head, value};
use crate::json::{Number, Object, Value, canonical_object, write_object, write_str};

pub use super::read::{INVALID_PARAMS, read};

/// The capabilities of clients, and what a server asks for that needs them.
const ASKED_WITH: [(&str, &str); 3] =
    [("sampling", "sampling/createMessage"), ("elicitation", "elicitation/create"), ("roots", "roots/list")];

/// What a client may send.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    Request(Request),
    Notification(Notification),
    Response(ClientResponse),
}

/// A client's answer to a request of its server (session era only).
#[derive(Debug, Clone, PartialEq)]
pub struct ClientResponse {
    /// The id under which the client was asked.
    pub id: Id,
    /// `result` or `error` with its content, which is passed on as it is.
    pub member: &'static str,
    pub content: Object,
    pub version: String,
}

/// What a request is about: the thing that rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// It opens nothing by itself.
    None,
    Tool(&'a str),
    Prompt(&'a str),
    /// A resource URI, or for completion the template of one.
    Resource(&'a str),
}

/// A request of a served method, agreed between head and body.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: Id,
    /// The served method that `method` names.
    pub kind: Method,
    pub method: String,
    pub params: Option<Object>,
    pub era: Era,
    /// The protocol revision that it speaks.
    pub version: String,
}

/// A notification of a served method.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    pub kind: Method,
    pub method: String,
    pub params: Option<Object>,
    pub era: Era,
    pub version: String,
}

impl Request {
    /// What it is about.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        let text = |name: &str| self.params.as_ref()?.get(name)?.as_str();
        let found = match self.kind {
            Method::ToolsCall => text("name").map(Target::Tool),
            Method::PromptsGet => text("name").map(Target::Prompt),
            Method::ResourcesRead | Method::Subscribe | Method::Unsubscribe => text("uri").map(Target::Resource),
            Method::Complete => self.completed(),
            _ => None,
        };
        found.unwrap_or(Target::None)
    }

    fn completed(&self) -> Option<Target<'_>> {
        let reference = self.params.as_ref()?.get("ref")?;
        match reference.get("name").and_then(Value::as_str) {
            Some(name) => Some(Target::Prompt(name)),
            None => reference.get("uri")?.as_str().map(Target::Resource),
        }
    }

    /// The name of the argument that a `completion/complete` wants values for.
    #[must_use]
    pub fn completed_argument(&self) -> Option<&str> {
        self.params.as_ref()?.get("argument")?.get("name")?.as_str()
    }

    /// The name of the tool that a `tools/call` calls.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        if let Target::Tool(tool) = self.target() { Some(tool) } else { None }
    }

    /// The arguments of a call or of a prompt, if it has any.
    #[must_use]
    pub fn arguments(&self) -> Option<&Object> {
        match self.kind {
            Method::ToolsCall | Method::PromptsGet => self.params.as_ref()?.get("arguments")?.as_object(),
            _ => None,
        }
    }

    /// The cursor of a list, to be opened in place.
    pub fn cursor_mut(&mut self) -> Option<&mut String> {
        self.kind.lists()?;
        self.text_mut("cursor")
    }

    /// The state of an earlier round, to be opened in place (2026-07-28, Multi Round-Trip Requests).
    pub fn state_mut(&mut self) -> Option<&mut String> {
        if self.kind.has_rounds() { self.text_mut("requestState") } else { None }
    }

    fn text_mut(&mut self, member: &str) -> Option<&mut String> {
        match self.params.as_mut()?.get_mut(member)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What stays the same from round to round: the parameters without what rounds add. RFC 8785 text.
    #[must_use]
    pub fn canonical_core(&self) -> Vec<u8> {
        let mut core = self.params.clone().unwrap_or_default();
        core.retain(|key, _| !matches!(key, "_meta" | "inputResponses" | "requestState"));
        let mut out = Vec::new();
        canonical_object(&core, &mut out);
        out
    }

    /// As much of the parameters as says what it is about, and the token under which progress is told.
    #[must_use]
    pub fn naming_params(&self) -> Object {
        let mut params = Object::new();
        for name in ["name", "uri"] {
            if let Some(text) = self.params.as_ref().and_then(|params| params.get(name)?.as_str()) {
                params.insert(name, text.into());
            }
        }
        if let Some(token) = self.progress_token() {
            let mut meta = Object::new();
            meta.insert("progressToken", token.to_value());
            params.insert("_meta", Value::Object(meta));
        }
        params
    }

    /// The token under which the client wants to hear of progress.
    #[must_use]
    pub fn progress_token(&self) -> Option<Id> {
        Id::read(self.params.as_ref()?.get("_meta")?.get("progressToken")?)
    }

    /// The URIs that a `subscriptions/listen` wants to hear of, for which `keep` says yes; the others are taken out.
    pub fn retain_subscriptions(&mut self, mut keep: impl FnMut(&str) -> bool) {
        if self.kind != Method::Listen {
            return;
        }
        let wanted = self.params.as_mut().and_then(|params| params.get_mut("notifications")?.as_object_mut());
        if let Some(Value::Array(uris)) = wanted.and_then(|wanted| wanted.get_mut("resourceSubscriptions")) {
            uris.retain(|uri| uri.as_str().is_some_and(&mut keep));
        }
    }
}

impl Request {
    /// Takes out of what a client says in `initialize` that it can do whatever `keep` says no to, by the method that a
    /// server would ask for it with: a server that is told so goes another way.
    ///
    /// In the stateless era each request says it again, and what a server then asks for is judged in its answer.
    pub fn retain_capabilities(&mut self, keep: impl Fn(&str) -> bool) {
        if self.kind != Method::Initialize {
            return;
        }
        let declared = self.params.as_mut().and_then(|params| params.get_mut("capabilities")?.as_object_mut());
        let Some(declared) = declared else { return };
        declared.retain(|capability, _| {
            ASKED_WITH.iter().find(|(known, _)| *known == capability).is_none_or(|(_, method)| keep(method))
        });
    }
}

impl Notification {
    /// The id or token that `notifications/cancelled` or `notifications/progress` speaks of.
    #[must_use]
    pub fn about(&self) -> Option<Id> {
        let member = match self.kind {
            Method::Cancelled => "requestId",
            Method::Progress => "progressToken",
            _ => return None,
        };
        Id::read(self.params.as_ref()?.get(member)?)
    }

    /// The same, about our own id instead.
    pub fn set_about(&mut self, id: &str) {
        if self.kind == Method::Cancelled
            && let Some(params) = &mut self.params
        {
            params.insert("requestId", id.into());
        }
    }
}

/// A client's answer written anew, under the id that the server gave its request.
#[must_use]
pub fn upstream_response(response: &ClientResponse, server_id: &Id) -> Vec<u8> {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
    server_id.write_json(&mut out);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(response.member.as_bytes());
    out.extend_from_slice(b"\":");
    write_object(&response.content, &mut out);
    out.push(b'}');
    out
}

/// The request written anew under our own id, so that no two callers' ids ever meet.
#[must_use]
pub fn upstream_body(request: &Request, id: &str) -> Vec<u8> {
    body(Some(id), &request.method, request.params.as_ref())
}

/// The notification written anew.
#[must_use]
pub fn upstream_notification(notification: &Notification) -> Vec<u8> {
    body(None, &notification.method, notification.params.as_ref())
}

/// The protocol's header fields for a request: all of them in the stateless era; in the session era only the
/// version, and only when the client sent it, because servers there read none of the others.
#[must_use]
pub fn upstream_headers(request: &Request, head: &Head) -> Vec<(String, String)> {
    if request.era == Era::Session {
        return session_headers(head);
    }
    let mut fields = vec![
        ("mcp-protocol-version".to_owned(), request.version.clone()),
        ("mcp-method".to_owned(), request.method.clone()),
    ];
    let name = named_member(&request.method).and_then(|member| request.params.as_ref()?.get(member)?.as_str());
    fields.extend(name.map(|name| ("mcp-name".to_owned(), value::encode(name))));
    fields.extend(head.mcp_params.iter().map(|(name, text)| (format!("mcp-param-{name}"), value::encode(text))));
    fields
}

/// The protocol's header fields for a notification or another message of the session era.
#[must_use]
pub fn session_headers(head: &Head) -> Vec<(String, String)> {
    head.version.iter().map(|version| ("mcp-protocol-version".to_owned(), version.clone())).collect()
}

/// Writes a JSON-RPC request, or a notification without an id.
pub(super) fn body(id: Option<&str>, method: &str, params: Option<&Object>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        write_str(id, &mut out);
    }
    out.extend_from_slice(b",\"method\":");
    write_str(method, &mut out);
    if let Some(params) = params {
        out.extend_from_slice(b",\"params\":");
        write_object(params, &mut out);
    }
    out.push(b'}');
    out
}

/// The value of an `Mcp-Param-*` field (2026-07-28, Streamable HTTP, Value Encoding; numbers compare by value, as its
/// Server Validation asks).
pub(super) struct Mirrored<'a> {
    text: &'a str,
    number: Option<Number>,
}

impl<'a> Mirrored<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, number: Number::from_text(text) }
    }

    /// Whether some scalar that is reached through objects alone has this value.
    pub fn occurs_in(&self, arguments: &Object) -> bool {
        arguments.iter().any(|(_, value)| match value {
            Value::Object(nested) => self.occurs_in(nested),
            scalar => self.is(scalar),
        })
    }

    /// Whether every scalar argument of this name, whatever its case, has this value. `None` if there is no such one.
    pub fn is_what_is_named(&self, name: &str, arguments: &Object) -> Option<bool> {
        arguments.iter().fold(None, |found, (key, value)| {
            let here = match value {
                Value::Object(nested) => self.is_what_is_named(name, nested),
                scalar => key.eq_ignore_ascii_case(name).then(|| self.is(scalar)),
            };
            match (found, here) {
                (Some(before), Some(now)) => Some(before && now),
                (one, other) => one.or(other),
            }
        })
    }

    fn is(&self, scalar: &Value) -> bool {
        match scalar {
            Value::String(own) => own == self.text,
            Value::Bool(flag) => self.text == if *flag { "true" } else { "false" },
            Value::Number(own) => self.number.as_ref().is_some_and(|number| number.cmp_exact(own).is_eq()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}
