//! What stands above the rules: the agents' own ceilings, and the token's.
//!
//! Delegation only narrows, so where one agent acts on the authority of another, both ceilings hold.

use super::leaf::scope_words;
use super::view::{ClassFact, Classes, ToolFact, View};
use crate::deny::Reason;
use crate::facts::{Class, Facts, PrincipalType};
use crate::principal::CLIENT;
use crate::snapshot::{Agent, Snapshot};

/// Ids of the agents that a call involves: the subject and the one that acts for it.
fn involved(facts: &Facts) -> impl Iterator<Item = &str> {
    let subject = (facts.principal.kind == PrincipalType::Agent).then_some(facts.principal.id.as_str());
    let actor = facts.agent.as_ref().map(|agent| agent.id.as_str()).filter(|actor| Some(*actor) != subject);
    subject.into_iter().chain(actor)
}

impl Snapshot {
    /// A partial Snapshot without agents says nothing about any.
    fn knows_agents(&self) -> bool {
        !self.partial || !self.agents.is_empty()
    }

    /// The involved agents that are registered.
    pub(super) fn agents_of<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = &'a Agent> {
        involved(facts).filter_map(|id| self.agents.get(id))
    }

    /// Whether a client that nobody registered acts for the person who consented to it. What she consented to is its
    /// ceiling, and stands in the token.
    pub(super) fn by_consent(&self, facts: &Facts) -> bool {
        let client = |id: &str| id.strip_prefix(CLIENT).is_some_and(|client| !client.is_empty());
        let unregistered = |id: &str| client(id) && !self.agents.contains_key(id);
        facts.principal.kind == PrincipalType::Human
            && facts.agent.as_ref().is_some_and(|agent| unregistered(&agent.id))
    }

    /// Whether every involved agent is registered, or consented to, and is neither suspended nor expired.
    pub(super) fn check_agents(&self, facts: &Facts) -> Result<(), Reason> {
        if !self.knows_agents() {
            return Ok(());
        }
        for id in involved(facts) {
            let Some(agent) = self.agents.get(id) else {
                // For a human, nobody but the one that acts is involved.
                return if self.by_consent(facts) { Ok(()) } else { Err(Reason::AgentUnknown) };
            };
            if let Some(reason) = agent.suspended {
                return Err(reason);
            }
            // Without a clock an end cannot be ruled out.
            if agent.expires.is_some_and(|end| facts.time.is_none_or(|now| now >= end)) {
                return Err(Reason::AgentSuspended);
            }
        }
        Ok(())
    }

    /// Whether what is asked for is inside the ceilings of the agents involved.
    pub(super) fn within_ceilings(&self, view: &View<'_>) -> bool {
        !self.knows_agents()
            || (self.agents_of(view.facts).all(|agent| within(agent, view))
                && (!self.by_consent(view.facts) || has_class_scope(view)))
    }

    /// The classes that a better token could bring: those inside the ceilings. Of a client that nobody registered that
    /// is any, since its person may consent to more.
    pub(super) fn obtainable(&self, facts: &Facts) -> Classes {
        let inside = |class: &Class| {
            !self.knows_agents() || self.agents_of(facts).all(|agent| agent.ceiling.classes.contains(class))
        };
        Classes::of(Class::ALL.into_iter().filter(inside))
    }
}

fn within(agent: &Agent, view: &View<'_>) -> bool {
    let ceiling = &agent.ceiling;
    let target = view.target;
    if !ceiling.servers.iter().any(|server| server == target.server) {
        return false;
    }
    // The bare names that the ceiling gives for this server.
    let named = || {
        let tools = ceiling.tools.iter().flatten();
        tools.filter_map(|tool| tool.strip_prefix(target.server)?.strip_prefix('/'))
    };
    let tool = match target.tool {
        ToolFact::None if !target.is_object() => return true,
        // A ceiling that lists tools is one for tools only: no prompt, no resource, and nothing asked outside a call.
        ToolFact::None => ceiling.tools.is_none(),
        ToolFact::Named(tool) => ceiling.tools.is_none() || named().any(|name| name == tool),
        ToolFact::Unlisted(listed) => ceiling.tools.is_none() || named().any(|name| !listed.contains_key(name)),
    };
    let class = match view.class {
        ClassFact::Is(class) => ceiling.classes.contains(&class),
        ClassFact::Unknown => !ceiling.classes.is_empty(),
        ClassFact::Missing => false,
    };
    tool && class
}

/// The token's scopes; `None` if they cannot be read.
fn token_words<'a>(view: &View<'a>) -> Option<Vec<&'a str>> {
    let scope = view.facts.token.as_ref().and_then(|token| token.scope.as_ref());
    scope.map_or_else(|| Some(Vec::new()), scope_words)
}

/// Whether the token has, or is supposed to have, a scope that speaks of classes.
fn has_class_scope(view: &View<'_>) -> bool {
    view.extra != Classes::default()
        || token_words(view).is_some_and(|words| words.iter().any(|word| word.starts_with("mcp:")))
}

/// Whether the token's own scopes allow the class. A token without any `mcp:` scope has no class ceiling.
pub(super) fn within_token(view: &View<'_>) -> bool {
    let Some(words) = token_words(view) else { return false };
    if !has_class_scope(view) {
        return true;
    }
    match view.class {
        ClassFact::Is(class) => words.contains(&class.scope()) || view.extra.has(class),
        ClassFact::Missing | ClassFact::Unknown => false,
    }
}
