//! The compact form of a signed token (RFC 7515 section 3.1), taken apart strictly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Algorithm, MAX_TOKEN_BYTES, TokenError};
use crate::json::{Limits, Object, Value, parse};

/// Tokens are small and flat; what exceeds this is not one.
const LIMITS: Limits = Limits { depth: 16, members: 1_000, string_bytes: MAX_TOKEN_BYTES, prototype: false };

/// Header members that ask for an extension, bring a key of the sender's choice, or belong to encryption. None of
/// them is ever looked at, so a token with one is refused rather than read as if it were not there.
const REFUSED: [&str; 12] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "epk", "p2c", "p2s", "apu"];

/// A token before its signature was checked. Nothing in it may be believed.
pub(super) struct Compact<'a> {
    pub header: Header,
    /// What the signature is over.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    pub claims: Object,
}

pub(super) struct Header {
    pub alg: Algorithm,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

/// Takes a compact JWS apart.
pub(super) fn read(token: &str) -> Result<Compact<'_>, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::invalid("the token is longer than 16 KiB"));
    }
    let form = || TokenError::invalid("the token is not a signed JWT of three base64url parts");
    let (signed, signature) = token.rsplit_once('.').ok_or_else(form)?;
    let (header, claims) = signed.split_once('.').ok_or_else(form)?;
    if header.is_empty() || claims.is_empty() || claims.contains('.') {
        return Err(form());
    }
    if signature.is_empty() {
        return Err(TokenError::invalid("the token is not signed"));
    }
    let header = read_header(&decode_object(header)?)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| form())?;
    Ok(Compact { header, signed: signed.as_bytes(), signature, claims: decode_object(claims)? })
}

fn decode_object(part: &str) -> Result<Object, TokenError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::invalid("the token is not a signed JWT of three base64url parts"))?;
    match parse(&bytes, &LIMITS) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(TokenError::invalid("a part of the token is not one JSON object with unique keys")),
    }
}

fn read_header(header: &Object) -> Result<Header, TokenError> {
    if REFUSED.iter().any(|name| header.get(name).is_some()) {
        return Err(TokenError::invalid("the token's header holds a member that is never accepted"));
    }
    let alg = header
        .get("alg")
        .and_then(Value::as_str)
        .and_then(Algorithm::from_name)
        .ok_or_else(|| TokenError::invalid("the token's algorithm is not accepted"))?;
    Ok(Header { alg, kid: text(header, "kid")?, typ: text(header, "typ")? })
}

fn text(header: &Object, name: &str) -> Result<Option<String>, TokenError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(TokenError::invalid("a member of the token's header has the wrong type")),
    }
}
