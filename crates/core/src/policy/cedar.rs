//! One slice as Cedar policies, and the question put to Cedar.
//!
//! The principal is the subject (`Human`, `Agent` or `Service`, in `Group`s), the action is the tool or the method, the
//! resource is the `Server`; the context holds what the conditions read (`lower`), prompts and resources among it.
//! Shadow rules are a second set, in which each is a permit: Cedar then tells which of them are met, and nothing else
//! follows from them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use cedar_policy::pst::{
    self, ActionConstraint, Clause, EntityOrSlot, PrincipalConstraint, ResourceConstraint, StaticPolicy, Template,
};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy,
    PolicyId, PolicySet, Request, Response, RestrictedExpression,
};
use quick_cache::sync::Cache;

use super::leaf::{Truth, judge};
use super::lower::{Needs, atom, entity};
use super::memory::Memory;
use super::rule::Effect;
use super::rule::Literal;
use super::slice::Slice;
use super::view::View;
use crate::facts::PrincipalType;
use crate::json::Value;

/// What Cedar answered: indexes of the rules that decided, in file order.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// Enforced denies that are met; if there is one, `allows` is empty.
    pub denies: Vec<usize>,
    /// Enforced allows that are met.
    pub allows: Vec<usize>,
    /// Shadow rules that are met.
    pub shadow: Vec<usize>,
}

/// One slice as Cedar policies.
#[derive(Debug)]
pub(crate) struct Lowered {
    enforced: PolicySet,
    /// `None` without shadow rules.
    shadow: Option<PolicySet>,
    /// Enforced denies, by policy id: an erring one is met.
    denies: HashSet<PolicyId>,
    action: EntityUid,
    resource: EntityUid,
    types: Types,
    needs: Needs,
    /// Answers by question. Nothing is left out of a question, so its answer is always the same.
    answers: Cache<Vec<u8>, Arc<Matched>>,
}

/// How many questions a slice remembers.
const QUESTIONS: usize = 1_024;

/// Everything that Cedar is told beside what the slice fixes: the subject in its groups, and the context.
struct Question<'a> {
    groups: Groups<'a>,
    /// The truth of each atom, in order.
    atoms: Vec<bool>,
}

#[derive(Debug)]
struct Types {
    human: EntityTypeName,
    agent: EntityTypeName,
    service: EntityTypeName,
    group: EntityTypeName,
}

/// Subjects in their groups as Cedar entities, kept because to build one costs a fifth of a decision.
#[derive(Debug)]
pub(crate) struct Subjects {
    /// By type, id and groups.
    kept: Cache<String, Arc<Entities>>,
}

/// How many subjects are kept.
const SUBJECTS: usize = 4_096;

impl Subjects {
    /// None known yet.
    pub fn new() -> Self {
        Self { kept: Cache::new(SUBJECTS) }
    }
}

impl Lowered {
    /// Lowers the rules of a slice; `None` if Cedar takes one of them not.
    pub fn new(slice: &Slice) -> Option<Self> {
        let types = Types {
            human: "Human".parse().ok()?,
            agent: "Agent".parse().ok()?,
            service: "Service".parse().ok()?,
            group: "Group".parse().ok()?,
        };
        let action = &slice.action;
        let mut needs = Needs::default();
        let mut enforced = PolicySet::new();
        let mut shadow = PolicySet::new();
        let mut denies = HashSet::new();
        for residue in &slice.residues {
            let condition = needs.formula(&residue.formula, residue.effect).ok()?;
            let id = PolicyId::new(format!("r{}", residue.rule));
            let effect = match residue.effect {
                Effect::Deny if !residue.shadow => {
                    denies.insert(id.clone());
                    pst::Effect::Forbid
                }
                Effect::Deny | Effect::Allow => pst::Effect::Permit,
            };
            let template = Template::new(
                pst::PolicyID::from(AsRef::<str>::as_ref(&id)),
                effect,
                PrincipalConstraint::Any,
                ActionConstraint::Eq(entity("Action", action).ok()?),
                ResourceConstraint::Eq(EntityOrSlot::Entity(entity("Server", &slice.server).ok()?)),
            );
            let template = template.try_with_clauses(vec![Clause::When(condition)]).ok()?;
            let policy = Policy::from_pst(pst::Policy::Static(StaticPolicy::try_from(template).ok()?)).ok()?;
            if residue.shadow { &mut shadow } else { &mut enforced }.add(policy).ok()?;
        }
        Some(Self {
            enforced,
            shadow: (!shadow.is_empty()).then_some(shadow),
            denies,
            action: EntityUid::from_type_name_and_id("Action".parse().ok()?, EntityId::new(action)),
            resource: EntityUid::from_type_name_and_id("Server".parse().ok()?, EntityId::new(&slice.server)),
            types,
            needs,
            answers: Cache::new(QUESTIONS),
        })
    }

