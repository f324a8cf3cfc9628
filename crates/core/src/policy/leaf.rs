//! The table of doubt: the one function that says whether a literal of a rule is met.
//!
//! What an allow rests on must be there, of the right type, and true. What a deny rests on is met by anything that
//! could not be judged, and by absence where it stands negated. The table itself, worked out case by case, is
//! `tests/golden/table_of_doubt.json`.

use std::collections::BTreeMap;

use super::rule::{Criterion, Effect, Literal};
use super::test::Test;
use super::view::{Classes, Datum, View};
use crate::facts::Class;
use crate::json::Value;

/// What is known of a condition. Decisions know `No` and `Yes`; `Maybe` is for lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Truth {
    No,
    Maybe,
    Yes,
}

impl From<bool> for Truth {
    fn from(flag: bool) -> Self {
        if flag { Self::Yes } else { Self::No }
    }
}

/// Whether `literal` is met where it stands in a rule of this effect.
pub(crate) fn judge(literal: &Literal, effect: Effect, view: &View<'_>) -> Truth {
    let stand = Stand { effect, negative: literal.negative };
    let test = &literal.test;
    match view.datum(&literal.criterion) {
        Datum::Unknown => Truth::Maybe,
        Datum::Unlisted(listed) => unlisted(literal, stand, view.target.server, listed),
        Datum::Begins(start) => begins(test, stand, start),
        Datum::Missing => stand.missing().into(),
        Datum::Error => stand.settle(None).into(),
        Datum::Flag(flag) => stand.settle(Some(flag)).into(),
        Datum::Text(found) => stand.settle(test.text(&found)).into(),
        Datum::Json(value) if test.is_membership() => stand.members(test, value).into(),
        Datum::Json(value) => stand.quantify(test, value).into(),
        Datum::Scope => scope(literal, stand, view),
        Datum::Instant(second) => stand.settle(test.instant(second)).into(),
        Datum::Time(time) => stand.settle(test.day_time(time)).into(),
    }
}

/// Where a literal stands, which is all that its doubt depends on.
#[derive(Clone, Copy)]
struct Stand {
    effect: Effect,
    negative: bool,
}

impl Stand {
    /// A test's answer; `None` is a wrong type or an error.
    fn settle(self, answer: Option<bool>) -> bool {
        match answer {
            Some(truth) => truth != self.negative,
            None => self.effect == Effect::Deny,
        }
    }

    fn missing(self) -> bool {
        self.effect == Effect::Deny && self.negative
    }

    /// An empty list never meets an allow, and meets a deny where it stands negated.
    fn empty(self) -> bool {
        self.missing()
    }

    /// Membership is asked of the whole list; a scalar is a list of one.
    fn members(self, test: &Test, value: &Value) -> bool {
        match value {
            Value::Array(items) if items.is_empty() => self.empty(),
            Value::Array(items) => self.settle(test.members(items)),
            Value::Object(_) => self.settle(None),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.settle(test.members([value])),
        }
    }

