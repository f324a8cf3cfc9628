//! Rules as Cedar policies, and the question put to Cedar.
//!
//! The principal is the subject (`Human`, `Agent` or `Service`, in `Group`s), the action is the tool, the resource is
//! the `Server`. What Cedar says natively about facts that are always texts is said natively; every other literal is
//! an atom: `context.atoms.aN` is the answer of [`judge`] to it. Conditions are built as syntax trees, never as
//! text, so no operand can be read as policy. Shadow rules are a second set, in which each is a permit: Cedar then
//! tells which of them are met, and nothing else follows from them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::pst::{
    self, ActionConstraint, BinaryOp, Clause, EntityOrSlot, EntityType, EntityUID, Expr, Name, PatternElem,
    PrincipalConstraint, ResourceConstraint, StaticPolicy, Template, UnaryOp, Var,
};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy,
    PolicyId, PolicySet, Request, Response, RestrictedExpression,
};

use super::leaf::{Truth, judge};
use super::rule::{Criterion, Effect, Join, Literal};
use super::slice::Slice;
use super::test::Test;
use super::view::{ClassFact, View};
use super::walk::Formula;
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
}

#[derive(Debug)]
struct Types {
    human: EntityTypeName,
    agent: EntityTypeName,
    service: EntityTypeName,
    group: EntityTypeName,
}

/// What a slice's policies read from the request.
#[derive(Debug, Default)]
struct Needs {
    atoms: Vec<(Arc<Literal>, Effect)>,
    /// Number of the atom, by literal and effect.
    numbers: HashMap<(u32, Effect), usize>,
    groups: BTreeSet<String>,
    /// Whether something is known, and doubted, about the groups.
    group_doubt: bool,
    texts: BTreeSet<Fact>,
    actor: bool,
}

/// Facts that are texts or missing, never of a wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    ActorType,
    Class,
    Domain,
    Email,
    Origin,
    Owner,
}

impl Fact {
    fn of(criterion: &Criterion) -> Option<Self> {
        Some(match criterion {
            Criterion::ActorType => Self::ActorType,
            Criterion::Action => Self::Class,
            Criterion::Domain => Self::Domain,
            Criterion::Email => Self::Email,
            Criterion::Origin => Self::Origin,
            Criterion::Owner => Self::Owner,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::ActorType => "actor_type",
            Self::Class => "class",
            Self::Domain => "domain",
            Self::Email => "email",
            Self::Origin => "origin",
            Self::Owner => "owner",
        }
    }

    fn text<'a>(self, view: &View<'a>) -> Option<&'a str> {
        match self {
            Self::ActorType => Some(view.actor_type().as_str()),
            Self::Class => match view.class {
                ClassFact::Is(class) => Some(class.as_str()),
                ClassFact::Missing | ClassFact::Unknown => None,
            },
            Self::Domain => view.domain(),
            Self::Email => view.email(),
            Self::Origin => view.facts.request.as_ref()?.origin.as_deref(),
            Self::Owner => view.owner,
        }
    }
}

type Built = Result<Arc<Expr>, pst::PstConstructionError>;

