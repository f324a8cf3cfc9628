//! Decides whether a principal may perform an action.
//!
//! The only module that can make a [`Permit`], and forwarding takes one, so no code path can reach an upstream
//! undecided. No rule matched means deny; deny beats allow; a deny that cannot be judged denies.
//!
//! Rules are read into one normal form (`rule`), cut into slices by server and tool (`slice`), lowered to Cedar
//! (`lower`, `cedar`) and asked (`decide`). The table of doubt has one place (`leaf`). Lists are answered by the three-valued
//! walk (`walk`, `lists`), since arguments are not known there.

mod cedar;
mod ceiling;
mod decide;
mod explain;
mod leaf;
mod lists;
mod lower;
mod memory;
mod projection;
mod read;
mod remedy;
mod rule;
mod slice;
mod test;
mod view;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use lists::Lister;
pub use memory::Memory;
pub(crate) use read::keys_of_path;
pub use rule::RuleRef;

use crate::deny::Reason;
use crate::fields::{Fault, Fields};
use crate::json::Value;
use crate::snapshot::Server;

/// What was decided of one message, and from what.
#[derive(Debug)]
pub struct Decision {
    pub verdict: Verdict,
    pub finding: Arc<Finding>,
    /// Canonical Facts JSON of exactly what the decision could read. It gives the same decision by itself.
    pub facts_json: Arc<[u8]>,
    /// The same as the record may keep it, with redacted arguments replaced by `{"redacted": true}`.
    pub recorded_json: Arc<[u8]>,
}

/// Yes, with the proof, or no, with the reason.
#[derive(Debug)]
pub enum Verdict {
    Allow(Permit),
    Deny(Reason),
}

/// Proof that one request was allowed, under one Snapshot. Neither `Clone` nor `Default`.
#[derive(Debug)]
pub struct Permit {
    // Private, so only this module can make one.
    finding: Arc<Finding>,
    snapshot: Arc<str>,
}

impl Permit {
    /// Why it was allowed.
    #[must_use]
    pub fn finding(&self) -> &Arc<Finding> {
        &self.finding
    }

    /// Digest of the Snapshot that allowed it.
    #[must_use]
    pub fn snapshot(&self) -> &str {
        &self.snapshot
    }
}

/// What a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// The deciding rules in file order: the denies that are met, else the allows that are.
    pub rules: Vec<Arc<RuleRef>>,
    /// What the verdict would be with shadow rules enforced; `None` if none of them is met.
    pub shadow: Option<Shadow>,
    /// What would turn a refusal.
    pub remedy: Option<Remedy>,
    /// `None` where it was allowed.
    pub reason: Option<Reason>,
}

/// The verdict with shadow rules enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    pub allow: bool,
    pub rules: Vec<Arc<RuleRef>>,
}

/// What would turn a refusal into an allow, and that the caller can obtain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// A token with these scopes besides those it has.
    Scope(Vec<String>),
}

/// All rules of a Snapshot.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Vec<rule::Rule>,
    slices: slice::Slices,
    answers: memory::Answers,
    subjects: cedar::Subjects,
}

impl Policy {
    /// Reads the `policy` member of a Snapshot.
    pub fn read(value: &Value, path: &str, servers: &BTreeMap<String, Server>) -> Result<Self, Fault> {
        let mut fields = Fields::of(value, path)?;
        let timezone = fields.text("timezone")?;
        let mut reader =
            read::Reader::new(timezone).ok_or_else(|| fields.fault("timezone", "is not a known time zone"))?;
        let rules = fields.list("rules")?.iter().enumerate();
        let rules =
            rules.map(|(at, rule)| reader.rule(rule, &format!("{path}.rules[{at}]"))).collect::<Result<Vec<_>, _>>()?;
        fields.finish()?;
        let slices = slice::Slices::new(&rules, servers);
        Ok(Self { rules, slices, answers: memory::Answers::new(), subjects: cedar::Subjects::new() })
    }

    /// The rules behind indexes.
    fn named(&self, indexes: &[usize]) -> Vec<Arc<RuleRef>> {
        indexes.iter().filter_map(|index| self.rules.get(*index)).map(|rule| Arc::clone(&rule.named)).collect()
    }
}
