//! What a caller could be allowed, supposing unknown arguments and the scope that it can obtain: lists, and the
//! messages that pass because there is something to be allowed.

use std::sync::Arc;

use super::leaf::Truth;
use super::rule::{Effect, Rule};
use super::slice::{Part, could_unlisted};
use super::view::{ClassFact, Classes, NO_TOOLS, Target, ToolFact, View};
use super::walk::rule_truth;
use super::{Finding, Shadow};
use crate::deny::Reason;
use crate::facts::{Class, Facts};
use crate::snapshot::Snapshot;

/// One caller at one server, resolved once for a whole list.
#[derive(Debug)]
pub struct Lister<'a> {
    snapshot: &'a Snapshot,
    facts: &'a Facts,
    /// `None`: nothing at all.
    base: Option<View<'a>>,
}

impl Lister<'_> {
    /// Whether some call of this tool could be allowed.
    #[must_use]
    pub fn could(&self, tool: &str) -> bool {
        let Some(base) = &self.base else { return false };
        let class = self.snapshot.servers.get(base.target.server).map(|server| server.class_of(tool));
        self.snapshot.could_call(&supposing(base, ToolFact::Named(tool), class, self.snapshot.obtainable(self.facts)))
    }
}

/// `base` as the call of a tool whose arguments nobody knows yet.
fn supposing<'a>(base: &View<'a>, tool: ToolFact<'a>, class: Option<Class>, obtainable: Classes) -> View<'a> {
    View {
        target: Target { server: base.target.server, method: "tools/call", tool },
        class: class.map_or(ClassFact::Unknown, ClassFact::Is),
        supposing: true,
        obtainable,
        ..base.clone()
    }
}

impl Snapshot {
    /// Whether some call of `tool` on `server` could be allowed to the caller that `facts` speak of; what message they
    /// are of does not matter.
    #[must_use]
    pub fn could(&self, server: &str, tool: &str, facts: &Facts) -> bool {
        if facts.server == server {
            return self.lister(facts).could(tool);
        }
        let facts = Facts { server: server.to_owned(), ..facts.clone() };
        self.lister(&facts).could(tool)
    }

    /// The same for many tools of the server that `facts` name.
    #[must_use]
    pub fn lister<'a>(&'a self, facts: &'a Facts) -> Lister<'a> {
        let known = (self.partial && self.servers.is_empty()) || self.servers.contains_key(&facts.server);
        let open = !self.lockdown && known && self.check_agents(facts).is_ok();
        Lister { snapshot: self, facts, base: open.then(|| self.view(facts)) }
    }

    /// Whether rules and ceilings leave room for a call.
    fn could_call(&self, view: &View<'_>) -> bool {
        self.could_by_rules(view) && self.within_ceilings(view)
    }

    fn could_by_rules(&self, view: &View<'_>) -> bool {
        let rules = &self.policy.rules;
        match view.target.tool {
            ToolFact::None => false,
            ToolFact::Named(tool) => {
                self.policy.slices.slice(rules, &self.servers, view.target.server, tool).could(view)
            }
            ToolFact::Unlisted(_) => {
                could_unlisted(rules, &self.policy.slices.part(rules, &self.servers, view.target.server), view)
            }
        }
    }

    /// A message that is no tool call.
    pub(super) fn pass(&self, part: &Arc<Part>, view: &View<'_>) -> Finding {
        let (reason, rules) = self.passes(part, view, false);
        let shadowed = part.rules.iter().filter_map(|index| self.policy.rules.get(*index)).any(|rule| rule.shadow);
        let shadow = shadowed.then(|| self.passes(part, view, true)).filter(|with| *with != (reason, rules.clone()));
        Finding {
            rules: self.policy.named(&rules),
            shadow: shadow.map(|(reason, rules)| Shadow { allow: reason.is_none(), rules: self.policy.named(&rules) }),
            remedy: None,
            reason,
        }
    }

    /// The reason, if it is refused, and the rules that name its method and decided.
    fn passes(&self, part: &Part, view: &View<'_>, with_shadow: bool) -> (Option<Reason>, Vec<usize>) {
        let named = |effect| -> Vec<usize> {
            let matching = |rule: &Rule| {
                rule.effect == effect
                    && (with_shadow || !rule.shadow)
                    && rule.names_method
                    && rule_truth(rule, view) == Truth::Yes
            };
            part.rules.iter().copied().filter(|index| self.policy.rules.get(*index).is_some_and(matching)).collect()
        };
        let denies = named(Effect::Deny);
        if !denies.is_empty() {
            return (Some(Reason::DeniedByRule), denies);
        }
        let allows = named(Effect::Allow);
        if !allows.is_empty() {
            let inside = self.within_ceilings(view);
            return ((!inside).then_some(Reason::Ceiling), allows);
        }
        let server = self.servers.get(view.target.server);
        let listed = server.map_or(&NO_TOOLS, |server| &server.tools);
        let obtainable = self.obtainable(view.facts);
        let tools = listed.iter().map(|(tool, class)| supposing(view, ToolFact::Named(tool), Some(*class), obtainable));
        let mut tools = tools.chain([supposing(view, ToolFact::Unlisted(listed), None, obtainable)]);
        let mut ruled = false;
        let could = tools.any(|view| {
            let by_rules = self.could_by_rules(&view);
            ruled |= by_rules;
            by_rules && self.within_ceilings(&view)
        });
        let reason = match (could, ruled) {
            (true, _) => None,
            (false, true) => Some(Reason::Ceiling),
            (false, false) => Some(Reason::NoRule),
        };
        (reason, allows)
    }
}
