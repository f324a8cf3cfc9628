//! All that the data plane knows, read strictly from bytes, never changed afterwards, and without any secret.
//!
//! The control plane writes the bytes; the same bytes always mean the same Snapshot, and their SHA-256 is its name.

pub mod control;
mod parts;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use control::Control;
pub use parts::{Agent, Audit, Ceiling, Durability, Gateway, Known, Person, Redact, Refusals, Server, Service};

use crate::facts::PrincipalType;
use crate::fields::Fault;
use crate::policy::Policy;
use crate::token::Issuers;

/// Why bytes are not a Snapshot, and where, as in `policy.rules[3].any[0].of[1]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SnapshotError {
    /// The member at fault; empty for the whole.
    pub path: String,
    pub message: String,
}

impl From<Fault> for SnapshotError {
    fn from(fault: Fault) -> Self {
        Self { path: fault.path, message: fault.message }
    }
}

/// One immutable state of the whole configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// SHA-256 of the bytes, in hexadecimal.
    pub digest: Arc<str>,
    /// Made from a part of a file: what the part does not speak of is not checked. Never served.
    pub partial: bool,
    /// Deny everything.
    pub lockdown: bool,
    pub gateway: Gateway,
    pub audit: Audit,
    /// What is handed to the control app.
    pub control: Control,
    /// Ready to verify.
    pub issuers: Issuers,
    pub people: Vec<Person>,
    /// By id.
    pub agents: BTreeMap<String, Agent>,
    /// By id.
    pub services: BTreeMap<String, Service>,
    /// By name.
    pub servers: BTreeMap<String, Server>,
    pub(crate) policy: Policy,
}

impl Snapshot {
    /// Reads and compiles the bytes that the control plane wrote.
    ///
    /// # Errors
    /// The first member that is unknown, missing, of the wrong type or meaningless.
    pub fn compile(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Ok(read::snapshot(bytes)?)
    }

    /// The id of the declared principal with this key, if it has one.
    #[must_use]
    pub fn id_of_key(&self, kind: PrincipalType, key: &str) -> Option<&str> {
        match kind {
            PrincipalType::Human => self.people.iter().find(|person| person.key == key)?.id.as_deref(),
            PrincipalType::Service => self.services.values().find(|service| service.key == key).map(|s| s.id.as_str()),
            PrincipalType::Agent => self.agents.values().find(|agent| agent.key == key).map(|a| a.id.as_str()),
        }
    }

    /// The registered agent that an issuer knows by this client id.
    #[must_use]
    pub fn agent_of_client(&self, issuer: &str, client_id: &str) -> Option<&Agent> {
        self.agents.values().find(|agent| agent.clients.iter().any(|(of, client)| of == issuer && client == client_id))
    }

    /// The key of the person with this id, or the text as it is: how an owner is named.
    pub(crate) fn owner_key<'a>(&'a self, owner: &'a str) -> &'a str {
        self.people.iter().find(|person| person.id.as_deref() == Some(owner)).map_or(owner, |person| &person.key)
    }
}

#[cfg(test)]
mod tests;
