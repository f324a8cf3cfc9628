//! Sorts the fields of a request: which may occur once, which are lists, which do not exist for us.

use std::borrow::Cow;

use super::framing::Framing;
use super::value::trim;
use super::{HEADER_MISMATCH, Reason, Refusal};

/// Fields that a `Connection` option must not name: dropping one of them would change what was asked, or by whom.
const PINNED: [&str; 6] =
    ["authorization", "host", "origin", "transfer-encoding", "proxy-authorization", "last-event-id"];

const MCP_PREFIX: &str = "mcp-";
const PARAM_PREFIX: &str = "mcp-param-";

/// The fields that mean something here, unread. The rest is not kept, so it cannot be forwarded or believed:
/// forwarded addresses, identity fields, method overrides and cookies among it.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub host: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub content_encoding: bool,
    framing: Framing,
    pub version: Option<&'a str>,
    pub session: Option<&'a str>,
    pub last_event_id: Option<&'a str>,
    pub mcp_method: Option<&'a str>,
    pub mcp_name: Option<&'a str>,
    pub mcp_params: Vec<(String, &'a str)>,
    pub accept: Vec<&'a str>,
    pub user_agent: Option<String>,
    pub traceparent: Option<&'a str>,
    pub tracestate: Option<String>,
    pub baggage: Option<String>,
    connection: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    pub fn collect(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.add(name, value)?;
        }
        fields.apply_connection()?;
        Ok(fields)
    }

    fn add(&mut self, name: &'a str, value: &'a [u8]) -> Result<(), Refusal> {
        // A CGI-style server folds `_` and `-` into one, so a twin with `_` could pass for the field itself.
        if name.contains('_') {
            return Ok(());
        }
        let name = lower_case(name);
        let slot = match &*name {
            "host" => &mut self.host,
            "origin" => &mut self.origin,
            "authorization" => &mut self.authorization,
            "content-type" => &mut self.content_type,
            "content-length" => return self.framing.length(text(&name, value)?.as_bytes()),
            "transfer-encoding" => return self.framing.coding(text(&name, value)?.as_bytes()),
            "mcp-protocol-version" => &mut self.version,
            "mcp-session-id" => &mut self.session,
            "last-event-id" => &mut self.last_event_id,
            "mcp-method" => &mut self.mcp_method,
            "mcp-name" => &mut self.mcp_name,
            "content-encoding" => {
                self.content_encoding = true;
                return Ok(());
            }
            "connection" => {
                self.connection.push(text(&name, value)?);
                return Ok(());
            }
            other => {
                if let Some(param) = other.strip_prefix(PARAM_PREFIX) {
                    return self.add_param(param, text(&name, value)?);
                }
                self.add_optional(other, value);
                return Ok(());
            }
        };
        if slot.is_some() {
            return Err(repeated(&name));
        }
        *slot = Some(text(&name, value)?);
        Ok(())
    }

    fn add_param(&mut self, param: &str, value: &'a str) -> Result<(), Refusal> {
        if param.is_empty() || self.mcp_params.iter().any(|(name, _)| name == param) {
            return Err(repeated(PARAM_PREFIX));
        }
        self.mcp_params.push((param.to_owned(), value));
        Ok(())
    }

    /// Fields that describe and never decide: a bad one is left out rather than refused.
    fn add_optional(&mut self, name: &str, value: &'a [u8]) {
        if !matches!(name, "accept" | "user-agent" | "traceparent" | "tracestate" | "baggage") {
            return;
        }
        let Ok(text) = text(name, value) else {
            if name == "user-agent" {
                self.user_agent = Some(String::from_utf8_lossy(value).replace(char::is_control, "\u{fffd}"));
            }
            return;
        };
        let join = |list: &mut Option<String>| match list {
            Some(list) => {
                list.push(',');
                list.push_str(text);
            }
            None => *list = Some(text.to_owned()),
        };
        match name {
            "accept" => self.accept.push(text),
            "user-agent" => self.user_agent = Some(text.to_owned()),
            // Two of them make neither trustworthy (W3C Trace Context section 3.2): an empty one is never valid.
            "traceparent" => self.traceparent = Some(if self.traceparent.is_some() { "" } else { text }),
            "tracestate" => join(&mut self.tracestate),
            "baggage" => join(&mut self.baggage),
            _ => {}
        }
    }

    /// RFC 9110 section 7.6.1: an intermediary removes the fields that `Connection` names. A caller could have
    /// that done to a field that a decision rests on, so naming one of those is refused.
    fn apply_connection(&mut self) -> Result<(), Refusal> {
        let options = std::mem::take(&mut self.connection);
        for option in options.iter().flat_map(|list| list.split(',')) {
            let option = lower_case(trim(option));
            if PINNED.contains(&&*option) || option.starts_with("content-") || option.starts_with(MCP_PREFIX) {
                return Err(Refusal::new(Reason::Header, "`Connection` names a field that cannot be left out."));
            }
            match &*option {
                "accept" => self.accept.clear(),
                "user-agent" => self.user_agent = None,
                "traceparent" => self.traceparent = None,
                "tracestate" => self.tracestate = None,
                "baggage" => self.baggage = None,
                _ => {}
            }
        }
        Ok(())
    }
}

fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn repeated(name: &str) -> Refusal {
    refused(name, format!("`{name}` must not occur more than once."))
}

/// The value without surrounding white space, if it is visible ASCII with inner spaces and tabs (RFC 9110 section 5.5).
fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, Refusal> {
    Some(value)
        .filter(|value| value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')))
        .and_then(|value| std::str::from_utf8(value).ok())
        .map(trim)
        .ok_or_else(|| refused(name, format!("`{name}` holds invisible characters.")))
}

/// The refusal of a field: HTTP's own, or for one of MCP's fields the code that MCP gives it.
fn refused(name: &str, message: String) -> Refusal {
    if name.starts_with(MCP_PREFIX) {
        Refusal::new(Reason::Malformed, message).with_code(400, HEADER_MISMATCH)
    } else {
        Refusal::new(Reason::Header, message)
    }
}
