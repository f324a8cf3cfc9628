//! The projection: exactly the facts that a decision can read, as canonical Facts JSON.
//!
//! It is what answers are remembered by and what the record keeps for replay, so the two can never part: facts
//! with the same projection get the same decision, and the projection alone gives it again. Who acts, on which tool,
//! prompt or resource, and of what class are always in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::leaf::scope_words;
use super::rule::{Criterion, Literal};
use super::test::Test;
use super::view::{ClassFact, NameFact, ToolFact, View};
use crate::audit::{Redaction, mark};
use crate::facts::{Class, Facts, PrincipalType};
use crate::json::{Object, Value, canonical, write_str};
use crate::snapshot::Redact;

/// Which facts the literals of some rules read.
#[expect(clippy::struct_excessive_bools, reason = "one flag per fact")]
#[derive(Debug, Default)]
pub(crate) struct Reads {
    email: bool,
    groups: Names,
    /// (path as written, its first key)
    claims: Vec<(String, String)>,
    owner: bool,
    arguments: Option<Tree>,
    ip: bool,
    origin: bool,
    scope: bool,
    pub time: bool,
    /// Classes whose scopes rules name: what a remedy could offer.
    pub scopes: Vec<Class>,
}

/// Which elements of a list matter.
#[derive(Debug, Default)]
enum Names {
    #[default]
    None,
    /// These, and whether there is any.
    Of(BTreeSet<String>),
    All,
}

/// Paths into the arguments, as a tree in canonical key order.
#[derive(Debug, Default)]
struct Tree {
    whole: bool,
    below: BTreeMap<Utf16, Tree>,
}

/// A key that sorts as RFC 8785 wants it.
#[derive(Debug, PartialEq, Eq)]
struct Utf16(String);

impl PartialOrd for Utf16 {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Utf16 {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.encode_utf16().cmp(other.0.encode_utf16())
    }
}

impl Reads {
    /// What these literals read; `arguments` says whether there are any to be read.
    pub fn of<'a>(literals: impl Iterator<Item = &'a Literal>, arguments: bool) -> Self {
        let mut reads = Self::default();
        for literal in literals {
            match &literal.criterion {
                Criterion::Email | Criterion::Domain => reads.email = true,
                Criterion::Groups => reads.groups.add(&literal.test),
                Criterion::Claim(path) => {
                    reads.claims.push((path.text.clone(), path.keys.first().cloned().unwrap_or_default()));
                }
                Criterion::Owner => reads.owner = true,
                Criterion::Argument(path) if arguments => {
                    reads.arguments.get_or_insert_default().add(&path.keys);
                }
                Criterion::SourceIp => reads.ip = true,
                Criterion::Origin => reads.origin = true,
                Criterion::Scope => {
                    reads.scope = true;
                    if let Test::Has(operand) | Test::Sole(operand) = &literal.test {
                        reads.scopes.extend(operand.as_str().and_then(Class::from_scope));
                    }
                }
                Criterion::Date | Criterion::TimeOfDay(_) | Criterion::DayOfWeek(_) => reads.time = true,
                Criterion::Argument(_)
                | Criterion::Accept
                | Criterion::Reject
                | Criterion::AuthenticatedUser
                | Criterion::Autonomous
                | Criterion::User
                | Criterion::Service
                | Criterion::Agent
                | Criterion::ActorType
                | Criterion::Server
                | Criterion::Tool
                | Criterion::McpTool
                | Criterion::Action
                | Criterion::McpMethod
                | Criterion::ResourceUri
                | Criterion::Prompt
                | Criterion::ServerRequest => {}
            }
        }
        reads.claims.sort_unstable();
        reads.claims.dedup();
        reads.scopes.sort_unstable();
        reads.scopes.dedup();
        reads
    }
}

