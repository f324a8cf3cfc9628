//! Slices: the few rules that can speak of what is asked of one server, with everything that is then known folded away.
//!
//! What is asked is a tool; or another method, whatever prompt or resource it names; or something that the server asks
//! during a message of some method. Thousands of rules are cut first by server and then by that, each when it is first
//! asked for, so that loading and deciding both stay proportional to what is used. Names that nobody declared come
//! from callers; their slices are kept in a bounded cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use quick_cache::sync::Cache;

use super::cedar::Lowered;
use super::leaf::Truth;
use super::projection::Reads;
use super::rule::{Criterion, Effect, Literal, Rule};
use super::view::{ClassFact, Classes, NO_TOOLS, NameFact, Target, ToolFact, View};
use super::walk::{Formula, rule_truth};
use crate::facts::method::{METHODS, Method};
use crate::facts::{Facts, Principal, PrincipalType};
use crate::snapshot::Server;

/// How many slices of undeclared tools are kept.
const UNDECLARED: usize = 2_048;

/// Up to so many (rule, tool) pairs are cut while loading.
const EAGER: usize = 20_000;

/// What remains of one rule in a slice.
#[derive(Debug)]
pub(crate) struct Residue {
    /// Index among all rules.
    pub rule: usize,
    pub effect: Effect,
    pub shadow: bool,
    pub formula: Formula,
}

/// What is asked of a server; a method by its place in [`METHODS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asked<Name> {
    Tool(Name),
    Method(usize),
    /// Of the client, during a message of this method.
    Request(usize),
}

/// The rules that concern one thing asked of one server.
#[derive(Debug)]
pub(crate) struct Slice {
    pub residues: Vec<Residue>,
    pub reads: Reads,
    pub server: String,
    /// What Cedar is told is done.
    pub action: String,
    lowered: OnceLock<Option<Lowered>>,
}

/// The rules that can concern one server.
#[derive(Debug)]
pub(crate) struct Part {
    /// Indexes among all rules, in file order.
    pub rules: Vec<usize>,
    /// What a decision on a message that is no tool call can read.
    pub reads: Reads,
    tools: HashMap<String, OnceLock<Arc<Slice>>>,
    /// By the place of the method.
    methods: Vec<OnceLock<Arc<Slice>>>,
    requests: Vec<OnceLock<Arc<Slice>>>,
}

/// All slices.
#[derive(Debug)]
pub(crate) struct Slices {
    parts: HashMap<String, OnceLock<Arc<Part>>>,
    undeclared: Cache<(String, Asked<String>), Arc<Slice>>,
}

impl Slices {
    /// Prepares the declared servers' slices, and cuts them where that is little work.
    pub fn new(rules: &[Rule], servers: &BTreeMap<String, Server>) -> Self {
        let slices = Self {
            parts: servers.keys().map(|name| (name.clone(), OnceLock::new())).collect(),
            undeclared: Cache::new(UNDECLARED),
        };
        let tools: usize = servers.values().map(|server| server.tools.len()).sum();
        if tools.saturating_mul(rules.len()) <= EAGER {
            for server in servers.values() {
                for tool in server.tools.keys() {
                    slices.slice(rules, servers, &server.name, tool).lowered();
                }
            }
        }
        slices
    }

    /// The rules of one server.
    pub fn part(&self, rules: &[Rule], servers: &BTreeMap<String, Server>, server: &str) -> Arc<Part> {
        let make = || Arc::new(Part::new(rules, servers.get(server), server));
        self.parts.get(server).map_or_else(make, |part| Arc::clone(part.get_or_init(make)))
    }

    /// The rules of one tool of one server.
    pub fn slice(&self, rules: &[Rule], servers: &BTreeMap<String, Server>, server: &str, tool: &str) -> Arc<Slice> {
        self.find(rules, servers, server, Asked::Tool(tool))
    }

    /// The rules of what `target` names; `None` if it names nothing that rules decide by themselves.
    pub fn of(&self, rules: &[Rule], servers: &BTreeMap<String, Server>, target: &Target<'_>) -> Option<Arc<Slice>> {
        let asked = match target.tool {
            _ if target.is_request() => Asked::Request(Method::find(target.method)?.0),
            ToolFact::Named(tool) => Asked::Tool(tool),
            ToolFact::None if target.is_object() => Asked::Method(Method::find(target.method)?.0),
            ToolFact::None | ToolFact::Unlisted(_) => return None,
        };
        Some(self.find(rules, servers, target.server, asked))
    }

    fn find(&self, rules: &[Rule], servers: &BTreeMap<String, Server>, server: &str, asked: Asked<&str>) -> Arc<Slice> {
        if let Some(part) = self.parts.get(server) {
            let part = part.get_or_init(|| Arc::new(Part::new(rules, servers.get(server), server)));
            let slice = match asked {
                Asked::Tool(tool) => part.tools.get(tool),
                Asked::Method(at) => part.methods.get(at),
                Asked::Request(at) => part.requests.get(at),
            };
            if let Some(slice) = slice {
                return Arc::clone(slice.get_or_init(|| Arc::new(Slice::new(rules, &part.rules, server, asked))));
            }
        }
        let name = match asked {
            Asked::Tool(tool) => Asked::Tool(tool.to_owned()),
            Asked::Method(at) => Asked::Method(at),
            Asked::Request(at) => Asked::Request(at),
        };
        let key = (server.to_owned(), name);
        if let Some(slice) = self.undeclared.get(&key) {
            return slice;
        }
        let part = self.part(rules, servers, server);
        let slice = Arc::new(Slice::new(rules, &part.rules, server, asked));
        self.undeclared.insert(key, Arc::clone(&slice));
        slice
    }
}

