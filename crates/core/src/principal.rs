//! Who, and for whom: from a verified token to the subject, the actor and the ceiling of a call (DESIGN section 4).
//!
//! The *subject* is on whose authority the call runs, the *actor* is what acts. What kind of principal somebody is
//! comes from the issuer's pin or from our registry, never from a claim. Tokens of our own say it themselves, since we
//! wrote them (`own`).

mod own;

pub use own::CLIENT;

use crate::deny::Reason;
use crate::json::{Object, Value};
use crate::snapshot::{Agent, Snapshot};
use crate::token::{Act, Direct, Issuer, TokenError, Verified};

/// What kind of principal somebody is.
pub use crate::facts::PrincipalType as Kind;

/// The groups of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    Known(Vec<String>),
    /// They exist but could not be had, and why. Rules treat this as an error, not as absence.
    Unavailable(String),
}

/// On whose authority a call runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub kind: Kind,
    /// `type:issuer:subject`
    pub id: String,
    /// Only where the issuer may vouch for the address.
    pub email: Option<String>,
    pub domain: Option<String>,
    /// `None` where the issuer's pin names no claim for them, or the token has none.
    pub groups: Option<Groups>,
    /// The provider's claims; one that could not be obtained, or has no exact meaning, is `{"unavailable": "why"}`.
    pub claims: Object,
    /// Of an agent or service: the owner's key in `people`.
    pub owner: Option<String>,
}

/// The agent that acts, for a subject or for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The principal id.
    pub id: String,
    /// The owner's key in `people`; of a client that nobody registered the person's id, if she is not declared there.
    pub owner: String,
}

impl From<&Agent> for Actor {
    fn from(agent: &Agent) -> Self {
        Self { id: agent.id.clone(), owner: agent.owner.clone() }
    }
}

/// Everything about who calls that decisions and records need. It depends on the token and the snapshot alone, so
/// it may be kept beside a verified token for as long as both hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    pub subject: Subject,
    /// `None` when a human or service acts in person.
    pub actor: Option<Actor>,
    /// Principal ids of the delegation chain, the present actor first; empty when the subject acts itself.
    pub act: Vec<String>,
    pub client_id: Option<String>,
    /// Scopes after the issuer's map: those that are not ours as they are, ours (`mcp:*`) as the map grants them.
    pub scope: Vec<String>,
}

/// Finds out who a verified token speaks for. `issuer` is the pin that verified it.
pub fn resolve(token: &Verified, issuer: &Issuer, snapshot: &Snapshot) -> Result<Caller, TokenError> {
    let (kind, id) = if issuer.is_local() {
        own::subject_id(token)?
    } else {
        (token.kind, format!("{}:{}:{}", token.kind.as_str(), issuer.name, token.sub))
    };
    let own = snapshot.agents.get(&id);
    let service = snapshot.services.get(&id);
    match kind {
        Kind::Agent if own.is_none() => return Err(unknown("the agent of this token is not registered")),
        Kind::Service if service.is_none() && issuer.is_local() => {
            return Err(unknown("the service of this token is not registered"));
        }
        Kind::Human | Kind::Service | Kind::Agent => {}
    }
    let actor = if issuer.is_local() {
        own::actor(token, snapshot, kind, own)?
    } else {
        acting_agent(token, issuer, snapshot, kind, own)?.map(Actor::from)
    };
    let act = match &actor {
        Some(actor) if actor.id != id => {
            let earlier = token.act.iter().skip(1).map(|act| actor_id(issuer, act));
            std::iter::once(actor.id.clone()).chain(earlier).collect()
        }
        Some(_) | None => Vec::new(),
    };
    let said = match (kind, issuer.is_local()) {
        (Kind::Human, true) => own::said(&token.claims)?,
        (Kind::Service | Kind::Agent, true) => Said::default(),
        (_, false) => Said {
            email: if kind == Kind::Human { email(&token.claims, issuer) } else { None },
            groups: issuer.groups_claim.as_deref().and_then(|name| groups(&token.claims, name)),
            claims: known_claims(&token.claims),
        },
    };
    let (email, domain) = said.email.unzip();
    Ok(Caller {
        subject: Subject {
            kind,
            id,
            email,
            domain,
            groups: said.groups,
            claims: said.claims,
            owner: own.map(|own| &own.owner).or(service.map(|own| &own.owner)).cloned(),
        },
        actor,
        act,
        client_id: token.client_id.clone(),
        scope: scopes(&token.scope, issuer),
    })
}

/// What a token says of its subject beside the id.
#[derive(Default)]
struct Said {
    /// The address and its domain.
    email: Option<(String, String)>,
    groups: Option<Groups>,
    claims: Object,
}

fn unknown(message: &str) -> TokenError {
    TokenError::new(Reason::AgentUnknown, message)
}

