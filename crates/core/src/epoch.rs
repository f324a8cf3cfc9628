//! Revocation by epoch: what was issued at or before an epoch that speaks of it is refused (DESIGN section 4).

use std::collections::HashMap;

use crate::fields::{Fault, Fields};
use crate::json::{Limits, Value, parse};
use crate::principal::{Caller, Kind};
use crate::snapshot::Snapshot;
use crate::token::Verified;

/// How long an epoch matters, in seconds: no token lives longer, what clocks may differ by included.
pub const MEMORY_S: i64 = 62 * 60;

/// Epochs come from our own control plane, and there may be very many.
const LIMITS: Limits = Limits { depth: 4, members: 10_000_000, string_bytes: 4_096, prototype: true };

/// What an epoch speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EpochKind {
    /// One token, by `jti`.
    Token,
    /// Everything that grew from one authorization.
    Family,
    /// Everything issued to an OAuth client.
    Client,
    /// Everything by which an agent acts, itself or for somebody, and everything that acts by its authority.
    Agent,
    /// Everything by the authority of a principal.
    Subject,
    /// Every agent of an owner, by the owner's key in `people` or principal id. An owner in person is not touched.
    Owner,
    /// Every agent of a third party, by its name.
    ThirdParty,
}

impl EpochKind {
    /// Every kind with its word.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Token, "token"),
        (Self::Family, "family"),
        (Self::Client, "client"),
        (Self::Agent, "agent"),
        (Self::Subject, "subject"),
        (Self::Owner, "owner"),
        (Self::ThirdParty, "third_party"),
    ];

    /// The kind behind a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == word).map(|(kind, _)| kind)
    }
}

/// Whom or what an epoch speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: EpochKind,
    pub value: String,
}

/// One revocation: what has this key and was issued at `at` or before is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    pub key: Key,
    /// Seconds since 1970.
    pub at: i64,
}

/// Why a text is not a list of epochs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct EpochError {
    /// The member at fault, as in `[3].kind`; empty for the whole.
    pub path: String,
    pub message: String,
}

impl From<Fault> for EpochError {
    fn from(fault: Fault) -> Self {
        Self { path: fault.path, message: fault.message }
    }
}

/// Reads `[{"kind", "value", "epoch"}]`.
///
/// # Errors
/// The first member that is unknown, missing or not of its type: a revocation that is not understood must not be passed
/// over.
pub fn read(text: &str) -> Result<Vec<Epoch>, EpochError> {
    let value = parse(text.as_bytes(), &LIMITS).map_err(|error| Fault::at("", error.to_string()))?;
    let list = value.as_array().ok_or_else(|| Fault::at("", "must be a list"))?;
    Ok(list.iter().enumerate().map(|(at, item)| one(item, &format!("[{at}]"))).collect::<Result<_, Fault>>()?)
}

fn one(value: &Value, path: &str) -> Result<Epoch, Fault> {
    let mut fields = Fields::of(value, path)?;
    // What was told to operators; it changes nothing.
    fields.optional_text("reason")?;
    let kind = EpochKind::from_word(fields.text("kind")?).ok_or_else(|| fields.fault("kind", "is not a known kind"))?;
    let value = fields.text("value")?;
    if value.is_empty() {
        return Err(fields.fault("value", "must not be empty"));
    }
    let at = i64::try_from(fields.whole("epoch")?).map_err(|_| fields.fault("epoch", "is out of range"))?;
    let key = Key { kind, value: value.to_owned() };
    fields.finish()?;
    Ok(Epoch { key, at })
}

/// The latest epoch of each key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs {
    latest: HashMap<Key, i64>,
}

impl Epochs {
    /// Adds epochs, and forgets those that no living token can be as old as at `now_s`.
    pub fn add(&mut self, epochs: &[Epoch], now_s: i64) {
        for Epoch { key, at } in epochs {
            match self.latest.get_mut(key) {
                Some(latest) => *latest = (*latest).max(*at),
                None => drop(self.latest.insert(key.clone(), *at)),
            }
        }
        self.latest.retain(|_, at| *at > now_s.saturating_sub(MEMORY_S));
    }

    /// Whether something with these keys that was issued at `iat` is revoked.
    #[must_use]
    pub fn revoke(&self, keys: &[Key], iat: i64) -> bool {
        !self.latest.is_empty() && keys.iter().any(|key| self.latest.get(key).is_some_and(|at| iat <= *at))
    }

    /// How many keys are revoked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.latest.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }
}

/// Every key by which a token can be revoked. `caller` is who it speaks for, where the registry knows.
#[must_use]
pub fn keys(token: &Verified, caller: Option<&Caller>, snapshot: &Snapshot) -> Vec<Key> {
    let mut keys = Keys(Vec::new());
    keys.add(EpochKind::Token, token.jti.as_deref());
    keys.add(EpochKind::Family, token.family.as_deref());
    keys.add(EpochKind::Client, token.client_id.as_deref());
    let Some(caller) = caller else { return keys.0 };
    let subject = &caller.subject;
    keys.add(EpochKind::Subject, Some(&subject.id));
    // Whoever acts for an agent acts by its authority.
    let own = (subject.kind == Kind::Agent).then_some(subject.id.as_str());
    let actor = caller.actor.as_ref().map(|actor| actor.id.as_str());
    for id in own.into_iter().chain(actor).chain(caller.act.iter().map(String::as_str)) {
        keys.add(EpochKind::Agent, Some(id));
        let Some(agent) = snapshot.agents.get(id) else { continue };
        keys.owner(&agent.owner, snapshot);
        keys.add(EpochKind::ThirdParty, agent.third_party.as_deref());
    }
    if let Some(actor) = &caller.actor {
        keys.owner(&actor.owner, snapshot);
        if !snapshot.agents.contains_key(&actor.id) {
            // A client that nobody registered is its person's.
            keys.add(EpochKind::Owner, Some(&subject.id));
        }
    }
    for act in &token.act {
        keys.add(EpochKind::ThirdParty, act.third_party.as_deref());
    }
    keys.0
}

struct Keys(Vec<Key>);

impl Keys {
    fn add(&mut self, kind: EpochKind, value: Option<&str>) {
        let Some(value) = value else { return };
        if !self.0.iter().any(|key| key.kind == kind && key.value == value) {
            self.0.push(Key { kind, value: value.to_owned() });
        }
    }

    /// An owner under both names: the key in `people` and the principal id, as far as the snapshot has them.
    fn owner(&mut self, owner: &str, snapshot: &Snapshot) {
        self.add(EpochKind::Owner, Some(owner));
        self.add(EpochKind::Owner, Some(snapshot.owner_key(owner)));
        self.add(
            EpochKind::Owner,
            snapshot.people.iter().find(|person| person.key == owner).and_then(|p| p.id.as_deref()),
        );
    }
}