impl Names {
    fn add(&mut self, test: &Test) {
        match (test, &mut *self) {
            (_, Self::All) => {}
            (Test::Has(Value::String(name)), Self::Of(names)) => {
                names.insert(name.clone());
            }
            (Test::Has(Value::String(name)), Self::None) => *self = Self::Of(BTreeSet::from([name.clone()])),
            _ => *self = Self::All,
        }
    }
}

impl Tree {
    fn add(&mut self, keys: &[String]) {
        match keys.split_first() {
            None => self.whole = true,
            Some((first, rest)) => self.below.entry(Utf16(first.clone())).or_default().add(rest),
        }
    }

    /// What of `value` the paths read. A value that is no object where a path goes on decides by its type alone.
    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        match value {
            // What is hidden stays visibly hidden, however deep a path goes on.
            _ if self.whole || *value == mark() => canonical(value, out),
            Value::Object(object) => {
                let mut members = Members::begin(out);
                for (key, below) in &self.below {
                    if let Some(member) = object.get(&key.0) {
                        members.key(&key.0, out);
                        below.write(member, out);
                    }
                }
                out.push(b'}');
            }
            Value::Array(_) => out.extend_from_slice(b"[]"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.extend_from_slice(b"null"),
        }
    }
}

/// Writes the members of one object, which the caller gives in canonical order.
struct Members {
    first: bool,
}

impl Members {
    fn begin(out: &mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { first: true }
    }

    fn key(&mut self, key: &str, out: &mut Vec<u8>) {
        if !self.first {
            out.push(b',');
        }
        self.first = false;
        write_str(key, out);
        out.push(b':');
    }

    fn text(&mut self, key: &str, text: &str, out: &mut Vec<u8>) {
        self.key(key, out);
        write_str(text, out);
    }
}

/// The facts of `view` that `reads` names, as canonical JSON. `timed` adds the time for an agent that expires.
pub(crate) fn project(view: &View<'_>, reads: &Reads, timed: bool) -> Vec<u8> {
    let facts = view.facts;
    let mut out = Vec::with_capacity(512);
    let out = &mut out;
    let mut top = Members::begin(out);
    if let Some(actor) = &facts.agent {
        top.key("agent", out);
        let mut agent = Members::begin(out);
        agent.text("id", &actor.id, out);
        if let Some(owner) = view.owner.filter(|_| reads.owner) {
            agent.text("owner", owner, out);
        }
        out.push(b'}');
    }
    if let (Some(tree), Some(arguments), true) = (&reads.arguments, &facts.arguments, view.target.has_arguments()) {
        top.key("arguments", out);
        tree.write(arguments, out);
    }
    if let ClassFact::Is(class) = view.class {
        top.text("class", class.as_str(), out);
    }
    top.text("mcp_method", view.target.method, out);
    top.key("principal", out);
    principal(view, reads, out);
    if let NameFact::Named(prompt) = view.target.prompt {
        top.text("prompt", prompt, out);
    }
    request(view, reads, &mut top, out);
    if let NameFact::Named(uri) = view.target.resource {
        top.text("resource_uri", uri, out);
    }
    top.text("server", view.target.server, out);
    if let NameFact::Named(method) = view.target.request {
        top.text("server_request", method, out);
    }
    if let Some(second) = facts.time.filter(|_| reads.time || timed)
        && let Ok(instant) = jiff::Timestamp::from_second(second)
    {
        top.text("time", &instant.to_string(), out);
    }
    token(view, reads, &mut top, out);
    if let ToolFact::Named(tool) = view.target.tool {
        top.text("tool", tool, out);
    }
    out.push(b'}');
    std::mem::take(out)
}

