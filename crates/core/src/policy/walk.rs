//! The plain walk of a rule, in three values. Lists and the nearest rule come from it, and a property test holds it
//! against Cedar.

use std::sync::Arc;

use super::leaf::{Truth, judge};
use super::rule::{Branch, Effect, Join, Leaf, Literal, Rule};
use super::view::View;

impl Join {
    /// Joins truths (Kleene), looking no further than needed.
    pub fn truth(self, truths: impl IntoIterator<Item = Truth>) -> Truth {
        let (neutral, deciding) = match self {
            Self::All => (Truth::Yes, Truth::No),
            Self::Any => (Truth::No, Truth::Yes),
        };
        let mut joined = neutral;
        for truth in truths {
            if truth == deciding {
                return deciding;
            }
            if truth == Truth::Maybe {
                joined = Truth::Maybe;
            }
        }
        joined
    }
}

/// Whether a leaf is met.
pub(crate) fn leaf_truth(leaf: &Leaf, effect: Effect, view: &View<'_>) -> Truth {
    if leaf.speaks.covers(&view.target) { tests_truth(leaf, effect, view) } else { Truth::No }
}

/// Whether its tests are, whatever the message is of which its rule speaks.
pub(crate) fn tests_truth(leaf: &Leaf, effect: Effect, view: &View<'_>) -> Truth {
    leaf.join.truth(leaf.literals.iter().map(|literal| judge(literal, effect, view)))
}

/// Whether a branch is met.
pub(crate) fn branch_truth(branch: &Branch, effect: Effect, view: &View<'_>) -> Truth {
    branch.join.truth(branch.leaves.iter().map(|leaf| leaf_truth(leaf, effect, view)))
}

/// Whether a rule is met: one of its branches is.
pub(crate) fn rule_truth(rule: &Rule, view: &View<'_>) -> Truth {
    Join::Any.truth(rule.branches.iter().map(|branch| branch_truth(branch, rule.effect, view)))
}

/// A formula over literals, which is what remains of a rule in a slice.
#[derive(Debug, Clone)]
pub(crate) enum Formula {
    Known(bool),
    Literal(Arc<Literal>),
    Joined(Join, Vec<Formula>),
}

impl Formula {
    /// Joins formulas, folding what is known.
    fn join(join: Join, parts: impl IntoIterator<Item = Self>) -> Self {
        let neutral = join == Join::All;
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Known(known) if known == neutral => {}
                Self::Known(known) => return Self::Known(known),
                Self::Joined(inner, parts) if inner == join => kept.extend(parts),
                Self::Joined(..) | Self::Literal(_) => kept.push(part),
            }
        }
        match (kept.pop(), kept.is_empty()) {
            (None, _) => Self::Known(neutral),
            (Some(only), true) => only,
            (Some(last), false) => {
                kept.push(last);
                Self::Joined(join, kept)
            }
        }
    }

    /// What remains of `rule` where everything about the target is as in `view`.
    pub fn residual(rule: &Rule, view: &View<'_>) -> Self {
        let literal = |literal: &Arc<Literal>| {
            if literal.criterion.is_target() {
                match judge(literal, rule.effect, view) {
                    Truth::Yes => return Self::Known(true),
                    Truth::No => return Self::Known(false),
                    Truth::Maybe => {}
                }
            }
            Self::Literal(Arc::clone(literal))
        };
        let leaf = |leaf: &Leaf| {
            if leaf.speaks.covers(&view.target) {
                Self::join(leaf.join, leaf.literals.iter().map(literal))
            } else {
                Self::Known(false)
            }
        };
        let branch = |branch: &Branch| Self::join(branch.join, branch.leaves.iter().map(leaf));
        Self::join(Join::Any, rule.branches.iter().map(branch))
    }

    /// Whether it is met.
    pub fn truth(&self, effect: Effect, view: &View<'_>) -> Truth {
        match self {
            Self::Known(known) => (*known).into(),
            Self::Literal(literal) => judge(literal, effect, view),
            Self::Joined(join, parts) => join.truth(parts.iter().map(|part| part.truth(effect, view))),
        }
    }

    /// Visits its literals.
    pub fn each_literal(&self, visit: &mut impl FnMut(&Arc<Literal>)) {
        match self {
            Self::Known(_) => {}
            Self::Literal(literal) => visit(literal),
            Self::Joined(_, parts) => parts.iter().for_each(|part| part.each_literal(visit)),
        }
    }
}