/// What acts by the token of another issuer: the subject itself where the pin lets it, else an agent that must be registered.
fn acting_agent<'s>(
    token: &Verified,
    issuer: &Issuer,
    snapshot: &'s Snapshot,
    kind: Kind,
    own: Option<&'s Agent>,
) -> Result<Option<&'s Agent>, TokenError> {
    let client = token.client_id.as_deref().and_then(|id| snapshot.agent_of_client(&issuer.name, id));
    if let Some(act) = token.act.first() {
        let actor = snapshot
            .agents
            .get(&actor_id(issuer, act))
            .or_else(|| snapshot.agent_of_client(&issuer.name, act.client_id.as_deref().unwrap_or(&act.sub)))
            .ok_or_else(|| unknown("the agent that acts by this token is not registered"))?;
        if client.is_some_and(|client| client.id != actor.id) {
            return Err(unknown(TWO_AGENTS));
        }
        return Ok(Some(actor));
    }
    let direct = match (&issuer.direct, &token.client_id) {
        (Direct::Always, _) => true,
        (Direct::Clients(ids), Some(id)) if ids.contains(id) => true,
        // A program that is its own client, or has none beside it, is what acts (RFC 9068 section 2.2). A human
        // is never a client, and with none named nobody is there to act.
        (Direct::Never | Direct::Clients(_), client) => {
            kind != Kind::Human && client.as_ref().is_none_or(|client| *client == token.sub)
        }
    };
    if direct {
        return Ok(own);
    }
    client
        .map(Some)
        .ok_or_else(|| unknown("the client of this token is not a registered agent, and may not act for its subject"))
}

const TWO_AGENTS: &str = "the token names one agent as its actor and another as its client";

fn actor_id(issuer: &Issuer, act: &Act) -> String {
    if issuer.is_local() { act.sub.clone() } else { format!("agent:{}:{}", issuer.name, act.sub) }
}

/// The address and its domain, if the issuer may vouch for that domain and does not say that it is unverified.
fn email(claims: &Object, issuer: &Issuer) -> Option<(String, String)> {
    let (address, domain) = address(claims.get(issuer.email_claim.as_deref()?)?)?;
    let verified = match claims.get("email_verified") {
        None | Some(Value::Bool(true)) => true,
        Some(Value::String(word)) => word == "true",
        Some(_) => false,
    };
    let vouched = issuer.email_domains.as_ref()?.contains(&domain);
    (verified && vouched).then_some((address, domain))
}

/// A plain address, with its domain in lower case.
fn address(claim: &Value) -> Option<(String, String)> {
    let address = claim.as_str()?;
    let (local, domain) = address.rsplit_once('@')?;
    let plain = !local.is_empty() && !address.contains(|c: char| c.is_whitespace() || c.is_control());
    plain.then(|| (address.to_owned(), domain.to_ascii_lowercase()))
}

/// Groups, or why there are none to be had. Issuers leave a long list out and say so (OpenID Connect Core section
/// 5.6.2 by `_claim_names`, Entra also by `hasgroups`); whoever overlooked that would take it for no groups at all.
fn groups(claims: &Object, name: &str) -> Option<Groups> {
    let elsewhere =
        claims.get("_claim_names").is_some_and(|names| names.as_object().is_none_or(|o| o.get(name).is_some()));
    let has_groups = !matches!(claims.get("hasgroups"), None | Some(Value::Bool(false)));
    if elsewhere || has_groups {
        return Some(Groups::Unavailable("the token leaves the groups out because there are too many".to_owned()));
    }
    let list = match claims.get(name)? {
        Value::String(group) => Some(vec![group.clone()]),
        Value::Array(list) => list.iter().map(|group| group.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    Some(list.map_or_else(|| Groups::Unavailable("the groups are not a list of names".to_owned()), Groups::Known))
}

/// The claims as facts: those kept elsewhere, and those with a number that has no exact meaning, are unavailable.
fn known_claims(claims: &Object) -> Object {
    let mut known = Object::new();
    for (name, value) in claims.iter() {
        known.insert(name, if value.is_exact() { value.clone() } else { unavailable("a number has no exact meaning") });
    }
    mark_left_out(claims, &mut known);
    known
}

/// Marks the claims of which `claims` says that they are kept elsewhere.
fn mark_left_out(claims: &Object, known: &mut Object) {
    for (name, _) in claims.get("_claim_names").and_then(Value::as_object).into_iter().flat_map(Object::iter) {
        known.insert(name, unavailable("the claim is kept elsewhere"));
    }
}

fn unavailable(why: &str) -> Value {
    let mut mark = Object::new();
    mark.insert("unavailable", Value::from(why));
    Value::Object(mark)
}

/// The token's class ceiling, written as `mcp:*` scopes beside whatever else the token has.
///
/// With a map, only what it maps counts: an `mcp:*` scope that the issuer wrote itself grants nothing, and a token
/// with no mapped scope gets `mcp:none`, which is a ceiling without a class.
fn scopes(given: &[String], issuer: &Issuer) -> Vec<String> {
    let Some(map) = &issuer.scopes else { return given.to_vec() };
    let mut scopes: Vec<String> = given.iter().filter(|scope| !scope.starts_with("mcp:")).cloned().collect();
    let others = scopes.len();
    for class in given.iter().filter_map(|scope| map.get(scope)).flatten() {
        if !scopes.iter().any(|known| known == class.scope()) {
            scopes.push(class.scope().to_owned());
        }
    }
    if scopes.len() == others {
        scopes.push("mcp:none".to_owned());
    }
    scopes
}
