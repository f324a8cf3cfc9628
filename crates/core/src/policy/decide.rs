//! The decision itself, in the order in which a refusal is found.

use std::sync::Arc;

use super::cedar::Matched;
use super::ceiling::within_token;
use super::leaf::Truth;
use super::memory::Memory;
use super::projection::{Reads, project, redacted};
use super::rule::Effect;
use super::slice::Slice;
use super::view::{ClassFact, Classes, NameFact, Target, ToolFact, View};
use super::{Decision, Finding, Permit, Shadow, Verdict};
use crate::deny::Reason;
use crate::facts::method::{Method, SERVER_REQUESTS};
use crate::facts::{Class, Facts, PrincipalType};
use crate::mcp::uri;
use crate::snapshot::{Redact, Snapshot};

impl Snapshot {
    /// Decides one message.
    ///
    /// The order of refusals: lockdown, an unknown server, a method that is not known or does not fit what is named,
    /// an agent that is not registered, is suspended or has expired, the rules, the agents' ceilings, the token's scopes. A message
    /// that names no tool, prompt or resource passes if one of its server could be allowed to the caller and no deny
    /// names its method.
    #[must_use]
    pub fn decide(&self, facts: &Facts, memory: Memory) -> Decision {
        let view = self.view(facts);
        let timed = self.agents_of(facts).any(|agent| agent.expires.is_some());
        if let Err(reason) = self.gate(&view) {
            return self.refuse(reason, &view, timed);
        }
        if !view.target.is_object() {
            let part = self.policy.slices.part(&self.policy.rules, &self.servers, &facts.server);
            return self.answer(&view, &part.reads, timed, memory, || self.pass(&part, &view));
        }
        match self.policy.slices.of(&self.policy.rules, &self.servers, &view.target) {
            Some(slice) => self.answer(&view, &slice.reads, timed, memory, || self.call(&slice, &view, memory)),
            None => self.refuse(Reason::Internal, &view, timed),
        }
    }

    fn refuse(&self, reason: Reason, view: &View<'_>, timed: bool) -> Decision {
        let find = || Finding { reason: Some(reason), ..Finding::default() };
        self.answer(view, &Reads::default(), timed, Memory::Off, find)
    }

