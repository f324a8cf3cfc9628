//! Whom tokens of our own speak for. We wrote them, so subject and actor are whole principal ids, and what a provider
//! said of a person stands in members of its own; but the registry may have changed since.

use super::{Actor, Kind, Said, TWO_AGENTS, address, groups, known_claims, mark_left_out, unknown};
use crate::json::{Object, Value};
use crate::snapshot::{Agent, Snapshot};
use crate::token::{LOCAL, TokenError, Verified};

/// What the id of an OAuth client begins with that nobody registered, and that a person let act for her.
pub const CLIENT: &str = "agent:client:";

/// The principal id of the subject. For a human it speaks only through an agent.
pub(super) fn subject_id(token: &Verified) -> Result<(Kind, String), TokenError> {
    let mut parts = token.sub.splitn(3, ':');
    let kind = parts.next().and_then(Kind::from_word);
    let whole =
        parts.next().is_some_and(|issuer| !issuer.is_empty()) && parts.next().is_some_and(|sub| !sub.is_empty());
    match kind.filter(|_| whole) {
        Some(Kind::Human) if token.act.is_empty() => {
            Err(TokenError::invalid("the token speaks for a human and does not say what acts"))
        }
        Some(kind) => Ok((kind, token.sub.clone())),
        None => Err(TokenError::invalid("the token's subject is not the id of a principal")),
    }
}

/// What acts: the subject itself, else the agent that the token names, which is the one that its client is.
pub(super) fn actor(
    token: &Verified,
    snapshot: &Snapshot,
    kind: Kind,
    own: Option<&Agent>,
) -> Result<Option<Actor>, TokenError> {
    let Some(act) = token.act.first() else {
        // The subject is the program that the token was issued to.
        return Ok(own.map(Actor::from));
    };
    let client = token.client_id.as_deref().and_then(|id| snapshot.agent_of_client(LOCAL, id));
    if client.is_some_and(|client| client.id != act.sub) {
        return Err(unknown(TWO_AGENTS));
    }
    if let Some(agent) = snapshot.agents.get(&act.sub) {
        // A person lets a client act, so it is by the client that the agent is known to be the one she meant.
        if kind == Kind::Human && client.is_none() {
            return Err(unknown("the client of this token is not the agent that acts by it"));
        }
        return Ok(Some(Actor::from(agent)));
    }
    match act.sub.strip_prefix(CLIENT) {
        Some(client_id) if kind == Kind::Human => {
            if token.client_id.as_deref() != Some(client_id) {
                return Err(unknown(TWO_AGENTS));
            }
            Ok(Some(Actor { id: act.sub.clone(), owner: snapshot.owner_key(&token.sub).to_owned() }))
        }
        Some(_) | None => Err(unknown("the agent that acts by this token is not registered")),
    }
}

/// What the provider said of a person, as we put it into her token.
pub(super) fn said(claims: &Object) -> Result<Said, TokenError> {
    let mut known = match claims.get("claims") {
        None => Object::new(),
        Some(Value::Object(own)) => known_claims(own),
        Some(_) => return Err(TokenError::invalid("the token's `claims` are not an object")),
    };
    mark_left_out(claims, &mut known);
    Ok(Said { email: claims.get("email").and_then(address), groups: groups(claims, "groups"), claims: known })
}
