//! The whole answer to one question, for people: which rules decided, and which came nearest.

use std::sync::Arc;

use super::leaf::Truth;
use super::memory::Memory;
use super::rule::{Branch, Effect, Join, Leaf, Rule, RuleRef};
use super::view::{ClassFact, NO_TOOLS, NameFact, Target, ToolFact, View};
use super::walk::{branch_truth, leaf_truth, tests_truth};
use super::{Decision, Finding, Shadow, Verdict};
use crate::deny::Reason;
use crate::facts::Facts;
use crate::json::{Object, Value};
use crate::snapshot::Snapshot;

/// How many rules are said to have come near.
const NEAREST: usize = 3;

impl Shadow {
    /// `{decision, rules}`, as answers and records hold it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Object::new();
        object.insert("decision", verdict(self.allow));
        object.insert("rules", rules(&self.rules));
        Value::Object(object)
    }
}

impl Snapshot {
    /// Decides without memory, and gives the whole answer: `decision`, `reason`, `rules`, `shadow`, `remedy`,
    /// `nearest`.
    #[must_use]
    pub fn explain(&self, facts: &Facts) -> Value {
        self.explain_decision(facts, &self.decide(facts, Memory::Off))
    }

    /// The whole answer for a decision on the same facts.
    ///
    /// `nearest` is worked out here only. For a refusal for want of a rule it names the allows with the fewest
    /// leaves that failed; for a deny by rule the denies, with the leaves that made them apply.
    #[must_use]
    pub fn explain_decision(&self, facts: &Facts, decision: &Decision) -> Value {
        let finding: &Finding = &decision.finding;
        let mut answer = Object::new();
        let allow = matches!(decision.verdict, Verdict::Allow(_));
        answer.insert("decision", verdict(allow));
        answer.insert("reason", finding.reason.map_or(Value::Null, |reason| Value::from(reason.as_str())));
        answer.insert("rules", rules(&finding.rules));
        let shadow = finding.shadow.as_ref().map_or(Value::Null, Shadow::to_json);
        answer.insert("shadow", shadow);
        answer.insert("remedy", finding.remedy.as_ref().map_or(Value::Null, super::Remedy::to_json));
        let nearest = match finding.reason {
            Some(Reason::NoRule) => self.nearest(facts),
            Some(Reason::DeniedByRule) => self.denying(facts, &finding.rules),
            _ => Vec::new(),
        };
        answer.insert("nearest", Value::Array(nearest));
        Value::Object(answer)
    }

    /// The view under which rules are compared: a message that names nothing is judged as one that names anything.
    fn near_view<'a>(&'a self, facts: &'a Facts) -> View<'a> {
        let view = self.view(facts);
        if view.target.is_object() {
            return view;
        }
        let target = Target {
            tool: ToolFact::Unlisted(&NO_TOOLS),
            prompt: NameFact::Unknown,
            resource: NameFact::Unknown,
            ..view.target
        };
        View { supposing: true, class: ClassFact::Unknown, target, ..view }
    }

    fn nearest(&self, facts: &Facts) -> Vec<Value> {
        let view = self.near_view(facts);
        // What is decided by what else could be allowed is near to any rule.
        let spoken = view.supposing;
        let allows = self.policy.rules.iter().filter(|rule| rule.effect == Effect::Allow && !rule.shadow);
        let mut near: Vec<(usize, &Rule, Vec<&str>)> = allows
            .filter_map(|rule| {
                let (distance, failed) = rule
                    .branches
                    .iter()
                    .map(|branch| distance(branch, &view, spoken))
                    .min_by_key(|(distance, _)| *distance)?;
                Some((distance, rule, failed))
            })
            .collect();
        // The sort is stable: of equals, the first in the file.
        near.sort_by_key(|(distance, _, _)| *distance);
        near.into_iter().take(NEAREST).map(|(_, rule, failed)| near_rule(&rule.named, &failed)).collect()
    }

    fn denying(&self, facts: &Facts, denies: &[Arc<RuleRef>]) -> Vec<Value> {
        let view = self.view(facts);
        let leaves = |named: &Arc<RuleRef>| {
            let rule = self.policy.rules.iter().find(|rule| Arc::ptr_eq(&rule.named, named));
            let branches = rule.into_iter().flat_map(|rule| &rule.branches);
            let met = branches.filter(|branch| branch_truth(branch, Effect::Deny, &view) == Truth::Yes);
            let leaves = met.flat_map(|branch| &branch.leaves);
            let met = leaves.filter(|leaf| leaf_truth(leaf, Effect::Deny, &view) == Truth::Yes);
            met.map(|leaf| leaf.text.as_ref()).collect::<Vec<_>>()
        };
        denies.iter().map(|named| near_rule(named, &leaves(named))).collect()
    }
}

/// How many leaves would have to change for a branch to be met, and the leaves that are not met; `spoken` if it does not
/// matter what the rule speaks of.
fn distance<'a>(branch: &'a Branch, view: &View<'_>, spoken: bool) -> (usize, Vec<&'a str>) {
    let failed = |leaf: &&Leaf| tests_truth(leaf, Effect::Allow, view) == Truth::No;
    let mut failed: Vec<&str> = branch.leaves.iter().filter(failed).map(|leaf| leaf.text.as_ref()).collect();
    let silent = |leaf: &&Leaf| !spoken && !leaf.speaks.covers(&view.target);
    failed.extend(branch.leaves.iter().find(silent).map(|leaf| leaf.speaks.words()));
    match branch.join {
        Join::All => (failed.len(), failed),
        Join::Any => (1, failed),
    }
}

fn verdict(allow: bool) -> Value {
    Value::from(if allow { "allow" } else { "deny" })
}

fn rules(rules: &[Arc<RuleRef>]) -> Value {
    Value::Array(rules.iter().map(|rule| Value::Object(rule_json(rule))).collect())
}

fn rule_json(rule: &RuleRef) -> Object {
    let mut object = Object::new();
    object.insert("name", Value::from(rule.name.as_str()));
    object.insert("file", Value::from(rule.file.as_str()));
    object.insert("line", Value::from(i64::try_from(rule.line).unwrap_or(i64::MAX)));
    object
}

fn near_rule(rule: &RuleRef, failed: &[&str]) -> Value {
    let mut object = rule_json(rule);
    object.insert("failed", Value::Array(failed.iter().map(|text| Value::from(*text)).collect()));
    Value::Object(object)
}
