//! What would turn a refusal: the call is decided again, supposing more scope.

use super::Remedy;
use super::slice::Slice;
use super::view::{ClassFact, Classes, View};
use crate::facts::Class;
use crate::json::Value;
use crate::snapshot::Snapshot;

impl Snapshot {
    /// The fewest class scopes that would make the call allowed, out of those that the caller could obtain.
    pub(super) fn scope_remedy(&self, slice: &Slice, view: &View<'_>) -> Option<Remedy> {
        // Without a token, or without anything that reads its scope, more scope turns nothing.
        let scope = view.facts.token.as_ref()?.scope.as_ref();
        let words = match scope.map(super::leaf::scope_words) {
            None => Vec::new(),
            Some(words) => words?,
        };
        let own = match view.class {
            ClassFact::Is(class) => Some(class),
            ClassFact::Missing | ClassFact::Unknown => None,
        };
        let obtainable = self.obtainable(view.facts);
        let candidates: Vec<Class> = Class::ALL
            .into_iter()
            .filter(|class| obtainable.has(*class) && !words.contains(&class.scope()))
            .filter(|class| own == Some(*class) || slice.reads.scopes.contains(class))
            .collect();
        let mut sets: Vec<Vec<Class>> = (1_u8..(1 << candidates.len()))
            .map(|bits| {
                candidates.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, c)| *c).collect()
            })
            .collect();
        sets.sort_by_key(Vec::len);
        let turns =
            |set: &Vec<Class>| self.allows(slice, &View { extra: Classes::of(set.iter().copied()), ..view.clone() });
        let set = sets.into_iter().find(turns)?;
        Some(Remedy::Scope(set.into_iter().map(|class| class.scope().to_owned()).collect()))
    }
}

impl Remedy {
    /// As it stands in answers: `{"kind": "scope", "scopes": […]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self::Scope(scopes) = self;
        let mut object = crate::json::Object::new();
        object.insert("kind", Value::from("scope"));
        object.insert("scopes", Value::Array(scopes.iter().map(|scope| Value::from(scope.as_str())).collect()));
        Value::Object(object)
    }
}
