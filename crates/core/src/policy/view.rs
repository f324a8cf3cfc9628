//! The facts as rules see them: who acts, on what target, and what is supposed rather than known.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::rule::Criterion;
use super::test::{time_of_day, weekday};
use crate::facts::{Class, Facts, PrincipalType};
use crate::json::Value;

/// A set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Classes(u8);

impl Classes {
    /// The set of these.
    pub fn of(classes: impl IntoIterator<Item = Class>) -> Self {
        Self(classes.into_iter().fold(0, |bits, class| bits | (1 << class as u8)))
    }

    /// Whether `class` is in it.
    pub fn has(self, class: Class) -> bool {
        self.0 & (1 << class as u8) != 0
    }

    /// Its members in order.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.has(*class))
    }
}

/// The tools of a server that declares none.
pub(crate) static NO_TOOLS: BTreeMap<String, Class> = BTreeMap::new();

/// The tool that is called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ToolFact<'a> {
    /// The message is not a tool call.
    None,
    Named(&'a str),
    /// Some tool that is not one of these.
    Unlisted(&'a BTreeMap<String, Class>),
}

/// What is known of the name of something else that a message may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameFact<'a> {
    /// The message speaks of none.
    None,
    Named(&'a str),
    /// Some name that begins with this.
    Begins(&'a str),
    /// Not even whether there is one.
    Unknown,
}

/// What is asked for, arguments apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub server: &'a str,
    pub method: &'a str,
    pub tool: ToolFact<'a>,
    pub prompt: NameFact<'a>,
    pub resource: NameFact<'a>,
    /// What the server asks of its client; the rest is then that of the client's own request.
    pub request: NameFact<'a>,
}

impl<'a> Target<'a> {
    /// A message of this method that names no object.
    pub fn bare(server: &'a str, method: &'a str) -> Self {
        let (prompt, resource, request) = (NameFact::None, NameFact::None, NameFact::None);
        Self { server, method, tool: ToolFact::None, prompt, resource, request }
    }

    /// Whether the server asks its client.
    pub fn is_request(&self) -> bool {
        self.request != NameFact::None
    }

    /// Whether it names an object, or is asked by the server: what rules alone decide.
    pub fn is_object(&self) -> bool {
        !matches!(self.tool, ToolFact::None)
            || self.prompt != NameFact::None
            || self.resource != NameFact::None
            || self.is_request()
    }

    /// Whether there are arguments.
    pub fn has_arguments(&self) -> bool {
        !matches!(self.tool, ToolFact::None)
            || self.is_request()
            || (self.prompt != NameFact::None && self.method == "prompts/get")
    }
}

/// The class of the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClassFact {
    Missing,
    Is(Class),
    /// Of a tool that is not known yet.
    Unknown,
}