    /// What Cedar says to the question, now or, with memory, before; `None` if it could not even be asked.
    ///
    /// Arguments differ from call to call where what rules make of them does not: this memory is by the latter.
    pub fn ask(&self, view: &View<'_>, subjects: &Subjects, memory: Memory) -> Option<Arc<Matched>> {
        let judged = |(literal, effect): &(Arc<Literal>, Effect)| judge(literal, *effect, view) == Truth::Yes;
        let question = Question { groups: Groups::of(view), atoms: self.needs.atoms.iter().map(judged).collect() };
        if memory == Memory::Off {
            return self.put(view, &question, subjects).map(Arc::new);
        }
        let key = self.key(view, &question);
        if let Some(known) = self.answers.get(&key) {
            return Some(known);
        }
        let answer = Arc::new(self.put(view, &question, subjects)?);
        self.answers.insert(key, Arc::clone(&answer));
        Some(answer)
    }

    /// The question as bytes: each part after its length, or a mark that it is absent, so that no two read alike.
    fn key(&self, view: &View<'_>, question: &Question<'_>) -> Vec<u8> {
        let mut key = Vec::with_capacity(128);
        let mut part = |text: Option<&str>| match text {
            Some(text) => {
                key.extend_from_slice(&text.len().to_be_bytes());
                key.extend_from_slice(text.as_bytes());
            }
            None => key.extend_from_slice(&usize::MAX.to_be_bytes()),
        };
        let principal = &view.facts.principal;
        part(Some(principal.kind.as_str()));
        part(Some(&principal.id));
        part(view.actor.filter(|_| self.needs.actor));
        for fact in &self.needs.texts {
            part(fact.text(view));
        }
        for name in self.named(&question.groups) {
            part(Some(name));
        }
        part(None);
        key.push(u8::from(question.groups.known));
        key.push(u8::from(question.groups.doubted));
        key.extend(question.atoms.iter().map(|atom| u8::from(*atom)));
        key
    }