impl Lowered {
    /// Lowers the rules of a slice; `None` if Cedar takes one of them not.
    pub fn new(slice: &Slice) -> Option<Self> {
        let types = Types {
            human: "Human".parse().ok()?,
            agent: "Agent".parse().ok()?,
            service: "Service".parse().ok()?,
            group: "Group".parse().ok()?,
        };
        let action = format!("{}/{}", slice.server, slice.tool);
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
                ActionConstraint::Eq(entity("Action", &action).ok()?),
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
        })
    }

    /// Puts the question to Cedar; `None` if it could not even be asked.
    pub fn ask(&self, view: &View<'_>) -> Option<Matched> {
        let principal = &view.facts.principal;
        let kind = match principal.kind {
            PrincipalType::Human => &self.types.human,
            PrincipalType::Service => &self.types.service,
            PrincipalType::Agent => &self.types.agent,
        };
        let uid = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(&principal.id));
        let groups = Groups::of(view);
        let entities = self.entities(&uid, &groups)?;
        let context = self.context(view, &groups)?;
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

    fn entities(&self, principal: &EntityUid, groups: &Groups<'_>) -> Option<Entities> {
        let parents: HashSet<EntityUid> = groups
            .names
            .iter()
            .filter(|name| self.needs.groups.contains(**name))
            .map(|name| EntityUid::from_type_name_and_id(self.types.group.clone(), EntityId::new(name)))
            .collect();
        if parents.is_empty() {
            return Some(Entities::empty());
        }
        Entities::from_entities([Entity::new_no_attrs(principal.clone(), parents)], None).ok()
    }

    fn context(&self, view: &View<'_>, groups: &Groups<'_>) -> Option<Context> {
        let needs = &self.needs;
        let mut pairs = Vec::with_capacity(needs.texts.len() + 4);
        for fact in &needs.texts {
            if let Some(text) = fact.text(view) {
                pairs.push((fact.name().to_owned(), RestrictedExpression::new_string(text.to_owned())));
            }
        }
        if needs.group_doubt {
            pairs.push(("groups_known".to_owned(), RestrictedExpression::new_bool(groups.known)));
            pairs.push(("groups_doubted".to_owned(), RestrictedExpression::new_bool(groups.doubted)));
        }
        if let Some(actor) = view.actor.filter(|_| needs.actor) {
            let uid = EntityUid::from_type_name_and_id(self.types.agent.clone(), EntityId::new(actor));
            pairs.push(("actor".to_owned(), RestrictedExpression::new_entity_uid(uid)));
        }
        if !needs.atoms.is_empty() {
            let atoms = needs.atoms.iter().enumerate().map(|(number, (literal, effect))| {
                (atom(number), RestrictedExpression::new_bool(judge(literal, *effect, view) == Truth::Yes))
            });
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

fn atom(number: usize) -> String {
    format!("a{number}")
}

impl Needs {
    fn formula(&mut self, formula: &Formula, effect: Effect) -> Built {
        match formula {
            Formula::Known(known) => Ok(Arc::new(Expr::Literal(pst::Literal::Bool(*known)))),
            Formula::Literal(literal) => self.literal(literal, effect),
            Formula::Joined(join, parts) => {
                let parts = parts.iter().map(|part| self.formula(part, effect)).collect::<Result<_, _>>()?;
                Ok(joined(*join, parts))
            }
        }
    }

    fn literal(&mut self, literal: &Arc<Literal>, effect: Effect) -> Built {
        if let Some(native) = self.native(literal, effect)? {
            return Ok(native);
        }
        let next = self.atoms.len();
        let number = *self.numbers.entry((literal.id, effect)).or_insert(next);
        if number == next {
            self.atoms.push((Arc::clone(literal), effect));
        }
        Ok(get(get(var(Var::Context), "atoms"), &atom(number)))
    }

    /// The literal in Cedar's own words, doubt included, if it has them.
    fn native(&mut self, literal: &Literal, effect: Effect) -> Result<Option<Arc<Expr>>, pst::PstConstructionError> {
        let of_type = |kind| match &literal.test {
            Test::Is(operands) => operands.only_texts().map(|ids| (kind, ids)),
            _ => None,
        };
        let Some((present, positive)) = (match &literal.criterion {
            Criterion::User | Criterion::Service => {
                let kind = if matches!(literal.criterion, Criterion::User) { "Human" } else { "Service" };
                let Some((kind, ids)) = of_type(kind) else { return Ok(None) };
                let present =
                    Arc::new(Expr::Is { expr: var(Var::Principal), entity_type: kind_of(kind)?, in_expr: None });
                Some((present, any_entity(&var(Var::Principal), kind, ids)?))
            }
            Criterion::Agent => {
                let Some((kind, ids)) = of_type("Agent") else { return Ok(None) };
                self.actor = true;
                Some((has("actor"), any_entity(&get(var(Var::Context), "actor"), kind, ids)?))
            }
            Criterion::Groups => {
                let Test::Has(Value::String(name)) = &literal.test else { return Ok(None) };
                return self.group(name, literal.negative, effect).map(Some);
            }
            criterion => match Fact::of(criterion) {
                None => None,
                Some(fact) => {
                    let Some(positive) = text_test(&literal.test, &get(var(Var::Context), fact.name())) else {
                        return Ok(None);
                    };
                    self.texts.insert(fact);
                    Some((has(fact.name()), positive))
                }
            },
        }) else {
            return Ok(None);
        };
        // Missing: never met in an allow; in a deny met where negated.
        Ok(Some(match (literal.negative, effect) {
            (false, _) => joined(Join::All, vec![present, positive]),
            (true, Effect::Allow) => joined(Join::All, vec![present, not(positive)]),
            (true, Effect::Deny) => joined(Join::Any, vec![not(present), not(positive)]),
        }))
    }

    fn group(&mut self, name: &str, negative: bool, effect: Effect) -> Built {
        self.groups.insert(name.to_owned());
        let group = Arc::new(Expr::Literal(pst::Literal::EntityUID(entity("Group", name)?)));
        let inside = binary(BinaryOp::In, var(Var::Principal), group);
        let known = || get(var(Var::Context), "groups_known");
        let doubted = || get(var(Var::Context), "groups_doubted");
        self.group_doubt |= negative || effect == Effect::Deny;
        Ok(match (negative, effect) {
            (false, Effect::Allow) => inside,
            (true, Effect::Allow) => joined(Join::All, vec![known(), not(inside)]),
            (false, Effect::Deny) => joined(Join::Any, vec![doubted(), inside]),
            (true, Effect::Deny) => joined(Join::Any, vec![doubted(), not(inside)]),
        })
    }
}

/// A test on a text in Cedar's own words.
fn text_test(test: &Test, subject: &Arc<Expr>) -> Option<Arc<Expr>> {
    let pattern = |before: bool, text: &str, behind: bool| {
        let mut pattern = Vec::with_capacity(text.len() + 2);
        pattern.extend(before.then_some(PatternElem::Wildcard));
        pattern.extend(text.chars().map(PatternElem::Char));
        pattern.extend(behind.then_some(PatternElem::Wildcard));
        Arc::new(Expr::Like { expr: Arc::clone(subject), pattern })
    };
    Some(match test {
        Test::Is(operands) => match operands.only_texts()? {
            [one] => binary(BinaryOp::Eq, Arc::clone(subject), string(one)),
            many => {
                let set = Arc::new(Expr::Set(many.iter().map(|text| string(text)).collect()));
                binary(BinaryOp::Contains, set, Arc::clone(subject))
            }
        },
        Test::Contains(part) => pattern(true, part, true),
        Test::StartsWith(start) => pattern(false, start, true),
        Test::EndsWith(end) => pattern(true, end, false),
        Test::Holds
        | Test::Matches(_)
        | Test::Under(_)
        | Test::Host(_)
        | Test::Order(..)
        | Test::Has(_)
        | Test::Sole(_)
        | Test::Cidr(_)
        | Test::DayTime(..)
        | Test::Instant(..) => return None,
    })
}

fn any_entity(subject: &Arc<Expr>, kind: &str, ids: &[String]) -> Built {
    let equal = |id: &String| -> Built {
        let uid = Arc::new(Expr::Literal(pst::Literal::EntityUID(entity(kind, id)?)));
        Ok(binary(BinaryOp::Eq, Arc::clone(subject), uid))
    };
    Ok(joined(Join::Any, ids.iter().map(equal).collect::<Result<_, _>>()?))
}

/// Joins as a balanced tree: evaluation recurses, and a rule may list thousands.
fn joined(join: Join, mut parts: Vec<Arc<Expr>>) -> Arc<Expr> {
    let op = match join {
        Join::All => BinaryOp::And,
        Join::Any => BinaryOp::Or,
    };
    while parts.len() > 1 {
        let mut pairs = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => binary(op, left, right),
                None => left,
            });
        }
        parts = pairs;
    }
    parts.pop().unwrap_or_else(|| Arc::new(Expr::Literal(pst::Literal::Bool(join == Join::All))))
}

fn kind_of(kind: &str) -> Result<EntityType, pst::PstConstructionError> {
    Ok(EntityType::from_name(Name::unqualified(kind)?))
}

fn entity(kind: &str, id: &str) -> Result<EntityUID, pst::PstConstructionError> {
    Ok(EntityUID { ty: kind_of(kind)?, eid: id.into() })
}

fn var(var: Var) -> Arc<Expr> {
    Arc::new(Expr::Var(var))
}

fn string(text: &str) -> Arc<Expr> {
    Arc::new(Expr::Literal(pst::Literal::String(text.into())))
}

fn get(expr: Arc<Expr>, attr: &str) -> Arc<Expr> {
    Arc::new(Expr::GetAttr { expr, attr: attr.into() })
}

fn has(attr: &str) -> Arc<Expr> {
    Arc::new(Expr::HasAttr { expr: var(Var::Context), attrs: (attr.into(), Vec::new()).into() })
}

fn not(expr: Arc<Expr>) -> Arc<Expr> {
    Arc::new(Expr::UnaryOp { op: UnaryOp::Not, expr })
}

fn binary(op: BinaryOp, left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    Arc::new(Expr::BinaryOp { op, left, right })
}
