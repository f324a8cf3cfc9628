//! What a refused caller is told: the closed list of reasons, and the one table from a reason to an answer.
//!
//! A reason is never renamed and never reused; `docs/reference/reasons.md` lists the same words.

use crate::json::Value;
use crate::mcp::Id;

/// Why a request was refused. The words are stable: programs, records and documentation use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    NoRule,
    DeniedByRule,
    Ceiling,
    Scope,
    UnknownMethod,
    BadArguments,
    AgentUnknown,
    AgentSuspended,
    OwnerInactive,
    Limit,
    Lockdown,
    Journal,
    Store,
    Upstream,
    Superseded,
    Host,
    Origin,
    Route,
    UnknownServer,
    Method,
    Header,
    MediaType,
    NotAcceptable,
    TooLarge,
    Timeout,
    Malformed,
    Version,
    Session,
    NotOpen,
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    TokenAudience,
    Revoked,
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    InvalidAuthorizationDetails,
    InvalidRedirectUri,
    InvalidClientMetadata,
    AccessDenied,
    SignIn,
    Unavailable,
    Internal,
}

/// How a reason is answered when nothing more specific is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// JSON-RPC error code, or `None` for a plain one-line body.
    pub code: Option<i64>,
}

const fn plain(status: u16) -> Answer {
    Answer { status, code: None }
}

const fn rpc(status: u16, code: i64) -> Answer {
    Answer { status, code: Some(code) }
}

impl Reason {
    /// Every reason, in the order of the documentation page.
    pub const ALL: [(Self, &'static str, Answer); 49] = [
        (Self::NoRule, "no_rule", rpc(200, 4030)),
        (Self::DeniedByRule, "denied_by_rule", rpc(200, 4030)),
        (Self::Ceiling, "ceiling", rpc(200, 4030)),
        (Self::Scope, "scope", rpc(403, 4030)),
        (Self::UnknownMethod, "unknown_method", rpc(200, -32601)),
        (Self::BadArguments, "bad_arguments", rpc(400, -32602)),
        (Self::AgentUnknown, "agent_unknown", rpc(200, 4030)),
        (Self::AgentSuspended, "agent_suspended", rpc(200, 4030)),
        (Self::OwnerInactive, "owner_inactive", rpc(200, 4030)),
        (Self::Limit, "limit", rpc(200, 4290)),
        (Self::Lockdown, "lockdown", rpc(200, 4030)),
        (Self::Journal, "journal", rpc(503, 5030)),
        (Self::Store, "store", rpc(503, 5030)),
        (Self::Upstream, "upstream", rpc(502, 5020)),
        (Self::Superseded, "superseded", rpc(503, 5030)),
        (Self::Host, "host", plain(421)),
        (Self::Origin, "origin", plain(403)),
        (Self::Route, "route", plain(404)),
        (Self::UnknownServer, "unknown_server", plain(404)),
        (Self::Method, "method", plain(405)),
        (Self::Header, "header", plain(400)),
        (Self::MediaType, "media_type", plain(415)),
        (Self::NotAcceptable, "not_acceptable", plain(406)),
        (Self::TooLarge, "too_large", plain(413)),
        (Self::Timeout, "timeout", plain(408)),
        (Self::Malformed, "malformed", rpc(400, -32600)),
        (Self::Version, "version", rpc(400, -32022)),
        (Self::Session, "session", rpc(404, -32001)),
        (Self::NotOpen, "not_open", rpc(400, -32600)),
        (Self::TokenMissing, "token_missing", plain(401)),
        (Self::TokenInvalid, "token_invalid", plain(401)),
        (Self::TokenExpired, "token_expired", plain(401)),
        (Self::TokenAudience, "token_audience", plain(401)),
        (Self::Revoked, "revoked", plain(401)),
        // Of sign-in and tokens: the words that the client is told too (RFC 6749, 7591, 8707, 9396).
        (Self::InvalidRequest, "invalid_request", plain(400)),
        (Self::InvalidClient, "invalid_client", plain(401)),
        (Self::InvalidGrant, "invalid_grant", plain(400)),
        (Self::InvalidScope, "invalid_scope", plain(400)),
        (Self::InvalidTarget, "invalid_target", plain(400)),
        (Self::UnauthorizedClient, "unauthorized_client", plain(400)),
        (Self::UnsupportedGrantType, "unsupported_grant_type", plain(400)),
        (Self::UnsupportedResponseType, "unsupported_response_type", plain(400)),
        (Self::InvalidAuthorizationDetails, "invalid_authorization_details", plain(400)),
        (Self::InvalidRedirectUri, "invalid_redirect_uri", plain(400)),
        (Self::InvalidClientMetadata, "invalid_client_metadata", plain(400)),
        (Self::AccessDenied, "access_denied", plain(403)),
        (Self::SignIn, "sign_in", plain(400)),
        (Self::Unavailable, "temporarily_unavailable", plain(503)),
        (Self::Internal, "internal", rpc(500, 5000)),
    ];

    fn row(self) -> (Self, &'static str, Answer) {
        // The table holds every variant (tested), so the fallback is never met; it refuses all the same.
        Self::ALL.into_iter().find(|(reason, _, _)| *reason == self).unwrap_or((
            Self::Internal,
            "internal",
            rpc(500, 5000),
        ))
    }

    /// The stable word for this reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The answer a caller gets for this reason.
    #[must_use]
    pub fn answer(self) -> Answer {
        self.row().2
    }

    /// The reason behind a word, if there is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name, _)| *name == word).map(|(reason, _, _)| reason)
    }
}

/// One refusal, ready to be answered and recorded. It never holds a secret or a rule's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub reason: Reason,
    /// HTTP status code.
    pub status: u16,
    /// JSON-RPC error code, or `None` for a plain body.
    pub code: Option<i64>,
    /// One sentence that the caller can act on.
    pub message: String,
    /// The `data` member of the JSON-RPC error.
    pub data: Option<Value>,
    /// The request's id where it was read safely, to be echoed.
    pub id: Option<Id>,
}

impl Refusal {
    /// A refusal with the answer that the table gives for `reason`.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let Answer { status, code } = reason.answer();
        Self { reason, status, code, message: message.into(), data: None, id: None }
    }

    /// The same refusal under another HTTP status and JSON-RPC code.
    #[must_use]
    pub fn with_code(mut self, status: u16, code: i64) -> Self {
        self.status = status;
        self.code = Some(code);
        self
    }

    /// The same refusal with `data` for the JSON-RPC error.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The same refusal, echoing `id`.
    #[must_use]
    pub fn with_id(mut self, id: Option<Id>) -> Self {
        self.id = id;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_unique_and_leads_back_to_its_reason() {
        for (reason, word, answer) in Reason::ALL {
            assert_eq!(Reason::from_word(word), Some(reason));
            assert_eq!(reason.as_str(), word);
            assert_eq!(reason.answer(), answer);
        }
    }
}
