//! What a request says of itself, as its records keep it: clipped, redacted, and digested where it is too large.

use ostiary_core::audit::{self, Record, Redacted, Redaction};
use ostiary_core::facts;
use ostiary_core::head::Head;
use ostiary_core::json::{self, Object, Value};
use ostiary_core::mcp::Target;
use ostiary_core::snapshot::Redact;

use crate::state::Live;

/// The longest request path, user agent or tool name that a refusal's record repeats, in bytes.
const RECORDED_TEXT: usize = 1_024;

/// The largest canonical arguments that a record repeats, in bytes; of larger ones it keeps the digest, so that nobody
/// fills the disk with calls that are refused.
pub const RECORDED_ARGUMENTS: usize = 64 * 1024;

/// Where a request came from, as its records say it. What follows from the request is recorded with the same.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub ip: String,
    pub method: String,
    pub path: String,
    pub user_agent: Option<String>,
    pub traceparent: Option<String>,
}

impl Origin {
    /// The same as facts, with what else the head says.
    pub fn facts(&self, head: &Head) -> facts::Request {
        facts::Request {
            ip: Some(self.ip.clone()),
            method: Some(self.method.clone()),
            path: Some(self.path.clone()),
            headers: None,
            origin: head.origin.clone(),
            user_agent: self.user_agent.clone(),
        }
    }
}

/// The thing that a message is about, as records name it.
#[derive(Debug, Clone, Default)]
pub struct About {
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
}

impl About {
    pub fn of(target: Target<'_>) -> Self {
        match target {
            Target::None => Self::default(),
            Target::Tool(tool) => Self { tool: Some(clipped(tool)), ..Self::default() },
            Target::Prompt(prompt) => Self { prompt: Some(clipped(prompt)), ..Self::default() },
            Target::Resource(uri) => Self { resource: Some(clipped(uri)), ..Self::default() },
        }
    }

    pub fn fill<'a>(&'a self, record: &mut Record<'a>) {
        record.tool = self.tool.as_deref();
        record.prompt = self.prompt.as_deref();
        record.resource = self.resource.as_deref();
    }
}

/// Arguments as a record keeps them.
#[derive(Debug, Default)]
pub struct Arguments {
    /// RFC 8785 text.
    pub canonical: Option<Vec<u8>>,
    pub redacted: Option<(Vec<u8>, Vec<String>)>,
    pub digest: Option<String>,
    pub recorded_digest: Option<String>,
}

impl Arguments {
    pub fn of(arguments: &Object, live: &Live) -> Self {
        let mut text = Vec::with_capacity(128);
        json::canonical_object(arguments, &mut text);
        let mut kept = Self { digest: Some(audit::args_sha256(&text)), ..Self::default() };
        let redacted = if text.len() > RECORDED_ARGUMENTS {
            Redaction::new(&Redact::All).arguments(arguments)
        } else {
            live.redaction.arguments(arguments)
        };
        if let Some(Redacted { value, paths }) = redacted {
            let mut rest = Vec::new();
            json::canonical(&value, &mut rest);
            kept.redacted = Some((rest, paths));
            kept.recorded_digest = Some(audit::args_sha256_keyed(&live.digest_key, &text));
        }
        kept.canonical = Some(text);
        kept
    }
}

/// The beginning of a text, as much as is recorded.
pub fn clipped(text: &str) -> String {
    let mut end = text.len().min(RECORDED_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Facts whose arguments are too large to be recorded. Replay then says `unknown` where a rule read one.
pub fn without_arguments(facts: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut facts = json::parse(facts, &json::Limits::DEFAULT).unwrap_or(Value::Null);
    if let Some(arguments) = facts.as_object_mut().and_then(|facts| facts.get_mut("arguments")) {
        let mut mark = Object::new();
        mark.insert("redacted", true.into());
        *arguments = Value::Object(mark);
    }
    json::canonical(&facts, &mut out);
    out
}
