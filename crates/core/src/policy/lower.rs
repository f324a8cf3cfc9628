//! Conditions of rules as Cedar expressions.
//!
//! What Cedar says natively about facts that are always texts is said natively, doubt included; every other literal is
//! an atom: `context.atoms.aN` is the answer of [`super::leaf::judge`] to it. Conditions are built as syntax trees,
//! never as text, so no operand can be read as policy.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::pst::{self, BinaryOp, EntityType, EntityUID, Expr, Name, PatternElem, UnaryOp, Var};

use super::rule::{Criterion, Effect, Join, Literal};
use super::test::Test;
use super::view::{ClassFact, NameFact, View};
use super::walk::Formula;
use crate::json::Value;

/// What a slice's policies read from the request.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Literals that are atoms, by number.
    pub atoms: Vec<(Arc<Literal>, Effect)>,
    /// Number of the atom, by literal and effect.
    numbers: HashMap<(u32, Effect), usize>,
    /// The groups that conditions name.
    pub groups: BTreeSet<String>,
    /// Whether something is known, and doubted, about the groups.
    pub group_doubt: bool,
    pub texts: BTreeSet<Fact>,
    /// Whether they speak of the agent that acts.
    pub actor: bool,
}

/// Facts that are texts or missing, never of a wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    ActorType,
    Class,
    Domain,
    Email,
    Origin,
    Owner,
    Prompt,
    ResourceUri,
    ServerRequest,
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
            Criterion::Prompt => Self::Prompt,
            Criterion::ResourceUri => Self::ResourceUri,
            Criterion::ServerRequest => Self::ServerRequest,
            _ => return None,
        })
    }

    /// Its name in the context.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActorType => "actor_type",
            Self::Class => "class",
            Self::Domain => "domain",
            Self::Email => "email",
            Self::Origin => "origin",
            Self::Owner => "owner",
            Self::Prompt => "prompt",
            Self::ResourceUri => "resource_uri",
            Self::ServerRequest => "server_request",
        }
    }

    /// The text, if there is one.
    pub fn text<'a>(self, view: &View<'a>) -> Option<&'a str> {
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
            Self::Prompt => named(view.target.prompt),
            Self::ResourceUri => named(view.target.resource),
            Self::ServerRequest => named(view.target.request),
        }
    }
}

fn named(name: NameFact<'_>) -> Option<&str> {
    match name {
        NameFact::Named(name) => Some(name),
        NameFact::None | NameFact::Begins(_) | NameFact::Unknown => None,
    }
}

type Built = Result<Arc<Expr>, pst::PstConstructionError>;

/// The name of an atom.
pub(super) fn atom(number: usize) -> String {
    format!("a{number}")
}

impl Needs {
    /// The condition of a rule; what it reads is noted.
    pub fn formula(&mut self, formula: &Formula, effect: Effect) -> Built {
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
            (true, Effect::Deny) => not(joined(Join::All, vec![present, positive])),
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

/// A literal entity.
pub(super) fn entity(kind: &str, id: &str) -> Result<EntityUID, pst::PstConstructionError> {
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
