//! The parts of a Snapshot besides its rules, as plain data.

use std::collections::BTreeMap;

use crate::facts::{Class, PrincipalType};
use crate::json::Value;

/// How the gateway is reached, and how it refuses.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Without a slash at its end; a server's endpoint is `{url}/mcp/{server}`.
    pub url: String,
    /// Values of Host that are served.
    pub hosts: Vec<String>,
    /// Origins allowed besides those of `hosts`.
    pub origins: Vec<String>,
    pub refusals: Refusals,
}

/// How a refused call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    /// A JSON-RPC error.
    Error,
    /// A tool result with `isError`.
    Result,
}

/// What is recorded, and how safely.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    pub durability: Durability,
    pub redact: Redact,
}

/// When an intent must be on disk before the call is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// For update, admin and unclassified calls.
    ByClass,
    /// Always.
    Disk,
    /// Never: the operating system has it.
    Os,
}

/// Which arguments stay out of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redact {
    All,
    /// Paths as in `argument/PATH`, cut into keys.
    Paths(Vec<Vec<String>>),
}

/// An issuer of tokens, with everything about it pinned.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// Our name for it; `local` is the gateway itself.
    pub name: String,
    /// The `iss` that its tokens carry.
    pub issuer: String,
    /// Public JWKs.
    pub keys: Vec<Value>,
    pub algorithms: Vec<String>,
    /// What its subjects are, whatever their claims say.
    pub kind: PrincipalType,
    /// The `aud` it must name; `None`: each server's own URL.
    pub audience: Option<String>,
    /// The only servers that its tokens open; `None`: all.
    pub servers: Option<Vec<String>>,
    /// Allowed `typ` headers.
    pub typ: Vec<String>,
    pub max_ttl_s: u64,
    /// Claim names by fact (`email`, `groups`).
    pub claims: BTreeMap<String, String>,
    /// Only with these are `email` and `domain` facts.
    pub email_domains: Option<Vec<String>>,
    /// Its scopes as classes; `None`: its `mcp:*` scopes are taken as they are.
    pub scopes: Option<BTreeMap<String, Vec<Class>>>,
    pub direct: Direct,
}

/// Whether the subject of a token acts in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direct {
    Always,
    Never,
    /// Through these clients only.
    Clients(Vec<String>),
}

/// Somebody who may own things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub key: String,
    /// Known only where the file names issuer and subject.
    pub id: Option<String>,
}

/// A registered agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub key: String,
    pub id: String,
    /// Key of the owner in `people`.
    pub owner: String,
    pub purpose: Option<String>,
    pub environment: Option<String>,
    /// (issuer name, client id) pairs that are this agent.
    pub clients: Vec<(String, String)>,
    pub ceiling: Ceiling,
    /// Seconds since the epoch.
    pub expires: Option<i64>,
}

/// The most that an agent may ever do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    pub servers: Vec<String>,
    /// `server/tool`; `None`: every tool of the servers.
    pub tools: Option<Vec<String>>,
    pub classes: Vec<Class>,
}

/// A registered workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub key: String,
    pub id: String,
    pub owner: String,
}

/// An upstream MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub name: String,
    pub url: String,
    pub owner: String,
    pub environment: Option<String>,
    /// How we are known upstream: `jwt` or `none`.
    pub identity: String,
    /// The class of tools that `tools` does not list.
    pub default_class: Class,
    /// Classes by tool.
    pub tools: BTreeMap<String, Class>,
    pub timeout_s: u64,
    pub max_response_bytes: u64,
}

impl Server {
    /// The class of one of its tools.
    #[must_use]
    pub fn class_of(&self, tool: &str) -> Class {
        self.tools.get(tool).copied().unwrap_or(self.default_class)
    }
}
