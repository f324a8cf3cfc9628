//! The claims of a token whose signature is good (RFC 7519, RFC 9068).

use super::{Act, CLOCK_SKEW_S, Issuer, ServerAudience, TokenError, Verified};
use crate::deny::Reason;
use crate::json::{Object, Value};

/// How long a delegation chain may be.
const MAX_ACT: usize = 8;

/// How long a subject, a client id or a token id may be.
const MAX_ID_BYTES: usize = 512;

/// Judges every claim that the gateway relies on, and gives what the token says.
pub(super) fn check(
    claims: Object,
    issuer: &Issuer,
    server: &ServerAudience<'_>,
    now_s: i64,
) -> Result<Verified, TokenError> {
    issuer.check_audience(claims.get("aud"), server)?;
    let (iat, exp) = check_times(&claims, issuer.max_ttl_s, now_s)?;
    // Both narrow what the token is good for in ways that this version cannot hold it to.
    if claims.get("cnf").is_some() {
        return Err(TokenError::invalid("the token is bound to a key of its sender, which cannot be checked here"));
    }
    if claims.get("authorization_details").is_some_and(|details| details.as_array().is_none_or(|list| !list.is_empty()))
    {
        return Err(TokenError::invalid("the token carries authorization_details, which are not in this version"));
    }
    let sub = id(&claims, "sub")?.ok_or_else(|| TokenError::invalid("the token has no subject"))?;
    let jti = id(&claims, "jti")?;
    if issuer.is_local() && jti.is_none() {
        return Err(TokenError::invalid("the token has no `jti`"));
    }
    Ok(Verified {
        issuer: issuer.name.clone(),
        sub,
        kind: issuer.kind,
        client_id: id(&claims, "client_id")?,
        act: read_act(&claims, issuer.is_local())?,
        scope: read_scope(&claims)?,
        jti,
        family: if issuer.is_local() { id(&claims, "fam")? } else { None },
        iat,
        exp,
        claims,
    })
}

/// Whether a token that ends at `exp` is over at `now_s`.
pub(super) fn is_expired(exp: i64, now_s: i64) -> bool {
    now_s >= exp.saturating_add(CLOCK_SKEW_S)
}

fn check_times(claims: &Object, max_ttl_s: i64, now_s: i64) -> Result<(i64, i64), TokenError> {
    let exp = date(claims, "exp")?.ok_or_else(|| TokenError::invalid("the token has no `exp`"))?;
    let iat = date(claims, "iat")?.ok_or_else(|| TokenError::invalid("the token has no `iat`"))?;
    let nbf = date(claims, "nbf")?;
    if is_expired(exp, now_s) {
        return Err(TokenError::new(Reason::TokenExpired, "the token has expired"));
    }
    if iat > now_s + CLOCK_SKEW_S || nbf.is_some_and(|nbf| nbf > now_s + CLOCK_SKEW_S) {
        return Err(TokenError::invalid("the token is not valid yet"));
    }
    if exp <= iat || exp - iat > max_ttl_s {
        return Err(TokenError::invalid("the token lives longer than its issuer is pinned to"));
    }
    Ok((iat, exp))
}

/// RFC 7519 `NumericDate`, whole seconds only: what needs rounding is not a time that two readers agree on.
fn date(claims: &Object, name: &str) -> Result<Option<i64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    value
        .as_number()
        .map(crate::json::Number::as_str)
        .filter(|text| text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(|| TokenError::invalid("a time in the token is not a whole number of seconds"))
}

fn id(claims: &Object, name: &str) -> Result<Option<String>, TokenError> {
    claims.get(name).map(id_text).transpose()
}

fn id_text(value: &Value) -> Result<String, TokenError> {
    value
        .as_str()
        .filter(|text| !text.is_empty() && text.len() <= MAX_ID_BYTES && !text.contains(char::is_control))
        .map(str::to_owned)
        .ok_or_else(|| TokenError::invalid("an identifier in the token is empty, too long or not plain text"))
}

/// RFC 8693 section 4.1: each `act` may hold the one before it. An actor of another issuer cannot be vouched for.
fn read_act(claims: &Object, own: bool) -> Result<Vec<Act>, TokenError> {
    let mut chain = Vec::new();
    let mut next = claims.get("act");
    while let Some(value) = next {
        let fault = || TokenError::invalid("the token's `act` is not a chain of actors of its own issuer");
        let act = value.as_object().ok_or_else(fault)?;
        if chain.len() == MAX_ACT || act.get("iss").is_some_and(|iss| Some(iss) != claims.get("iss")) {
            return Err(fault());
        }
        let sub = id(act, "sub")?.ok_or_else(fault)?;
        let third_party = if own { id(act, "third_party")? } else { None };
        chain.push(Act { sub, client_id: id(act, "client_id")?, third_party });
        next = act.get("act");
    }
    Ok(chain)
}

/// RFC 8693 section 4.2. Some issuers write `scp`, some a list; overlooking those would lift a ceiling.
fn read_scope(claims: &Object) -> Result<Vec<String>, TokenError> {
    let fault = || TokenError::invalid("the token's scope is neither a string nor a list of strings");
    let mut scopes: Vec<String> = Vec::new();
    let mut add = |scope: &str| -> Result<(), TokenError> {
        // RFC 6749 section 3.3: scope-token
        if !scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err(fault());
        }
        if !scope.is_empty() && !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
        Ok(())
    };
    match claims.get("scope").or_else(|| claims.get("scp")) {
        None => {}
        Some(Value::String(text)) => text.split(' ').try_for_each(&mut add)?,
        Some(Value::Array(list)) => {
            list.iter().try_for_each(|item| add(item.as_str().ok_or_else(fault)?))?;
        }
        Some(_) => return Err(fault()),
    }
    Ok(scopes)
}