    /// In a list or object each scalar inside is asked: an allow needs every one, a deny one.
    fn quantify(self, test: &Test, value: &Value) -> bool {
        match value {
            Value::Array(_) | Value::Object(_) => {
                let mut any = false;
                let decided = scalars(value, &mut |scalar| {
                    any = true;
                    let met = self.settle(test.scalar(scalar));
                    (met == (self.effect == Effect::Deny)).then_some(met)
                });
                match decided {
                    Some(met) => met,
                    None if !any => self.empty(),
                    None => self.effect == Effect::Allow,
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.settle(test.scalar(value)),
        }
    }
}

/// Visits the scalars inside `value` until one decides.
fn scalars(value: &Value, visit: &mut impl FnMut(&Value) -> Option<bool>) -> Option<bool> {
    match value {
        Value::Array(items) => items.iter().find_map(|item| scalars(item, visit)),
        Value::Object(object) => object.iter().find_map(|(_, item)| scalars(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => visit(value),
    }
}

/// The words of a token's scope; `None` if it is neither a text nor a list of texts.
pub(crate) fn scope_words(scope: &Value) -> Option<Vec<&str>> {
    match scope {
        Value::String(text) => Some(text.split_ascii_whitespace().collect()),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// A literal on `scope`, which may be supposed to hold more than it does.
fn scope(literal: &Literal, stand: Stand, view: &View<'_>) -> Truth {
    let (Test::Has(operand) | Test::Sole(operand)) = &literal.test else { return stand.settle(None).into() };
    let scope = view.facts.token.as_ref().and_then(|token| token.scope.as_ref());
    let mut words = match scope.map(scope_words) {
        None if view.extra == Classes::default() && !view.supposing => return stand.missing().into(),
        None => Vec::new(),
        Some(None) => return stand.settle(None).into(),
        Some(Some(words)) => words,
    };
    for class in view.extra.iter() {
        if !words.contains(&class.scope()) {
            words.push(class.scope());
        }
    }
    let found = operand.as_str().is_some_and(|operand| words.contains(&operand));
    let has = matches!(literal.test, Test::Has(_));
    if view.supposing {
        let obtainable = |class: Class| view.obtainable.has(class) && !words.contains(&class.scope());
        let more = view.obtainable.iter().any(obtainable);
        let this = operand.as_str().and_then(Class::from_scope).is_some_and(obtainable);
        // More scope can add the word that is asked for, end its standing alone, or make a list no longer empty.
        if this || (more && ((found && !has) || (words.is_empty() && stand.negative))) {
            return Truth::Maybe;
        }
        if scope.is_none() {
            return stand.missing().into();
        }
    }
    if words.is_empty() {
        return stand.empty().into();
    }
    stand.settle(Some(found && (has || words.len() == 1))).into()
}

/// A literal on a tool that nobody has named yet: what can be said from its server, and from its not being listed.
fn unlisted(literal: &Literal, stand: Stand, server: &str, listed: &BTreeMap<String, Class>) -> Truth {
    let qualified = matches!(literal.criterion, Criterion::Tool);
    // The bare name that an operand asks for, if it is of this server at all.
    let bare = |operand: &'_ str| -> Option<String> {
        if !qualified {
            return Some(operand.to_owned());
        }
        operand.strip_prefix(server)?.strip_prefix('/').map(str::to_owned)
    };
    match &literal.test {
        Test::Is(operands) if operands.texts().is_empty() => stand.settle(None).into(),
        Test::Is(operands) => {
            let possible =
                operands.texts().iter().filter_map(|operand| bare(operand)).any(|name| !listed.contains_key(&name));
            if possible { Truth::Maybe } else { stand.settle(Some(false)).into() }
        }
        Test::StartsWith(start) => {
            let prefix = if qualified { format!("{server}/") } else { String::new() };
            from_start(start, stand, &prefix)
        }
        _ => Truth::Maybe,
    }
}

/// A literal on a text of which only the start is known.
fn begins(test: &Test, stand: Stand, prefix: &str) -> Truth {
    match test {
        Test::Is(operands) if operands.texts().is_empty() => stand.settle(None).into(),
        Test::Is(operands) if operands.texts().iter().any(|operand| operand.starts_with(prefix)) => Truth::Maybe,
        Test::Is(_) => stand.settle(Some(false)).into(),
        Test::StartsWith(start) => from_start(start, stand, prefix),
        _ => Truth::Maybe,
    }
}

/// Whether a text that begins with `prefix` begins with `start`.
fn from_start(start: &str, stand: Stand, prefix: &str) -> Truth {
    if prefix.starts_with(start) {
        stand.settle(Some(true)).into()
    } else if start.starts_with(prefix) {
        Truth::Maybe
    } else {
        stand.settle(Some(false)).into()
    }
}
