//! What did they send, exactly? Everything that the head of a request says by itself.
//!
//! A head that two readers could read differently is refused before anything is looked up. What passes is kept
//! parsed, and nothing else of the head is ever forwarded: upstream fields are made anew from here.

mod fields;
pub mod forwarded;
pub mod frame;
mod framing;
pub mod host;
mod target;
pub mod value;

use std::fmt;

use crate::deny::{Reason, Refusal};
use fields::Fields;

/// The code of a missing, malformed or contradicting MCP header (2026-07-28, Streamable HTTP, Server Validation).
pub const HEADER_MISMATCH: i64 = -32020;

/// The longest bearer token that is looked at.
const TOKEN_BYTES: usize = 16 * 1024;

/// The head of one request, read once.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// The HTTP method, exactly as sent.
    pub method: String,
    /// The path, exactly as sent: nothing in it needs decoding or cleaning.
    pub path: String,
    /// What follows `?` in the target.
    pub query: Option<String>,
    /// The `Host` field in lower case, with its port if it has one.
    pub host: String,
    /// The `Origin` field.
    pub origin: Option<String>,
    pub user_agent: Option<String>,
    /// The credential, if there is exactly one `Authorization: Bearer` with a b64token (RFC 6750 section 2.1).
    pub bearer: Option<String>,
    /// `MCP-Protocol-Version`.
    pub version: Option<String>,
    /// `Mcp-Session-Id`. A request of the stateless era has no session whatever stands here.
    pub session: Option<String>,
    /// `Last-Event-ID`: where a stream of a session goes on (2025-11-25, Resumability and Redelivery).
    pub last_event_id: Option<String>,
    /// `Mcp-Method`.
    pub mcp_method: Option<String>,
    /// `Mcp-Name`, decoded.
    pub mcp_name: Option<String>,
    /// `Mcp-Param-*` by the lower-case rest of the field name, decoded, in the order sent.
    pub mcp_params: Vec<(String, String)>,
    /// Whether an answer in JSON is acceptable.
    pub accept_json: bool,
    /// Whether an answer as an event stream is acceptable.
    pub accept_sse: bool,
    /// W3C Trace Context; absent unless well formed. Only ever used to correlate.
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    /// W3C Baggage; absent unless plain and short.
    pub baggage: Option<String>,
}

impl Head {
    /// Reads the head of a request from its method, its target and its fields in the order received.
    ///
    /// # Errors
    /// [`Refusal`] with 400 for whatever has two readings or breaks its own grammar (-32020 where the field is one
    /// of MCP's), 415 for a body that is encoded or is not JSON.
    pub fn read<'a>(
        method: &str,
        target: &str,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Refusal> {
        let (path, query) = target::read(target)?;
        let fields = Fields::collect(headers)?;
        if fields.content_encoding {
            return Err(Refusal::new(
                Reason::MediaType,
                "Encoded request bodies are not taken; send the body as it is.",
            ));
        }
        if method == "POST" && path.starts_with(target::MCP) {
            check_content_type(fields.content_type)?;
        }
        let host = fields.host.and_then(host::Authority::parse).ok_or_else(|| {
            Refusal::new(Reason::Header, "A request must name its host once, as `name` or `name:port`.")
        })?;
        let (accept_json, accept_sse) = accepted(&fields.accept);
        let mcp = |name: &str, text: Option<&str>| {
            text.map(|text| value::visible(text).map(str::to_owned).ok_or_else(|| mismatch(name))).transpose()
        };
        let decoded = |name: &str, text: &str| value::decode(text).ok_or_else(|| mismatch(name));
        let traceparent = fields.traceparent.filter(|text| is_traceparent(text));
        Ok(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            host: host.to_string(),
            origin: fields.origin.map(str::to_owned),
            user_agent: fields.user_agent,
            bearer: fields.authorization.and_then(bearer).map(str::to_owned),
            version: mcp("MCP-Protocol-Version", fields.version)?,
            session: mcp("Mcp-Session-Id", fields.session)?,
            last_event_id: mcp("Last-Event-ID", fields.last_event_id)?,
            mcp_method: mcp("Mcp-Method", fields.mcp_method)?,
            mcp_name: fields.mcp_name.map(|text| decoded("Mcp-Name", text)).transpose()?,
            mcp_params: fields
                .mcp_params
                .into_iter()
                .map(|(name, text)| decoded("Mcp-Param", text).map(|text| (name, text)))
                .collect::<Result<_, _>>()?,
            accept_json,
            accept_sse,
            tracestate: fields.tracestate.filter(|text| traceparent.is_some() && !text.is_empty() && text.len() <= 512),
            traceparent: traceparent.map(str::to_owned),
            baggage: fields.baggage.filter(|text| !text.is_empty() && text.len() <= 8192),
        })
    }
}

