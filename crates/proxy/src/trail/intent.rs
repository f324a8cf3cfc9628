//! A recorded intent, and how it ended.

use std::sync::Arc;

use ostiary_core::audit::{self, Kind, Outcome, Record};
use ostiary_core::deny::Reason;
use ostiary_core::facts::{self, Class};
use ostiary_core::head::Head;

use super::said::{About, Origin};
use crate::clock::{self, Moment};
use crate::events::Event;
use crate::identity::Identity;
use crate::journal::JournalError;
use crate::state::{Endpoint, Live, Shared};

/// How a forwarded message ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub outcome: Outcome,
    /// HTTP status of the upstream, if it answered.
    pub status: Option<u16>,
    /// Milliseconds from sending to the end of the answer.
    pub upstream_ms: Option<u64>,
    /// Bytes of the upstream's body.
    pub bytes: Option<u64>,
    /// Why Ostiary itself cut it short.
    pub reason: Option<Reason>,
}

impl End {
    /// An end before anything was sent.
    #[must_use]
    pub fn unsent(outcome: Outcome) -> Self {
        Self { outcome, status: None, upstream_ms: None, bytes: None, reason: None }
    }
}

/// A recorded intent that still needs its outcome. Dropping it records the call as cancelled.
#[derive(Debug)]
pub struct Intent {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live>,
    pub(super) id: String,
    pub(super) arrived: Moment,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) origin: Arc<Origin>,
    pub(super) mcp_method: Option<String>,
    pub(super) about: About,
    pub(super) class: Option<Class>,
    pub(super) args_sha256: Option<String>,
    pub(super) open: bool,
}

impl Intent {
    /// The decision id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What came with the HTTP request that it belongs to, as facts.
    pub fn request_facts(&self, head: &Head) -> facts::Request {
        self.origin.facts(head)
    }

    /// Takes note of whether it could be recorded; what could not needs no outcome.
    pub(super) fn written(&mut self, written: Result<(), JournalError>) -> Result<(), JournalError> {
        self.open = written.is_ok();
        written
    }

    /// Digest of the canonical arguments of a call, in base64url.
    pub fn args_sha256(&self) -> Option<&str> {
        self.args_sha256.as_deref()
    }

    /// Records the outcome: handed to the operating system when this returns.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be written; the message has been dealt with all the same.
    pub fn close(&mut self, end: End) -> Result<(), JournalError> {
        self.open = false;
        let gateway = self.shared.journal.gateway();
        let mut record =
            Record::new(Kind::Outcome, &self.id, clock::now().unix_ms, gateway, &self.live.snapshot.digest);
        record.ms = self.arrived.elapsed_ms();
        if let Some(identity) = &self.identity {
            identity.fill(&mut record);
        }
        record.server = self.endpoint.as_ref().map(|endpoint| &*endpoint.name);
        record.mcp_method = self.mcp_method.as_deref();
        self.about.fill(&mut record);
        record.action = self.class.map(Class::as_str);
        record.decision = Some("allow");
        record.outcome = Some(end.outcome);
        record.reason = end.reason.map(Reason::as_str);
        record.upstream = self.endpoint.as_ref().map(|endpoint| audit::Upstream {
            url: endpoint.upstream.url(),
            status: end.status,
            ms: end.upstream_ms,
            bytes: end.bytes,
        });
        let written = self.shared.journal.append_os(record.draft());
        if let Err(fault) = &written {
            self.shared.counters.journal_faults.add();
            self.shared.events.push(Event::JournalFailed, &fault.to_string());
        }
        written
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if self.open {
            self.shared.counters.cancelled.add();
            // Whoever could be told is gone; the failure is counted and reported as an event.
            let _ = self.close(End::unsent(Outcome::Cancelled));
        }
    }
}
