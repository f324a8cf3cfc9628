//! The parts of a Snapshot besides its rules, as plain data.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::audit::Redaction;
use crate::deny::Reason;
use crate::facts::Class;

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
    /// Whose word on the caller's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether people get tokens here: then clients are sent nowhere else.
    pub authorization_server: bool,
    /// Whether agents or services get tokens here.
    pub issues_tokens: bool,
    /// What a client asks for that knows nothing more.
    pub default_scopes: Vec<String>,
}

impl Gateway {
    /// The scopes that a challenge for a first token names.
    #[must_use]
    pub fn first_scopes(&self) -> &[String] {
        if self.authorization_server { &self.default_scopes } else { &[] }
    }
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

impl Audit {
    /// What takes arguments out of records.
    #[must_use]
    pub fn redaction(&self) -> Redaction {
        Redaction::new(&self.redact)
    }
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
    /// Why everything that it does is refused: it is suspended, or its owner is not active.
    pub suspended: Option<Reason>,
    /// Whose agent it is, where it is not ours.
    pub third_party: Option<String>,
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
    pub identity: Known,
    /// The class of tools that `tools` does not list.
    pub default_class: Class,
    /// Classes by tool.
    pub tools: BTreeMap<String, Class>,
    pub timeout_s: u64,
    pub max_response_bytes: u64,
}

/// How we are known upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// By a JWT of ours with each call.
    Jwt,
    /// Not at all.
    Nobody,
    /// By a credential that the server gave us, in a header of this name (lower case). Its value is no part of a Snapshot.
    Credential { credential: String, header: String },
}

impl Server {
    /// The class of one of its tools.
    #[must_use]
    pub fn class_of(&self, tool: &str) -> Class {
        self.tools.get(tool).copied().unwrap_or(self.default_class)
    }
}
