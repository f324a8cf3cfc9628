//! What a decision is made of, as plain data.
//!
//! The pipeline fills [`Facts`] from a verified token and a parsed message; `explain`, tests and replay read them
//! from JSON with [`Facts::from_json`]. A decision never looks at anything else but the Snapshot.

pub(crate) mod method;
mod read;

use std::sync::Arc;

use crate::json::{Object, Value};

/// What an action does, as the reviewed catalogue says. No class includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Read,
    Query,
    Update,
    Admin,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Read, Self::Query, Self::Update, Self::Admin];

    /// The word that configuration, rules and records use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Query => "query",
            Self::Update => "update",
            Self::Admin => "admin",
        }
    }

    /// The class behind a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// The token scope that grants this class.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Read => "mcp:read",
            Self::Query => "mcp:query",
            Self::Update => "mcp:update",
            Self::Admin => "mcp:admin",
        }
    }

    /// The class that a token scope grants.
    #[must_use]
    pub fn from_scope(scope: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.scope() == scope)
    }
}

/// The three types of principal, which never match one another's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PrincipalType {
    Human,
    Service,
    Agent,
}

impl PrincipalType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Human, Self::Service, Self::Agent];

    /// The word that begins a principal's id.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Service => "service",
            Self::Agent => "agent",
        }
    }

    /// The type behind a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// On whose authority a call runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    pub kind: PrincipalType,
    /// `type:issuer:subject`.
    pub id: String,
    /// Only where the issuer's pin makes it a fact.
    pub email: Option<String>,
    /// A list of strings; `{"unavailable": "why"}` where they exist but could not be obtained; absent if unknown.
    pub groups: Option<Value>,
    /// Claims by name; a value may be `{"unavailable": "why"}`.
    pub claims: Object,
    /// The owner of an agent that acts on its own authority; otherwise the registry knows.
    pub owner: Option<String>,
}

impl Principal {
    /// A principal of which nothing but type and id is known.
    #[must_use]
    pub fn new(kind: PrincipalType, id: impl Into<String>) -> Self {
        Self { kind, id: id.into(), email: None, groups: None, claims: Object::new(), owner: None }
    }
}

/// The agent that acts, where it is not the subject itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `agent:issuer:subject`.
    pub id: String,
    /// Key or id of the owner; where absent, the registry's.
    pub owner: Option<String>,
}

/// What came with the HTTP request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// The peer's address as text.
    pub ip: Option<String>,
    pub method: Option<String>,
    pub path: Option<String>,
    pub headers: Option<Value>,
    pub origin: Option<String>,
    pub user_agent: Option<String>,
}

/// What the token itself allows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Token {
    /// Space-separated text or a list of strings.
    pub scope: Option<Value>,
    pub client_id: Option<String>,
}

/// Everything that rules and ceilings can read of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Shared by all messages of one token.
    pub principal: Arc<Principal>,
    pub agent: Option<Actor>,
    /// The chain of actors, nearest first; recorded, and read by no rule of this version.
    pub act: Vec<String>,
    pub server: String,
    pub mcp_method: String,
    /// The bare tool name; given exactly with `tools/call`.
    pub tool: Option<String>,
    /// The object of arguments of a tool or prompt, or the params of what a server asks; absent is the same as `{}`.
    pub arguments: Option<Arc<Value>>,
    /// The resource that is read, subscribed to or listened to, or the template that is completed.
    pub resource_uri: Option<String>,
    /// The prompt that is got or completed.
    pub prompt: Option<String>,
    /// The method that the server asks of its client; the other members are then those of the client's own request.
    pub server_request: Option<String>,
    pub request: Option<Request>,
    /// Shared by all messages of one token.
    pub token: Option<Arc<Token>>,
    /// Where absent, the catalogue's.
    pub class: Option<Class>,
    /// Seconds since the epoch.
    pub time: Option<i64>,
}

impl Facts {
    /// The facts of one message, with nothing optional known yet.
    #[must_use]
    pub fn new(principal: impl Into<Arc<Principal>>, server: impl Into<String>, mcp_method: impl Into<String>) -> Self {
        Self {
            principal: principal.into(),
            agent: None,
            act: Vec::new(),
            server: server.into(),
            mcp_method: mcp_method.into(),
            tool: None,
            arguments: None,
            resource_uri: None,
            prompt: None,
            server_request: None,
            request: None,
            token: None,
            class: None,
            time: None,
        }
    }
}

/// Why a JSON text is not Facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FactsError {
    /// The member, as in `principal.id`; empty for the whole.
    pub path: String,
    pub message: String,
}