/// One fact, as a leaf finds it.
#[derive(Debug)]
pub(crate) enum Datum<'a> {
    Missing,
    /// It exists and could not be obtained, or is nothing that this criterion can read.
    Error,
    /// Not known yet: lists only.
    Unknown,
    /// The name of some tool that no catalogue lists: lists only.
    Unlisted(&'a BTreeMap<String, Class>),
    /// Some text that begins with this: lists only.
    Begins(&'a str),
    Flag(bool),
    Text(Cow<'a, str>),
    Json(&'a Value),
    /// The words of a token's scope.
    Scope,
    Instant(i64),
    Time(jiff::civil::Time),
}

/// The facts of one request, resolved against the registry.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    pub facts: &'a Facts,
    pub target: Target<'a>,
    /// Id of the agent that acts.
    pub actor: Option<&'a str>,
    /// Its owner's key.
    pub owner: Option<&'a str>,
    pub class: ClassFact,
    /// Arguments are not known yet, and neither is what scope could still be obtained: lists only.
    pub supposing: bool,
    /// Scopes supposed to be there as well.
    pub extra: Classes,
    /// Scopes that could be obtained.
    pub obtainable: Classes,
}

impl<'a> View<'a> {
    /// The fact that `criterion` speaks of.
    pub fn datum(&'a self, criterion: &Criterion) -> Datum<'a> {
        let principal = &self.facts.principal;
        let human = principal.kind == PrincipalType::Human;
        let of = |kind: PrincipalType| (principal.kind == kind).then_some(principal.id.as_str());
        match criterion {
            Criterion::Accept => Datum::Flag(true),
            Criterion::Reject => Datum::Flag(false),
            Criterion::AuthenticatedUser => Datum::Flag(human && !principal.id.is_empty()),
            Criterion::Autonomous => Datum::Flag(self.autonomous()),
            Criterion::User => text(of(PrincipalType::Human)),
            Criterion::Service => text(of(PrincipalType::Service)),
            Criterion::Agent => text(self.actor),
            Criterion::Owner => text(self.owner),
            Criterion::ActorType => text(Some(self.actor_type().as_str())),
            Criterion::Email => text(self.email()),
            Criterion::Domain => text(self.domain()),
            Criterion::Groups if human => match &principal.groups {
                None => Datum::Missing,
                Some(groups @ Value::Array(_)) => Datum::Json(groups),
                Some(_) => Datum::Error,
            },
            Criterion::Claim(path) if human => claim(&principal.claims, path),
            Criterion::Groups | Criterion::Claim(_) => Datum::Missing,
            Criterion::Server => text(Some(self.target.server)),
            Criterion::McpMethod => text(Some(self.target.method)),
            Criterion::Tool => match self.target.tool {
                ToolFact::None => Datum::Missing,
                ToolFact::Named(tool) => Datum::Text(Cow::Owned(format!("{}/{tool}", self.target.server))),
                ToolFact::Unlisted(listed) => Datum::Unlisted(listed),
            },
            Criterion::McpTool => match self.target.tool {
                ToolFact::None => Datum::Missing,
                ToolFact::Named(tool) => text(Some(tool)),
                ToolFact::Unlisted(listed) => Datum::Unlisted(listed),
            },
            Criterion::Action => match self.class {
                ClassFact::Missing => Datum::Missing,
                ClassFact::Is(class) => text(Some(class.as_str())),
                ClassFact::Unknown => Datum::Unknown,
            },
            Criterion::Prompt => name(self.target.prompt),
            Criterion::ResourceUri => name(self.target.resource),
            Criterion::ServerRequest => name(self.target.request),
            Criterion::Argument(_) if !self.target.has_arguments() => Datum::Missing,
            Criterion::Argument(_) if self.supposing => Datum::Unknown,
            Criterion::Argument(path) => match &self.facts.arguments {
                Some(arguments) => walk(arguments, &path.keys),
                None => Datum::Missing,
            },
            Criterion::SourceIp => text(self.facts.request.as_ref().and_then(|request| request.ip.as_deref())),
            Criterion::Origin => text(self.facts.request.as_ref().and_then(|request| request.origin.as_deref())),
            Criterion::Scope => Datum::Scope,
            Criterion::Date => self.facts.time.map_or(Datum::Missing, Datum::Instant),
            Criterion::TimeOfDay(zone) => match self.facts.time {
                None => Datum::Missing,
                Some(second) => time_of_day(second, zone).map_or(Datum::Error, Datum::Time),
            },
            Criterion::DayOfWeek(zone) => match self.facts.time {
                None => Datum::Missing,
                Some(second) => weekday(second, zone).map_or(Datum::Error, |day| text(Some(day))),
            },
        }
    }

    /// Whether the subject is an agent, and is itself what acts.
    pub fn autonomous(&self) -> bool {
        let subject = &self.facts.principal;
        subject.kind == PrincipalType::Agent && self.actor == Some(subject.id.as_str())
    }

    /// What acts: an agent, or the subject in person.
    pub fn actor_type(&self) -> PrincipalType {
        if self.actor.is_some() { PrincipalType::Agent } else { self.facts.principal.kind }
    }

    /// The subject's e-mail address, if it is human.
    pub fn email(&self) -> Option<&'a str> {
        let principal = &self.facts.principal;
        if principal.kind == PrincipalType::Human { principal.email.as_deref() } else { None }
    }

    /// What follows the last `@` of it.
    pub fn domain(&self) -> Option<&'a str> {
        self.email()?.rsplit_once('@').map(|(_, domain)| domain)
    }
}

fn text(text: Option<&str>) -> Datum<'_> {
    text.map_or(Datum::Missing, |text| Datum::Text(Cow::Borrowed(text)))
}

fn name(name: NameFact<'_>) -> Datum<'_> {
    match name {
        NameFact::None => Datum::Missing,
        NameFact::Named(name) => text(Some(name)),
        NameFact::Begins(start) => Datum::Begins(start),
        NameFact::Unknown => Datum::Unknown,
    }
}

/// A claim: the one with exactly this name, else the member that the path leads to.
fn claim<'a>(claims: &'a crate::json::Object, path: &super::rule::Path) -> Datum<'a> {
    let found = match (claims.get(&path.text), path.keys.split_first()) {
        (Some(value), _) => Datum::Json(value),
        (None, Some((first, rest))) => claims.get(first).map_or(Datum::Missing, |value| walk(value, rest)),
        (None, None) => Datum::Missing,
    };
    match found {
        Datum::Json(value) if is_unavailable(value) => Datum::Error,
        found => found,
    }
}

/// `{"unavailable": "why"}`: it exists and could not be obtained.
pub(crate) fn is_unavailable(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.len() == 1 && object.get("unavailable").is_some_and(|why| why.as_str().is_some()))
}

/// The value that keys lead to. A key asked of something that is not an object is a wrong type, not a missing value.
fn walk<'a>(value: &'a Value, keys: &[String]) -> Datum<'a> {
    let mut value = value;
    for key in keys {
        match value {
            Value::Object(object) => match object.get(key) {
                Some(member) => value = member,
                None => return Datum::Missing,
            },
            _ => return Datum::Error,
        }
    }
    Datum::Json(value)
}