    /// The facts, resolved against the registry and the catalogue.
    pub(super) fn view<'a>(&'a self, facts: &'a Facts) -> View<'a> {
        let subject = (facts.principal.kind == PrincipalType::Agent).then_some(&*facts.principal);
        let (actor, owner) = match (&facts.agent, subject) {
            (Some(agent), _) => (Some(agent.id.as_str()), agent.owner.as_deref()),
            (None, Some(agent)) => (Some(agent.id.as_str()), agent.owner.as_deref()),
            (None, None) => (None, None),
        };
        let registered = || Some(self.agents.get(actor?)?.owner.as_str());
        let consenting = || self.by_consent(facts).then(|| self.owner_key(&facts.principal.id));
        // What does not belong to the method is refused by the gate, and is nothing that a rule could read.
        let method = Method::find(&facts.mcp_method).map(|(_, method)| method);
        let tool = facts.tool.as_deref().filter(|_| method.is_some_and(|method| method.tool));
        let named = |name: &'a Option<String>, can: bool| {
            name.as_deref().filter(|_| can).map_or(NameFact::None, NameFact::Named)
        };
        let target = Target {
            server: &facts.server,
            method: &facts.mcp_method,
            tool: tool.map_or(ToolFact::None, ToolFact::Named),
            prompt: named(&facts.prompt, method.is_some_and(|method| method.prompt)),
            resource: named(&facts.resource_uri, method.is_some_and(|method| method.resource)),
            request: named(&facts.server_request, true),
        };
        let class = match (tool, facts.class, self.servers.get(&facts.server)) {
            (None, _, _) if target.is_object() => ClassFact::Is(Class::Read),
            (None, _, _) | (Some(_), None, None) => ClassFact::Missing,
            (Some(_), Some(class), _) => ClassFact::Is(class),
            (Some(tool), None, Some(server)) => ClassFact::Is(server.class_of(tool)),
        };
        View {
            facts,
            target,
            actor,
            owner: owner.map(|owner| self.owner_key(owner)).or_else(registered).or_else(consenting),
            class,
            supposing: false,
            extra: Classes::default(),
            obtainable: Classes::default(),
        }
    }

    /// What refuses before any rule is asked.
    pub(super) fn gate(&self, view: &View<'_>) -> Result<(), Reason> {
        if self.lockdown {
            return Err(Reason::Lockdown);
        }
        let known = (self.partial && self.servers.is_empty()) || self.servers.contains_key(view.target.server);
        if !known {
            return Err(Reason::UnknownServer);
        }
        let (_, method) = Method::find(view.target.method).ok_or(Reason::UnknownMethod)?;
        if view.facts.server_request.as_deref().is_some_and(|asked| !SERVER_REQUESTS.contains(&asked)) {
            return Err(Reason::UnknownMethod);
        }
        method.fits(view.facts).map_err(|_| Reason::Malformed)?;
        // Rules compare it as text, so it has to be the one spelling of what it names.
        let sound = |uri: &str| uri::is_normal(uri) || (method.prompt && uri::is_template(uri));
        if !view.facts.resource_uri.as_deref().is_none_or(sound) {
            return Err(Reason::Malformed);
        }
        self.check_agents(view.facts)
    }

    fn answer(
        &self,
        view: &View<'_>,
        reads: &Reads,
        timed: bool,
        memory: Memory,
        find: impl FnOnce() -> Finding,
    ) -> Decision {
        let facts_json: Arc<[u8]> = project(view, reads, timed).into();
        let remembered = if memory == Memory::On { self.policy.answers.get(&facts_json) } else { None };
        let finding = remembered.unwrap_or_else(|| {
            let finding = Arc::new(find());
            if memory == Memory::On {
                self.policy.answers.put(&facts_json, &finding);
            }
            finding
        });
        let recorded = match &self.audit.redact {
            Redact::Paths(paths) if paths.is_empty() => None,
            redact => redacted(view, reads, timed, redact),
        };
        let verdict = match finding.reason {
            Some(reason) => Verdict::Deny(reason),
            None => Verdict::Allow(Permit { finding: Arc::clone(&finding), snapshot: Arc::clone(&self.digest) }),
        };
        let recorded_json = recorded.map_or_else(|| Arc::clone(&facts_json), Into::into);
        Decision { verdict, finding, facts_json, recorded_json }
    }

    /// Something that is named: Cedar decides on its slice.
    fn call(&self, slice: &Slice, view: &View<'_>, memory: Memory) -> Finding {
        let Some(matched) = slice.lowered().and_then(|lowered| lowered.ask(view, &self.policy.subjects, memory)) else {
            return Finding { reason: Some(Reason::Internal), ..Finding::default() };
        };
        self.conclude(slice, view, &matched)
    }

    /// The same by the plain walk, for comparison.
    #[cfg(test)]
    pub(super) fn call_by_walk(&self, slice: &Slice, view: &View<'_>) -> Finding {
        self.conclude(slice, view, &walked(slice, view))
    }

    fn conclude(&self, slice: &Slice, view: &View<'_>, matched: &Matched) -> Finding {
        let (reason, rules) = self.verdict(view, &matched.denies, &matched.allows);
        let remedy = match reason {
            Some(Reason::Scope) => self.scope_remedy(slice, view),
            // More scope turns a rule only where a rule reads it.
            Some(Reason::NoRule | Reason::DeniedByRule) if !slice.reads.scopes.is_empty() => {
                self.scope_remedy(slice, view)
            }
            _ => None,
        };
        Finding { rules: self.policy.named(&rules), shadow: self.shadow(view, matched), remedy, reason }
    }

    /// The reason, if it is a refusal, and the rules that decided.
    fn verdict(&self, view: &View<'_>, denies: &[usize], allows: &[usize]) -> (Option<Reason>, Vec<usize>) {
        if !denies.is_empty() {
            return (Some(Reason::DeniedByRule), denies.to_vec());
        }
        let reason = if allows.is_empty() {
            Some(Reason::NoRule)
        } else if !self.within_ceilings(view) {
            Some(Reason::Ceiling)
        } else if !within_token(view) {
            Some(Reason::Scope)
        } else {
            None
        };
        (reason, allows.to_vec())
    }

    fn shadow(&self, view: &View<'_>, matched: &Matched) -> Option<Shadow> {
        if matched.shadow.is_empty() {
            return None;
        }
        let with = |enforced: &[usize], effect| {
            let is = |index: &&usize| self.policy.rules.get(**index).is_some_and(|rule| rule.effect == effect);
            let mut all: Vec<usize> = enforced.iter().chain(matched.shadow.iter().filter(is)).copied().collect();
            all.sort_unstable();
            all
        };
        let denies = with(&matched.denies, Effect::Deny);
        let allows = with(&matched.allows, Effect::Allow);
        let (reason, rules) = self.verdict(view, &denies, &allows);
        Some(Shadow { allow: reason.is_none(), rules: self.policy.named(&rules) })
    }

    /// Whether rules, ceilings and token together allow the call: what a remedy has to turn.
    pub(super) fn allows(&self, slice: &Slice, view: &View<'_>) -> bool {
        let matched = walked(slice, view);
        self.verdict(view, &matched.denies, &matched.allows).0.is_none()
    }
}

/// What Cedar would answer, found by the plain walk.
pub(super) fn walked(slice: &Slice, view: &View<'_>) -> Matched {
    let mut matched = Matched::default();
    for residue in &slice.residues {
        if residue.formula.truth(residue.effect, view) == Truth::Yes {
            match (residue.shadow, residue.effect) {
                (true, _) => matched.shadow.push(residue.rule),
                (false, Effect::Deny) => matched.denies.push(residue.rule),
                (false, Effect::Allow) => matched.allows.push(residue.rule),
            }
        }
    }
    if !matched.denies.is_empty() {
        matched.allows.clear();
    }
    matched
}
