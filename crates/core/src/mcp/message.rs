//! A client's message after it was read, and how it is written for the upstream.

use super::method::{Method, named_member};
use super::{Era, Id};
use crate::head::{Head, value};
use crate::json::{Number, Object, Value, write_object, write_str};

pub use super::read::read;

/// What a client may send. Responses of clients are refused in reading: nothing here asks them anything.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    Request(Request),
    Notification(Notification),
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
    /// The name of the tool that a `tools/call` calls.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        match self.kind {
            Method::ToolsCall => self.params.as_ref()?.get("name")?.as_str(),
            _ => None,
        }
    }

    /// The arguments of a `tools/call`, if it has any.
    #[must_use]
    pub fn arguments(&self) -> Option<&Object> {
        match self.kind {
            Method::ToolsCall => self.params.as_ref()?.get("arguments")?.as_object(),
            _ => None,
        }
    }
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
