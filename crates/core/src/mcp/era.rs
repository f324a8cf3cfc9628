//! Which of the two protocols a request speaks: one decision, from the head and the body together.

use crate::deny::{Reason, Refusal};
use crate::head::Head;
use crate::json::{Object, Value};

/// The code of an unsupported protocol version (2026-07-28, Base Protocol, Error Codes).
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// What a request without `MCP-Protocol-Version` speaks (2025-06-18, Transports, Protocol Version Header).
pub const UNNAMED_VERSION: &str = "2025-03-26";

/// The revision of the stateless era.
pub const STATELESS_VERSION: &str = "2026-07-28";

/// The revisions that are served, oldest first.
pub const VERSIONS: [(&str, Era); 4] = [
    (UNNAMED_VERSION, Era::Session),
    ("2025-06-18", Era::Session),
    ("2025-11-25", Era::Session),
    (STATELESS_VERSION, Era::Stateless),
];

/// The two protocols that share one URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// Revisions up to 2025-11-25: a handshake, then a session.
    Session,
    /// Revision 2026-07-28: each request says everything.
    Stateless,
}

impl Era {
    /// The era of a served revision.
    #[must_use]
    pub fn of_version(version: &str) -> Option<Self> {
        VERSIONS.iter().find(|(known, _)| *known == version).map(|(_, era)| *era)
    }

    /// The era and revision that the head names. It decides alone only for requests without a body, such as `DELETE`.
    ///
    /// # Errors
    /// [`Refusal`] 400 with -32022 for a revision that is not served.
    pub fn of_head(head: &Head) -> Result<(Self, &str), Refusal> {
        let version = head.version.as_deref().unwrap_or(UNNAMED_VERSION);
        Self::of_version(version).map(|era| (era, version)).ok_or_else(|| unsupported(version, false))
    }
}

/// The refusal of a revision that is not served, which names those that are: to a request that speaks as the stateless
/// era does, those of that era (2026-07-28, Versioning).
pub(super) fn unsupported(requested: &str, stateless: bool) -> Refusal {
    refuse_version(requested, |era| !stateless || era == Era::Stateless)
}

/// The refusal of a stateless request by a server that knows sessions only: the client can begin one.
#[must_use]
pub fn only_sessions(requested: &str) -> Refusal {
    refuse_version(requested, |era| era == Era::Session)
}

fn refuse_version(requested: &str, served: impl Fn(Era) -> bool) -> Refusal {
    let supported = VERSIONS.iter().filter(|(_, era)| served(*era)).map(|(version, _)| Value::from(*version)).collect();
    let mut data = Object::new();
    data.insert("supported", Value::Array(supported));
    data.insert("requested", requested.into());
    Refusal::new(Reason::Version, "This protocol version is not served; choose one of `data.supported`.")
        .with_code(400, UNSUPPORTED_VERSION)
        .with_data(Value::Object(data))
}
