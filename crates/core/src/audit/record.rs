//! The record of one request, written straight into its final form.
//!
//! Members stand in RFC 8785 order in the source, and every record has every member: what is empty is null. Nothing
//! is gathered in maps first, as this runs twice for each call.

use super::chain::{Draft, Lines};
use crate::json::{Value, canonical, write_str};
use crate::principal::{Caller, Groups};
use crate::token::Verified;

/// What a request's record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was allowed and is about to be forwarded.
    Intent,
    /// How a forwarded one ended; it has the intent's id.
    Outcome,
    /// It was refused.
    Deny,
}

/// How a forwarded request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With an error that the upstream answered.
    Error,
    /// It was decided anew under another record before anything was sent.
    Superseded,
    /// The caller went away.
    Cancelled,
    /// The upstream was down, slow or speaking nonsense.
    Upstream,
    /// The upstream closed the stream before its answer, for the caller to go on later (2025-11-25, Resumability).
    Detached,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Upstream => "upstream",
            Self::Detached => "detached",
        }
    }
}

/// A member whose value is JSON of any shape.
#[derive(Debug, Clone, Copy, Default)]
pub enum Json<'a> {
    #[default]
    Null,
    /// RFC 8785 text as it stands; whoever passes it vouches for that form.
    Canonical(&'a [u8]),
    Value(&'a Value),
}

/// A rule that decided.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    pub name: &'a str,
    pub file: &'a str,
    pub line: u64,
    pub owner: Option<&'a str>,
}

/// The request as it came in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    pub ip: Option<&'a str>,
    pub method: Option<&'a str>,
    pub path: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub traceparent: Option<&'a str>,
    /// `session` or `stateless`
    pub era: Option<&'a str>,
    /// A name for the session, never the id that opens it.
    pub session: Option<&'a str>,
}

/// How the upstream answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upstream<'a> {
    pub url: &'a str,
    pub status: Option<u16>,
    pub ms: Option<u64>,
    pub bytes: Option<u64>,
}

/// Everything that is recorded of one request. Fields that are not set come out as null.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub kind: Kind,
    /// The decision's id.
    pub id: &'a str,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    pub gateway: &'a str,
    /// The digest of the snapshot that decided.
    pub snapshot: &'a str,
    /// From [`principal_json`].
    pub principal: Json<'a>,
    /// The principal id of the agent that acts.
    pub agent: Option<&'a str>,
    /// From [`strings_json`].
    pub act: Json<'a>,
    /// From [`token_json`].
    pub token: Json<'a>,
    pub request: Request<'a>,
    pub task: Option<&'a str>,
    pub purpose: Option<&'a str>,
    pub server: Option<&'a str>,
    pub tool: Option<&'a str>,
    pub resource: Option<&'a str>,
    pub prompt: Option<&'a str>,
    pub mcp_method: Option<&'a str>,
    /// The action class.
    pub action: Option<&'a str>,
    pub args_sha256: Option<&'a str>,
    pub args: Json<'a>,
    /// The argument paths that were taken out of `args` and `facts`; then `args_sha256` is keyed.
    pub redacted: Option<&'a [String]>,
    pub facts: Json<'a>,
    /// `allow`, `deny` or `ask`
    pub decision: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub rules: &'a [Rule<'a>],
    pub shadow: Json<'a>,
    pub remedy: Json<'a>,
    pub labels: Json<'a>,
    pub outcome: Option<Outcome>,
    pub upstream: Option<Upstream<'a>>,
    /// Milliseconds from the request's head to this record.
    pub ms: u64,
    /// How many requests one record stands for, where refusals without an identity are gathered.
    pub count: Option<u64>,
}

impl<'a> Record<'a> {
    /// A record in which only what every record must have is set.
    #[must_use]
    pub fn new(kind: Kind, id: &'a str, time_ms: i64, gateway: &'a str, snapshot: &'a str) -> Self {
        Self {
            kind,
            id,
            time_ms,
            gateway,
            snapshot,
            principal: Json::Null,
            agent: None,
            act: Json::Null,
            token: Json::Null,
            request: Request::default(),
            task: None,
            purpose: None,
            server: None,
            tool: None,
            resource: None,
            prompt: None,
            mcp_method: None,
            action: None,
            args_sha256: None,
            args: Json::Null,
            redacted: None,
            facts: Json::Null,
            decision: None,
            reason: None,
            rules: &[],
            shadow: Json::Null,
            remedy: Json::Null,
            labels: Json::Null,
            outcome: None,
            upstream: None,
            ms: 0,
            count: None,
        }
    }

