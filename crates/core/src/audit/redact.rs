//! Taking arguments out of what is recorded, before anything is written.

use crate::json::{Object, Value};

/// What stands where a value was taken out. The record's `redacted` says so, as an argument could be this very text.
const MARK: &str = "[redacted]";

/// The argument paths that `audit.redact` names.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    all: bool,
    paths: Vec<(String, Vec<String>)>,
}

/// Arguments as they may be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Redacted {
    pub value: Value,
    /// The configured paths that were found, in their order there.
    pub paths: Vec<String>,
}

impl Redaction {
    /// From the snapshot's list: paths as in `argument/PATH`, or `*` for everything.
    #[must_use]
    pub fn new<S: AsRef<str>>(paths: &[S]) -> Self {
        let keys = |path: &str| path.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
        Self {
            all: paths.iter().any(|path| path.as_ref() == "*"),
            paths: paths.iter().map(|path| (path.as_ref().to_owned(), keys(path.as_ref()))).collect(),
        }
    }

    /// Whether nothing is ever taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// What may be recorded of `arguments`; `None` if that is all of them.
    #[must_use]
    pub fn arguments(&self, arguments: &Object) -> Option<Redacted> {
        if self.all {
            // Not even the keys: a caller chooses those too.
            let found = !arguments.is_empty();
            return found.then(|| Redacted { value: Value::Object(Object::new()), paths: vec!["*".to_owned()] });
        }
        if self.is_empty() {
            return None;
        }
        let mut value = Value::Object(arguments.clone());
        let found = self.paths.iter().filter(|(_, keys)| take_out(&mut value, keys));
        let paths: Vec<String> = found.map(|(path, _)| path.clone()).collect();
        (!paths.is_empty()).then_some(Redacted { value, paths })
    }

    /// What may be recorded of facts whose `arguments` are a part of those above; `None` if that is all.
    #[must_use]
    pub fn facts(&self, facts: &Value) -> Option<Value> {
        let redacted = self.arguments(facts.get("arguments")?.as_object()?)?;
        let mut facts = facts.as_object()?.clone();
        facts.insert("arguments", redacted.value);
        Some(Value::Object(facts))
    }
}

/// Replaces whatever `keys` lead to, in every element of a list on the way; says whether there was anything.
fn take_out(value: &mut Value, keys: &[String]) -> bool {
    let Some((key, rest)) = keys.split_first() else {
        *value = Value::from(MARK);
        return true;
    };
    match value {
        Value::Object(object) => object.get_mut(key).is_some_and(|member| take_out(member, rest)),
        Value::Array(items) => items.iter_mut().fold(false, |found, item| take_out(item, keys) || found),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, parse, write};

    fn object(text: &str) -> Object {
        parse(text.as_bytes(), &Limits::DEFAULT).unwrap().as_object().unwrap().clone()
    }

    #[test]
    fn named_paths_are_taken_out_wherever_they_lead() {
        for (paths, given, left, found) in [
            (&["a"][..], r#"{"a":{"b":1},"c":2}"#, r#"{"a":"[redacted]","c":2}"#, &["a"][..]),
            (
                &["a/b", "x"],
                r#"{"a":[{"b":1},[{"b":2}],3],"b":4}"#,
                r#"{"a":[{"b":"[redacted]"},[{"b":"[redacted]"}],3],"b":4}"#,
                &["a/b"],
            ),
            (&["a~1b/~0"], r#"{"a/b":{"~":null}}"#, r#"{"a/b":{"~":"[redacted]"}}"#, &["a~1b/~0"]),
            (&["*", "a"], r#"{"a":1}"#, "{}", &["*"]),
        ] {
            let redacted = Redaction::new(paths).arguments(&object(given)).unwrap();
            let mut text = Vec::new();
            write(&redacted.value, &mut text);
            assert_eq!(
                (String::from_utf8(text).unwrap().as_str(), redacted.paths),
                (left, found.iter().map(|p| (*p).to_owned()).collect())
            );
        }
    }

    #[test]
    fn what_has_nothing_to_hide_is_left_alone() {
        let none: [&str; 0] = [];
        assert_eq!(Redaction::new(&none).arguments(&object(r#"{"a":1}"#)), None);
        assert_eq!(Redaction::new(&["b", "a/c"]).arguments(&object(r#"{"a":1}"#)), None);
        assert_eq!(Redaction::new(&["*"]).arguments(&object("{}")), None);
    }

    #[test]
    fn facts_lose_the_same_arguments() {
        let facts = Value::Object(object(r#"{"arguments":{"a":1,"b":2},"tool":"t"}"#));
        let left = Value::Object(object(r#"{"arguments":{"a":"[redacted]","b":2},"tool":"t"}"#));
        assert_eq!(Redaction::new(&["a"]).facts(&facts), Some(left));
    }
}
