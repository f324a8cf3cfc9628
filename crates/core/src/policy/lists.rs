//! What a caller could be allowed, supposing unknown arguments and the scope that it can obtain: lists, and the
//! messages that pass because there is something to be allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::leaf::Truth;
use super::rule::{Effect, Rule};
use super::slice::{Part, could_unlisted};
use super::view::{ClassFact, Classes, NO_TOOLS, NameFact, Target, ToolFact, View};
use super::walk::rule_truth;
use super::{Finding, Shadow};
use crate::deny::Reason;
use crate::facts::method::{METHODS, Method, SERVER_REQUESTS};
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

/// The methods by which a resource of a list is used.
const READING: [&str; 2] = ["resources/read", "resources/subscribe"];

impl Lister<'_> {
    /// Whether some call of this tool could be allowed.
    #[must_use]
    pub fn could(&self, tool: &str) -> bool {
        let Some(base) = &self.base else { return false };
        let class = self.snapshot.servers.get(base.target.server).map(|server| server.class_of(tool));
        let target = Target { tool: ToolFact::Named(tool), ..Target::bare(base.target.server, "tools/call") };
        self.snapshot.room_for(&supposing(base, target, class, self.snapshot.obtainable(self.facts)))
    }

    /// Whether getting this prompt could be allowed.
    #[must_use]
    pub fn could_prompt(&self, name: &str) -> bool {
        self.could_read(&["prompts/get"], |target| target.prompt = NameFact::Named(name))
    }

    /// Whether reading this resource or subscribing to it could be allowed.
    #[must_use]
    pub fn could_resource(&self, uri: &str) -> bool {
        self.could_read(&READING, |target| target.resource = NameFact::Named(uri))
    }

    /// The same for some expansion of a URI template (RFC 6570).
    #[must_use]
    pub fn could_template(&self, template: &str) -> bool {
        self.could_read(&READING, |target| target.resource = expansions(template))
    }

    /// Whether the server's asking this of its client could be allowed in some call or session.
    #[must_use]
    pub fn could_ask(&self, server_request: &str) -> bool {
        let Some(base) = self.base.as_ref().filter(|_| SERVER_REQUESTS.contains(&server_request)) else {
            return false;
        };
        let listed = self.snapshot.listed(base.target.server);
        METHODS.iter().any(|method| {
            let mut targets = targets(method, base.target.server, listed);
            targets.any(|(target, class)| {
                let target = Target { request: NameFact::Named(server_request), ..target };
                self.snapshot.room_for(&supposing(base, target, class, self.snapshot.obtainable(self.facts)))
            })
        })
    }

    /// Whether something that reads could be allowed by one of these methods.
    fn could_read<'b>(&'b self, methods: &[&'static str], name: impl Fn(&mut Target<'b>)) -> bool {
        let Some(base) = &self.base else { return false };
        methods.iter().any(|method| {
            let mut target = Target::bare(base.target.server, method);
            name(&mut target);
            self.snapshot.room_for(&supposing(base, target, Some(Class::Read), self.snapshot.obtainable(self.facts)))
        })
    }
}

/// All that a message of this method can be about on a server, unknown names included, with the classes that are known.
fn targets<'a>(
    method: &'static Method,
    server: &'a str,
    listed: &'a BTreeMap<String, Class>,
) -> impl Iterator<Item = (Target<'a>, Option<Class>)> {
    let bare = Target::bare(server, method.name);
    let tools = listed.iter().map(|(tool, class)| (ToolFact::Named(tool), Some(*class)));
    let tools = tools.chain([(ToolFact::Unlisted(listed), None)]).filter(|_| method.tool);
    let any = NameFact::Begins("");
    let prompt = method.prompt.then_some(Target { prompt: any, ..bare });
    let resource = method.resource.then_some(Target { resource: any, ..bare });
    let others = [prompt, resource, method.bare.then_some(bare)].into_iter().flatten();
    tools.map(move |(tool, class)| (Target { tool, ..bare }, class)).chain(others.map(|it| (it, Some(Class::Read))))
}

/// What is known of the URIs that a template stands for: how they all begin. A character that would be escaped ends
/// what is known (RFC 6570 section 3.1).
fn expansions(template: &str) -> NameFact<'_> {
    let escaped = |at: usize| {
        let digits = template.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let kept = |at: usize, c: char| {
        c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=".contains(c) || (c == '%' && escaped(at))
    };
    match template.char_indices().find(|(at, c)| !kept(*at, *c)) {
        None => NameFact::Named(template),
        Some((end, _)) => NameFact::Begins(template.get(..end).unwrap_or_default()),
    }
}

/// `base` as a message about a target whose arguments nobody knows yet.
fn supposing<'a>(base: &View<'a>, target: Target<'a>, class: Option<Class>, obtainable: Classes) -> View<'a> {
    let class = class.map_or(ClassFact::Unknown, ClassFact::Is);
    View { target, class, supposing: true, obtainable, ..base.clone() }
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

    /// Whether rules and ceilings leave room for it.
    fn room_for(&self, view: &View<'_>) -> bool {
        self.could_by_rules(view) && self.within_ceilings(view)
    }

    fn could_by_rules(&self, view: &View<'_>) -> bool {
        let rules = &self.policy.rules;
        match self.policy.slices.of(rules, &self.servers, &view.target) {
            Some(slice) => slice.could(view),
            None => could_unlisted(rules, &self.policy.slices.part(rules, &self.servers, view.target.server), view),
        }
    }

    /// The tools that the server declares.
    fn listed(&self, server: &str) -> &BTreeMap<String, Class> {
        self.servers.get(server).map_or(&NO_TOOLS, |server| &server.tools)
    }

    /// A message that names nothing.
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
        let server = view.target.server;
        let obtainable = self.obtainable(view.facts);
        let named = METHODS.iter().flat_map(|method| targets(method, server, self.listed(server)));
        let mut named = named.filter(|(target, _)| target.is_object());
        let mut ruled = false;
        let could = named.any(|(target, class)| {
            let view = supposing(view, target, class, obtainable);
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