    /// Those of the subject's groups that the slice names.
    fn named<'a>(&'a self, groups: &'a Groups<'a>) -> impl Iterator<Item = &'a str> {
        groups.names.iter().copied().filter(|name| self.needs.groups.contains(*name))
    }

    fn put(&self, view: &View<'_>, question: &Question<'_>, subjects: &Subjects) -> Option<Matched> {
        let principal = &view.facts.principal;
        let kind = match principal.kind {
            PrincipalType::Human => &self.types.human,
            PrincipalType::Service => &self.types.service,
            PrincipalType::Agent => &self.types.agent,
        };
        let uid = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(&principal.id));
        let entities = self.entities(&uid, view, &question.groups, subjects)?;
        let context = self.context(view, question)?;
        let request = Request::new(uid, self.action.clone(), self.resource.clone(), context, None).ok()?;
        let authorizer = Authorizer::new();
        let mut matched = Matched::default();
        let answer = authorizer.is_authorized(&request, &self.enforced, &entities);
        // Cedar leaves an erring forbid aside; here it denies.
        let erring: Vec<usize> = errors(&answer).filter(|id| self.denies.contains(*id)).filter_map(index).collect();
        let reasons = answer.diagnostics().reason().filter_map(index);
        match answer.decision() {
            Decision::Allow if erring.is_empty() => matched.allows = reasons.collect(),
            Decision::Allow => matched.denies = erring,
            Decision::Deny => matched.denies = reasons.chain(erring).collect(),
        }
        if let Some(shadow) = &self.shadow {
            let answer = authorizer.is_authorized(&request, shadow, &entities);
            matched.shadow = answer.diagnostics().reason().filter_map(index).collect();
        }
        for indexes in [&mut matched.denies, &mut matched.allows, &mut matched.shadow] {
            indexes.sort_unstable();
            indexes.dedup();
        }
        Some(matched)
    }

    /// The subject, in those of its groups that the slice names.
    fn entities(
        &self,
        uid: &EntityUid,
        view: &View<'_>,
        groups: &Groups<'_>,
        subjects: &Subjects,
    ) -> Option<Arc<Entities>> {
        let principal = &view.facts.principal;
        // Each part after its length: no id or name can pass for two.
        let mut key = format!("{}{}:{}", principal.kind.as_str(), principal.id.len(), principal.id);
        for name in self.named(groups) {
            // Writing to a String cannot fail.
            let _ = write!(key, "{}:{name}", name.len());
        }
        if let Some(known) = subjects.kept.get(&key) {
            return Some(known);
        }
        let group = |name| EntityUid::from_type_name_and_id(self.types.group.clone(), EntityId::new(name));
        let subject = Entity::new_no_attrs(uid.clone(), self.named(groups).map(group).collect());
        let entities = Arc::new(Entities::from_entities([subject], None).ok()?);
        subjects.kept.insert(key, Arc::clone(&entities));
        Some(entities)
    }

    fn context(&self, view: &View<'_>, question: &Question<'_>) -> Option<Context> {
        let needs = &self.needs;
        let mut pairs = Vec::with_capacity(needs.texts.len() + 4);
        for fact in &needs.texts {
            if let Some(text) = fact.text(view) {
                pairs.push((fact.name().to_owned(), RestrictedExpression::new_string(text.to_owned())));
            }
        }
        if needs.group_doubt {
            pairs.push(("groups_known".to_owned(), RestrictedExpression::new_bool(question.groups.known)));
            pairs.push(("groups_doubted".to_owned(), RestrictedExpression::new_bool(question.groups.doubted)));
        }
        if let Some(actor) = view.actor.filter(|_| needs.actor) {
            let uid = EntityUid::from_type_name_and_id(self.types.agent.clone(), EntityId::new(actor));
            pairs.push(("actor".to_owned(), RestrictedExpression::new_entity_uid(uid)));
        }
        if !needs.atoms.is_empty() {
            let atoms = question.atoms.iter().enumerate();
            let atoms = atoms.map(|(number, truth)| (atom(number), RestrictedExpression::new_bool(*truth)));
            pairs.push(("atoms".to_owned(), RestrictedExpression::new_record(atoms).ok()?));
        }
        Context::from_pairs(pairs).ok()
    }
}

/// What is known of the subject's groups.
struct Groups<'a> {
    names: Vec<&'a str>,
    /// There is a list of names, and it is not empty.
    known: bool,
    /// They exist and could not be obtained, or are not a list of names.
    doubted: bool,
}

impl<'a> Groups<'a> {
    fn of(view: &View<'a>) -> Self {
        let principal = &view.facts.principal;
        let groups = principal.groups.as_ref().filter(|_| principal.kind == PrincipalType::Human);
        let names: Option<Vec<&str>> =
            groups.and_then(Value::as_array).and_then(|items| items.iter().map(Value::as_str).collect());
        Self {
            known: names.as_ref().is_some_and(|names| !names.is_empty()),
            doubted: groups.is_some() && names.is_none(),
            names: names.unwrap_or_default(),
        }
    }
}

fn errors(answer: &Response) -> impl Iterator<Item = &PolicyId> {
    answer.diagnostics().errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    })
}

