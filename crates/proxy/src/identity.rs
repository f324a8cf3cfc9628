//! A verified token with everything that follows from it, worked out once and kept as long as token and snapshot hold.

use std::sync::Arc;

use ostiary_core::audit::{self, Json, Record};
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::epoch;
use ostiary_core::facts::{self, Facts};
use ostiary_core::json::{Object, Value};
use ostiary_core::principal::{self, Caller, Groups, Kind};
use ostiary_core::token::{self, ServerAudience, TokenError, Verified};

use quick_cache::Equivalent;

use crate::revocations::{Revocations, Standing};
use crate::state::{Endpoint, Live};

/// Who calls, ready for decisions and records.
#[derive(Debug)]
pub struct Identity {
    verified: Verified,
    /// Who that is, or why the registry answers for nobody.
    resolved: Result<Resolved, TokenError>,
    standing: Arc<Standing>,
    token_json: Vec<u8>,
}

#[derive(Debug)]
struct Resolved {
    caller: Caller,
    principal: Arc<facts::Principal>,
    token: Arc<facts::Token>,
    actor: Option<facts::Actor>,
    principal_json: Vec<u8>,
    act_json: Vec<u8>,
}

/// The key of a remembered identity, borrowed: it hashes and compares like (server, token text).
#[derive(Hash)]
struct Presented<'a>(&'a str, &'a str);

impl Equivalent<(Arc<str>, String)> for Presented<'_> {
    fn equivalent(&self, (server, token): &(Arc<str>, String)) -> bool {
        *self.0 == **server && self.1 == token
    }
}

impl Identity {
    /// Verifies `bearer` for `endpoint`, or finds it verified. Whether it still stands is for [`Identity::check`] to say.
    ///
    /// # Errors
    /// [`Refusal`] with 401. There is no default identity, and no other way to get one.
    pub fn of(
        live: &Live,
        endpoint: &Endpoint,
        bearer: &str,
        now_s: i64,
        revocations: &Revocations,
    ) -> Result<Arc<Self>, Refusal> {
        if let Some(known) = live.identities.get(&Presented(&endpoint.name, bearer)) {
            known.check_time(now_s)?;
            return Ok(known);
        }
        let audience = ServerAudience { name: &endpoint.name, url: &endpoint.resource };
        let verified = token::verify(bearer, &live.snapshot.issuers, &audience, now_s)?;
        let identity = Arc::new(Self::new(verified, live));
        revocations.enter(&identity.standing);
        live.identities.insert((Arc::clone(&endpoint.name), bearer.to_owned()), Arc::clone(&identity));
        Ok(identity)
    }

    fn new(verified: Verified, live: &Live) -> Self {
        let resolved = match live.snapshot.issuers.by_name(&verified.issuer) {
            Some(issuer) => principal::resolve(&verified, issuer, &live.snapshot).map(|caller| Resolved {
                principal: Arc::new(principal_facts(&caller)),
                token: Arc::new(token_facts(&caller)),
                actor: caller
                    .actor
                    .as_ref()
                    .map(|actor| facts::Actor { id: actor.id.clone(), owner: Some(actor.owner.clone()) }),
                principal_json: audit::principal_json(&caller),
                act_json: audit::strings_json(&caller.act),
                caller,
            }),
            // `verify` found the issuer by the same table a moment ago.
            None => Err(TokenError {
                reason: Reason::TokenInvalid,
                message: "the token's issuer is not accepted any more".to_owned(),
            }),
        };
        let caller = resolved.as_ref().ok().map(|resolved| &resolved.caller);
        let keys = epoch::keys(&verified, caller, &live.snapshot);
        let acting = caller.and_then(|caller| caller.actor.as_ref()).map(|actor| &actor.id);
        let subject = caller.map(|caller| &caller.subject.id);
        let used_by = subject.into_iter().chain(acting.filter(|acting| Some(*acting) != subject)).cloned().collect();
        let standing = Arc::new(Standing::new(keys, verified.iat, used_by));
        Self { token_json: audit::token_json(&verified), resolved, standing, verified }
    }

    fn check_time(&self, now_s: i64) -> Result<(), Refusal> {
        if self.verified.is_expired(now_s) {
            return Err(Refusal::new(Reason::TokenExpired, "The token has expired."));
        }
        Ok(())
    }

    /// Whether the token still lives at `now_s` seconds since the epoch, and has not been revoked.
    ///
    /// # Errors
    /// [`Refusal`] with 401 if not.
    pub fn check(&self, now_s: i64) -> Result<(), Refusal> {
        self.check_time(now_s)?;
        if self.standing.is_revoked() {
            return Err(Refusal::new(Reason::Revoked, "The token has been revoked."));
        }
        Ok(())
    }

    /// Whether it has been revoked, and when it is.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Who calls.
    ///
    /// # Errors
    /// [`Refusal`] when nobody who is registered stands behind the token.
    pub fn caller(&self) -> Result<&Caller, Refusal> {
        self.resolved().map(|resolved| &resolved.caller)
    }

    fn resolved(&self) -> Result<&Resolved, Refusal> {
        self.resolved.as_ref().map_err(|error| Refusal::from(error.clone()))
    }

    /// The facts of a message of this caller, as far as they come from the token.
    ///
    /// # Errors
    /// As [`Identity::caller`].
    pub fn facts(&self, server: &str, mcp_method: &str) -> Result<Facts, Refusal> {
        let resolved = self.resolved()?;
        let mut facts = Facts::new(Arc::clone(&resolved.principal), server, mcp_method);
        facts.agent.clone_from(&resolved.actor);
        facts.act.clone_from(&resolved.caller.act);
        facts.token = Some(Arc::clone(&resolved.token));
        Ok(facts)
    }

    /// Writes who calls into a record.
    pub fn fill<'a>(&'a self, record: &mut Record<'a>) {
        record.token = Json::Canonical(&self.token_json);
        if let Ok(resolved) = &self.resolved {
            record.principal = Json::Canonical(&resolved.principal_json);
            record.act = Json::Canonical(&resolved.act_json);
            record.agent = resolved.caller.actor.as_ref().map(|actor| actor.id.as_str());
        }
    }
}

fn principal_facts(caller: &Caller) -> facts::Principal {
    let subject = &caller.subject;
    let kind = match subject.kind {
        Kind::Human => facts::PrincipalType::Human,
        Kind::Service => facts::PrincipalType::Service,
        Kind::Agent => facts::PrincipalType::Agent,
    };
    let groups = subject.groups.as_ref().map(|groups| match groups {
        Groups::Known(names) => Value::Array(names.iter().map(|name| name.as_str().into()).collect()),
        Groups::Unavailable(why) => {
            let mut mark = Object::new();
            mark.insert("unavailable", why.as_str().into());
            Value::Object(mark)
        }
    });
    facts::Principal {
        email: subject.email.clone(),
        groups,
        claims: subject.claims.clone(),
        owner: subject.owner.clone(),
        ..facts::Principal::new(kind, subject.id.clone())
    }
}

fn token_facts(caller: &Caller) -> facts::Token {
    let scope = caller.scope.iter().map(|scope| scope.as_str().into()).collect();
    facts::Token { scope: Some(Value::Array(scope)), client_id: caller.client_id.clone() }
}