/// The token and the session id are credentials, so neither is shown.
impl fmt::Debug for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Head")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("host", &self.host)
            .field("origin", &self.origin)
            .field("bearer", &self.bearer.as_ref().map(|_| "***"))
            .field("version", &self.version)
            .field("session", &self.session.as_ref().map(|_| "***"))
            .field("mcp_method", &self.mcp_method)
            .field("mcp_name", &self.mcp_name)
            .field("mcp_params", &self.mcp_params)
            .finish_non_exhaustive()
    }
}

/// Whether this is a path as a request may name it, with nothing to decode or to clean.
pub(crate) fn is_plain_path(path: &str) -> bool {
    target::read(path).is_ok_and(|(_, query)| query.is_none())
}

fn mismatch(name: &str) -> Refusal {
    Refusal::new(
        Reason::Malformed,
        format!("`{name}` must be one value of visible characters, or encoded as MCP says."),
    )
    .with_code(400, HEADER_MISMATCH)
}

/// The token of `Bearer` credentials: a case-insensitive scheme (RFC 9110 section 11.1) and one b64token.
fn bearer(credentials: &str) -> Option<&str> {
    let (scheme, token) = credentials.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let body = token.trim_end_matches('=');
    let charset = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    (scheme.eq_ignore_ascii_case("bearer")
        && token.len() <= TOKEN_BYTES
        && !body.is_empty()
        && body.bytes().all(charset))
    .then_some(token)
}

/// Exactly `application/json`, with at most `charset=utf-8` (RFC 8259 section 8.1 knows no other).
fn check_content_type(content_type: Option<&str>) -> Result<(), Refusal> {
    let accepted = content_type.is_some_and(|text| {
        let (essence, parameters) = text.split_once(';').map_or((text, None), |(left, right)| (left, Some(right)));
        let charset = parameters.is_none_or(|text| {
            let text = text.trim_matches([' ', '\t']);
            text.eq_ignore_ascii_case("charset=utf-8") || text.eq_ignore_ascii_case("charset=\"utf-8\"")
        });
        charset && essence.trim_end_matches([' ', '\t']).eq_ignore_ascii_case("application/json")
    });
    if accepted { Ok(()) } else { Err(Refusal::new(Reason::MediaType, "The body must be application/json in UTF-8.")) }
}

/// Whether JSON and event streams are acceptable (RFC 9110 section 12.5.1); without the field nothing was said to be.
fn accepted(accept: &[&str]) -> (bool, bool) {
    let mut found = (false, false);
    for range in accept.iter().flat_map(|list| list.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let one_of = |names: [&str; 3]| names.iter().any(|name| media.eq_ignore_ascii_case(name));
        let excluded = parts
            .filter_map(|part| part.split_once('='))
            .any(|(name, weight)| name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0_f32));
        if !excluded {
            found.0 |= one_of(["application/json", "application/*", "*/*"]);
            found.1 |= one_of(["text/event-stream", "text/*", "*/*"]);
        }
    }
    found
}

/// Version 00 of W3C Trace Context: lower-case hex of fixed lengths, ids not all zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, len: usize| hex(part, len) && part.bytes().any(|byte| byte != b'0');
    matches!(parts.as_slice(), ["00", trace, span, flags] if id(trace, 32) && id(span, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests;