/// The rule behind a policy id.
fn index(id: &PolicyId) -> Option<usize> {
    AsRef::<str>::as_ref(id).strip_prefix('r')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::kit::{facts, house, rule, rules};

    /// An erring forbid is left aside by Cedar, whose answer is then Allow.
    #[test]
    fn a_deny_that_errs_denies_and_an_allow_that_errs_allows_nothing() {
        let snapshot = house(&rules(&[rule("r", "allow", "and", &[("accept", "", "")])]));
        let text = r#"{"principal":{"type":"human","id":"human:corp:alice"},"server":"notes","tool":"echo"}"#;
        let facts = facts(&snapshot, text);
        let view = snapshot.view(&facts);
        let slice = snapshot.policy.slices.slice(&snapshot.policy.rules, &snapshot.servers, "notes", "echo");
        for (effect, denies, allows) in [("forbid", vec![7], vec![]), ("permit", vec![], vec![0])] {
            let mut lowered = Lowered::new(&slice).unwrap();
            let text = format!("{effect}(principal, action, resource) when {{ context.nothing > 1 }};");
            let id = PolicyId::new("r7");
            lowered.enforced.add(Policy::parse(Some(id.clone()), text).unwrap()).unwrap();
            if effect == "forbid" {
                lowered.denies.insert(id);
            }
            let matched = lowered.ask(&view, &Subjects::new(), Memory::Off).unwrap();
            assert_eq!((matched.denies.clone(), matched.allows.clone()), (denies, allows), "{effect}");
        }
    }

    #[test]
    fn a_subject_is_never_taken_for_another_in_the_memory_of_subjects() {
        let snapshot = house(&rules(&[rule("d", "deny", "and", &[("groups", "has", "\"dev\"")])]));
        let slice = snapshot.policy.slices.slice(&snapshot.policy.rules, &snapshot.servers, "notes", "echo");
        let subjects = Subjects::new();
        for (id, groups, denied) in [
            ("human:corp:x3:dev", "[]", false),
            ("human:corp:x", r#"["dev"]"#, true),
            ("human:corp:x", r#"["ops"]"#, false),
        ] {
            let text = format!(
                r#"{{"principal":{{"type":"human","id":"{id}","groups":{groups}}},"server":"notes","tool":"echo"}}"#
            );
            let facts = facts(&snapshot, &text);
            for memory in [Memory::Off, Memory::On, Memory::On] {
                let matched = slice.lowered().unwrap().ask(&snapshot.view(&facts), &subjects, memory).unwrap();
                assert_eq!(!matched.denies.is_empty(), denied, "{text}");
            }
        }
    }

    /// What a slice's policies may read, as a Cedar schema.
    fn schema(lowered: &Lowered, action: &str) -> cedar_policy::Schema {
        let needs = &lowered.needs;
        let atoms: Vec<String> = (0..needs.atoms.len()).map(|number| format!("{}: Bool", atom(number))).collect();
        let mut context = vec![format!("atoms: {{ {} }}", atoms.join(", "))];
        context.extend(needs.texts.iter().map(|fact| format!("{}?: String", fact.name())));
        context.extend(["groups_known: Bool", "groups_doubted: Bool", "actor?: Agent"].map(str::to_owned));
        let text = format!(
            r#"entity Group, Agent, Service, Server; entity Human in [Group];
            action "{action}" appliesTo {{
                principal: [Human, Agent, Service], resource: Server, context: {{ {} }}
            }};"#,
            context.join(", ")
        );
        cedar_policy::Schema::from_cedarschema_str(&text).unwrap().0
    }

    #[test]
    fn every_leaf_of_every_effect_lowers_to_a_policy_that_cannot_err() {
        for leaf in crate::policy::tests::property::LEAVES {
            for (effect, op) in [("allow", "and"), ("allow", "not"), ("deny", "or"), ("deny", "nor")] {
                let snapshot = house(&rules(&[rule("r", effect, op, &[leaf, leaf])]));
                for asked in [
                    r#""tool":"echo""#,
                    r#""tool":"not_declared""#,
                    r#""mcp_method":"prompts/get","prompt":"x""#,
                    r#""mcp_method":"completion/complete","resource_uri":"x""#,
                    r#""tool":"echo","server_request":"ping""#,
                ] {
                    let policy = &snapshot.policy;
                    let who = r#""principal":{"type":"human","id":"human:corp:bob"}"#;
                    let facts = facts(&snapshot, &format!(r#"{{{who},"server":"notes",{asked}}}"#));
                    let target = snapshot.view(&facts).target;
                    let slice = policy.slices.of(&policy.rules, &snapshot.servers, &target).unwrap();
                    let lowered = slice.lowered().unwrap();
                    let validator = cedar_policy::Validator::new(schema(lowered, &slice.action));
                    let found = validator.validate(&lowered.enforced, cedar_policy::ValidationMode::Strict);
                    assert!(found.validation_passed(), "{leaf:?} {effect} {op}: {found}");
                }
            }
        }
    }
}
