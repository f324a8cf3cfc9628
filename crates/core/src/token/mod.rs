//! Who sent it: bearer tokens are verified here, and the token that goes upstream in their place is minted here.
//!
//! A token is a signed JWT of an issuer that the configuration pins; keys, algorithms, audience, type and lifetime
//! all come from the pin, never from the token. There is no way to get a [`Verified`] but through [`verify`], and
//! every doubt is a refusal: nothing here yields a principal by default.

mod claims;
mod issuer;
mod jws;
mod key;
mod mint;

pub use issuer::{Audience, Direct, Issuer, Issuers, ServerAudience};
pub use key::Algorithm;
pub use mint::{Assertion, SigningKey, mint};

use crate::deny::{Reason, Refusal};
use crate::json::Object;
use crate::principal::Kind;

/// The name of the gateway's own issuer, whose subjects are whole principal ids.
pub const LOCAL: &str = "local";

/// Tokens longer than this are refused before any work is done on them.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How far the clocks of an issuer and of this machine may differ, in seconds; `exp`, `nbf` and `iat` get no more.
pub const CLOCK_SKEW_S: i64 = 30;

/// Why a token opened nothing. The message is one sentence and holds nothing of the token's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TokenError {
    pub reason: Reason,
    pub message: String,
}

impl TokenError {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(Reason::TokenInvalid, message)
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::new(error.reason, error.message)
    }
}

/// One party of a delegation chain (RFC 8693 section 4.1), as the token spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub sub: String,
    pub client_id: Option<String>,
    /// Who made the client behind it; only our own tokens say so.
    pub third_party: Option<String>,
}

/// What a token says, once its signature, its issuer's pin and its times were all found good.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Verified {
    /// The issuer's name in the configuration.
    pub issuer: String,
    pub sub: String,
    /// What kind of principal the issuer's pin says its subjects are.
    pub kind: Kind,
    pub client_id: Option<String>,
    /// Who acts for the subject, the present actor first; empty when the token has no `act`.
    pub act: Vec<Act>,
    /// The token's own scopes, before the issuer's map.
    pub scope: Vec<String>,
    pub jti: Option<String>,
    /// The authorization that it grew from; only our own tokens have one.
    pub family: Option<String>,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch.
    pub exp: i64,
    /// Every claim.
    pub claims: Object,
}

impl Verified {
    /// Whether the token is past its end at `now_s`, the allowed skew included.
    #[must_use]
    pub fn is_expired(&self, now_s: i64) -> bool {
        claims::is_expired(self.exp, now_s)
    }
}

/// Verifies a bearer token for one server at `now_s` seconds since the epoch.
///
/// In this order: size, form and header; the issuer, by exact name; its key and algorithm; the signature; and only
/// then, as nothing in an unsigned claim may steer an answer, the claims.
pub fn verify(token: &str, issuers: &Issuers, server: &ServerAudience<'_>, now_s: i64) -> Result<Verified, TokenError> {
    let compact = jws::read(token)?;
    let issuer = compact
        .claims
        .get("iss")
        .and_then(crate::json::Value::as_str)
        .and_then(|iss| issuers.by_url(iss))
        .ok_or_else(|| TokenError::invalid("the token is not from an issuer that this gateway accepts"))?;
    issuer.check_signature(&compact)?;
    issuer.check_type(compact.header.typ.as_deref())?;
    claims::check(compact.claims, issuer, server, now_s)
}

/// The name of the pinned issuer of a refused token that asks for a key which is not among its issuer's: there may be a
/// new one. Whoever sent the token may have made it up.
#[must_use]
pub fn unknown_key<'a>(token: &str, issuers: &'a Issuers) -> Option<&'a str> {
    let compact = jws::read(token).ok()?;
    let kid = compact.header.kid.as_deref()?;
    let issuer = issuers.by_url(compact.claims.get("iss")?.as_str()?)?;
    (!issuer.has_key(kid) && !issuer.is_local()).then_some(&issuer.name)
}