fn principal(view: &View<'_>, reads: &Reads, out: &mut Vec<u8>) {
    let principal = &view.facts.principal;
    let human = principal.kind == PrincipalType::Human;
    let mut members = Members::begin(out);
    if human && !reads.claims.is_empty() {
        // A path whose name is no claim's own leads into the claim of its first key.
        let read = reads
            .claims
            .iter()
            .map(|(text, first)| if principal.claims.get(text).is_some() { text.as_str() } else { first.as_str() });
        let mut claims = Object::new();
        for name in read {
            if let Some(value) = principal.claims.get(name) {
                claims.insert(name, value.clone());
            }
        }
        members.key("claims", out);
        canonical(&Value::Object(claims), out);
    }
    if let Some(email) = view.email().filter(|_| reads.email) {
        members.text("email", email, out);
    }
    if let Some(groups) = principal.groups.as_ref().filter(|_| human) {
        match (&reads.groups, groups.as_array()) {
            (Names::None, _) => {}
            (Names::Of(names), Some(items)) if items.iter().all(|item| item.as_str().is_some()) => {
                members.key("groups", out);
                let matching: Vec<Value> = items
                    .iter()
                    .filter(|item| item.as_str().is_some_and(|name| names.contains(name)))
                    .cloned()
                    .collect();
                // That there are groups at all is read too; any one of them shows it.
                let shown = if matching.is_empty() { items.iter().take(1).cloned().collect() } else { matching };
                canonical(&Value::Array(shown), out);
            }
            (Names::Of(_) | Names::All, _) => {
                members.key("groups", out);
                canonical(groups, out);
            }
        }
    }
    members.text("id", &principal.id, out);
    if let Some(owner) = view.owner.filter(|_| reads.owner && view.facts.agent.is_none()) {
        members.text("owner", owner, out);
    }
    members.text("type", principal.kind.as_str(), out);
    out.push(b'}');
}

fn request(view: &View<'_>, reads: &Reads, top: &mut Members, out: &mut Vec<u8>) {
    let Some(request) = &view.facts.request else { return };
    let ip = request.ip.as_deref().filter(|_| reads.ip);
    let origin = request.origin.as_deref().filter(|_| reads.origin);
    if ip.is_none() && origin.is_none() {
        return;
    }
    top.key("request", out);
    let mut members = Members::begin(out);
    if let Some(ip) = ip {
        members.text("ip", ip, out);
    }
    if let Some(origin) = origin {
        members.text("origin", origin, out);
    }
    out.push(b'}');
}

/// The scope: whole where a rule reads it, else only what the token's own ceiling reads.
fn token(view: &View<'_>, reads: &Reads, top: &mut Members, out: &mut Vec<u8>) {
    let Some(token) = &view.facts.token else { return };
    let Some(scope) = &token.scope else {
        // That there is a token which more scope could be asked for is read as well.
        if reads.scope {
            top.key("token", out);
            out.extend_from_slice(b"{}");
        }
        return;
    };
    let words = scope_words(scope).filter(|_| !reads.scope);
    if words.as_ref().is_some_and(|words| !words.iter().any(|word| word.starts_with("mcp:"))) {
        return;
    }
    top.key("token", out);
    let mut members = Members::begin(out);
    members.key("scope", out);
    match words {
        None => canonical(scope, out),
        Some(words) => {
            let words: Vec<&str> = words.into_iter().filter(|word| word.starts_with("mcp:")).collect();
            write_str(&words.join(" "), out);
        }
    }
    out.push(b'}');
}

/// The projection as the record may keep it, if that is another: what is taken out of arguments is taken out here too,
/// and `{"redacted": true}` stands in its place, so that replay knows that it does not know.
pub(crate) fn redacted(view: &View<'_>, reads: &Reads, timed: bool, redact: &Redact) -> Option<Vec<u8>> {
    reads.arguments.as_ref()?;
    let arguments = view.facts.arguments.as_ref()?.as_object()?;
    let kept = match redact {
        Redact::All => (!arguments.is_empty()).then(mark),
        Redact::Paths(_) => Redaction::new(redact).arguments(arguments).map(|redacted| redacted.value),
    };
    let facts = Facts { arguments: Some(Arc::new(kept?)), ..view.facts.clone() };
    Some(project(&View { facts: &facts, ..view.clone() }, reads, timed))
}