    /// Lays the record out; only its place in the chain is left open.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let mut line = Lines::new(2048);
        line.json("act", self.act);
        line.text("action", self.action);
        line.text("agent", self.agent);
        line.json("args", self.args);
        line.text("args_sha256", self.args_sha256);
        line.number("count", self.count);
        line.text("decision", self.decision);
        line.json("facts", self.facts);
        line.text("gateway", Some(self.gateway));
        line.hash();
        line.text("id", Some(self.id));
        let kind = match self.kind {
            Kind::Intent => "intent",
            Kind::Outcome => "outcome",
            Kind::Deny => "deny",
        };
        line.text("kind", Some(kind));
        line.json("labels", self.labels);
        line.text("mcp_method", self.mcp_method);
        line.number("ms", Some(self.ms));
        line.text("outcome", self.outcome.map(Outcome::as_str));
        line.prev();
        line.json("principal", self.principal);
        line.text("prompt", self.prompt);
        line.text("purpose", self.purpose);
        line.text("reason", self.reason);
        line.texts("redacted", self.redacted);
        line.json("remedy", self.remedy);
        line.request(&self.request);
        line.text("resource", self.resource);
        line.rules(self.rules);
        line.text("server", self.server);
        line.json("shadow", self.shadow);
        line.text("snapshot", Some(self.snapshot));
        line.text("task", self.task);
        line.time(self.time_ms);
        line.json("token", self.token);
        line.text("tool", self.tool);
        line.upstream(self.upstream.as_ref());
        line.finish()
    }
}

/// One member each, comma included.
impl Lines {
    pub(super) fn key(&mut self, name: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        self.key(name);
        match value {
            Some(value) => write_str(value, &mut self.out),
            None => self.out.extend_from_slice(b"null"),
        }
        self.out.push(b',');
    }

    pub(super) fn number(&mut self, name: &str, value: Option<u64>) {
        self.key(name);
        match value {
            Some(value) => self.out.extend_from_slice(value.to_string().as_bytes()),
            None => self.out.extend_from_slice(b"null"),
        }
        self.out.push(b',');
    }

    pub(super) fn json(&mut self, name: &str, value: Json<'_>) {
        self.key(name);
        match value {
            Json::Null => self.out.extend_from_slice(b"null"),
            Json::Canonical(text) => self.out.extend_from_slice(text),
            Json::Value(value) => canonical(value, &mut self.out),
        }
        self.out.push(b',');
    }

    /// RFC 3339 in UTC, with milliseconds.
    pub(super) fn time(&mut self, time_ms: i64) {
        let time = jiff::Timestamp::from_millisecond(time_ms).unwrap_or_default();
        self.text("time", Some(&format!("{time:.3}")));
    }

    fn texts(&mut self, name: &str, values: Option<&[String]>) {
        self.key(name);
        match values {
            Some(values) => write_strings(values, &mut self.out),
            None => self.out.extend_from_slice(b"null"),
        }
        self.out.push(b',');
    }

    /// Turns the comma after the last member into the object's end, and adds the one after the object.
    fn close(&mut self) {
        self.out.pop();
        self.out.extend_from_slice(b"},");
    }

    fn request(&mut self, request: &Request<'_>) {
        self.key("request");
        self.out.push(b'{');
        self.text("era", request.era);
        self.text("ip", request.ip);
        self.text("method", request.method);
        self.text("path", request.path);
        self.text("session", request.session);
        self.text("traceparent", request.traceparent);
        self.text("user_agent", request.user_agent);
        self.close();
    }

    fn rules(&mut self, rules: &[Rule<'_>]) {
        self.key("rules");
        self.out.push(b'[');
        for rule in rules {
            self.out.push(b'{');
            self.text("file", Some(rule.file));
            self.number("line", Some(rule.line));
            self.text("name", Some(rule.name));
            self.text("owner", rule.owner);
            self.close();
        }
        if !rules.is_empty() {
            self.out.pop();
        }
        self.out.extend_from_slice(b"],");
    }

    fn upstream(&mut self, upstream: Option<&Upstream<'_>>) {
        let Some(upstream) = upstream else { return self.json("upstream", Json::Null) };
        self.key("upstream");
        self.out.push(b'{');
        self.number("bytes", upstream.bytes);
        self.number("ms", upstream.ms);
        self.number("status", upstream.status.map(u64::from));
        self.text("url", Some(upstream.url));
        self.close();
    }
}

fn write_strings<S: AsRef<str>>(values: &[S], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_str(value.as_ref(), out);
    }
    out.push(b']');
}

/// The canonical text of a list of strings.
#[must_use]
pub fn strings_json<S: AsRef<str>>(values: &[S]) -> Vec<u8> {
    let mut out = Vec::new();
    write_strings(values, &mut out);
    out
}

/// The member `principal` of a caller. It is the same for all calls of one token, so it is kept beside the token.
#[must_use]
pub fn principal_json(caller: &Caller) -> Vec<u8> {
    let subject = &caller.subject;
    let mut line = Lines::new(256);
    if let Some(email) = &subject.email {
        line.text("email", Some(email));
    }
    match &subject.groups {
        Some(Groups::Known(groups)) => line.texts("groups", Some(groups)),
        Some(Groups::Unavailable(why)) => {
            line.key("groups");
            line.out.push(b'{');
            line.text("unavailable", Some(why));
            line.close();
        }
        None => {}
    }
    line.text("id", Some(&subject.id));
    if let Some(owner) = &subject.owner {
        line.text("owner", Some(owner));
    }
    line.text("type", Some(subject.kind.as_str()));
    line.into_object()
}

/// The member `token`. `scope` is the token's own, before the issuer's map.
#[must_use]
pub fn token_json(token: &Verified) -> Vec<u8> {
    let mut line = Lines::new(256);
    line.text("client_id", token.client_id.as_deref());
    line.text("issuer", Some(&token.issuer));
    line.text("jti", token.jti.as_deref());
    line.texts("scope", Some(&token.scope));
    line.into_object()
}