impl Asked<&str> {
    /// All that is known of the target, and a name for it.
    fn target<'a>(self, server: &'a str) -> (Target<'a>, String)
    where
        Self: 'a,
    {
        const TABLE: &[Method] = &METHODS;
        let of = |at: usize, request| {
            let method = TABLE.get(at);
            let named = |can: bool| if can { NameFact::Unknown } else { NameFact::None };
            let tool = method.is_some_and(|method| method.tool);
            Target {
                tool: if tool { ToolFact::Unlisted(&NO_TOOLS) } else { ToolFact::None },
                prompt: named(method.is_some_and(|method| method.prompt)),
                resource: named(method.is_some_and(|method| method.resource)),
                request,
                ..Target::bare(server, method.map_or("", |method| method.name))
            }
        };
        match self {
            Self::Tool(tool) => {
                let target = Target { tool: ToolFact::Named(tool), ..Target::bare(server, "tools/call") };
                (target, format!("{server}/{tool}"))
            }
            Self::Method(at) => {
                let target = of(at, NameFact::None);
                (target, target.method.to_owned())
            }
            Self::Request(at) => {
                let target = of(at, NameFact::Unknown);
                (target, format!("{} asks", target.method))
            }
        }
    }
}

/// The view of a target about which nothing else is known.
fn bare_view<'a>(facts: &'a Facts, target: Target<'a>) -> View<'a> {
    View {
        facts,
        target,
        actor: None,
        owner: None,
        class: ClassFact::Unknown,
        supposing: true,
        extra: Classes::default(),
        obtainable: Classes::default(),
    }
}

impl Part {
    fn new(rules: &[Rule], server: Option<&Server>, name: &str) -> Self {
        let listed = server.map_or(&NO_TOOLS, |server| &server.tools);
        let facts = Facts::new(Principal::new(PrincipalType::Human, ""), name, "tools/call");
        // Only the server is known here: a method or a tool of it that a rule names may still be the one. A message
        // that is no call has no tool, which meets a negated leaf of a deny.
        let target = Target { tool: ToolFact::Unlisted(&NO_TOOLS), ..Target::bare(name, "tools/call") };
        let view = bare_view(&facts, target);
        let possible = |literal: &Literal, effect| match literal.criterion {
            Criterion::Tool if effect == Effect::Deny && literal.negative => Truth::Maybe,
            Criterion::Server | Criterion::Tool => super::leaf::judge(literal, effect, &view),
            _ => Truth::Maybe,
        };
        let concerns =
            |rule: &Rule| {
                rule.branches.iter().any(|branch| {
                    branch.join.truth(branch.leaves.iter().map(|leaf| {
                        leaf.join.truth(leaf.literals.iter().map(|literal| possible(literal, rule.effect)))
                    })) != Truth::No
                })
            };
        let kept: Vec<usize> =
            rules.iter().enumerate().filter(|(_, rule)| concerns(rule)).map(|(index, _)| index).collect();
        let literals = kept.iter().filter_map(|index| rules.get(*index)).flat_map(|rule| &rule.branches);
        let literals = literals.flat_map(|branch| &branch.leaves).flat_map(|leaf| &leaf.literals);
        let reads = Reads::of(literals.map(AsRef::as_ref), false);
        let tools = listed.keys().map(|tool| (tool.clone(), OnceLock::new())).collect();
        let unset = || METHODS.iter().map(|_| OnceLock::new()).collect();
        Self { rules: kept, reads, tools, methods: unset(), requests: unset() }
    }
}

impl Slice {
    fn new(rules: &[Rule], candidates: &[usize], server: &str, asked: Asked<&str>) -> Self {
        let facts = Facts::new(Principal::new(PrincipalType::Human, ""), server, "");
        let (target, action) = asked.target(server);
        let view = bare_view(&facts, target);
        let residue = |index: &usize| {
            let rule = rules.get(*index)?;
            match Formula::residual(rule, &view) {
                Formula::Known(false) => None,
                formula => Some(Residue { rule: *index, effect: rule.effect, shadow: rule.shadow, formula }),
            }
        };
        let residues: Vec<Residue> = candidates.iter().filter_map(residue).collect();
        let mut literals = Vec::new();
        for residue in &residues {
            residue.formula.each_literal(&mut |found| literals.push(Arc::clone(found)));
        }
        let reads = Reads::of(literals.iter().map(AsRef::as_ref), target.has_arguments());
        Self { residues, reads, server: server.to_owned(), action, lowered: OnceLock::new() }
    }

    /// Its rules as Cedar policies; `None` if Cedar does not take them, which refuses whatever is asked.
    pub fn lowered(&self) -> Option<&Lowered> {
        self.lowered.get_or_init(|| Lowered::new(self)).as_ref()
    }

    /// Whether something like `view` could be allowed by the rules: an enforced allow may be met, and no enforced
    /// deny surely is.
    pub fn could(&self, view: &View<'_>) -> bool {
        let met = |residue: &Residue| residue.formula.truth(residue.effect, view);
        let enforced = |effect| self.residues.iter().filter(move |residue| !residue.shadow && residue.effect == effect);
        enforced(Effect::Allow).any(|residue| met(residue) != Truth::No)
            && !enforced(Effect::Deny).any(|residue| met(residue) == Truth::Yes)
    }
}

/// The same for a tool that is not declared and not named.
pub(crate) fn could_unlisted(rules: &[Rule], part: &Part, view: &View<'_>) -> bool {
    let enforced = |effect| {
        part.rules
            .iter()
            .filter_map(|index| rules.get(*index))
            .filter(move |rule| !rule.shadow && rule.effect == effect)
    };
    enforced(Effect::Allow).any(|rule| rule_truth(rule, view) != Truth::No)
        && !enforced(Effect::Deny).any(|rule| rule_truth(rule, view) == Truth::Yes)
}
