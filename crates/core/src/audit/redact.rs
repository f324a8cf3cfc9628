//! Taking arguments out of what is recorded, before anything is written.

use crate::json::{Object, Value};
use crate::snapshot::Redact;

/// What takes arguments out of records, as `audit.redact` says.
#[derive(Debug, Clone)]
pub struct Redaction(Redact);

/// Arguments as they may be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Redacted {
    pub value: Value,
    /// The configured paths that were found, in their order there; `*` where everything is taken out.
    pub paths: Vec<String>,
}

impl Redaction {
    /// From the snapshot's own form.
    #[must_use]
    pub fn new(redact: &Redact) -> Self {
        Self(redact.clone())
    }

    /// What may be recorded of `arguments`; `None` if that is all of them.
    #[must_use]
    pub fn arguments(&self, arguments: &Object) -> Option<Redacted> {
        match &self.0 {
            // Not even the keys: a caller chooses those too.
            Redact::All => (!arguments.is_empty())
                .then(|| Redacted { value: Value::Object(Object::new()), paths: vec!["*".to_owned()] }),
            Redact::Paths(paths) if paths.is_empty() => None,
            Redact::Paths(paths) => {
                let mut value = Value::Object(arguments.clone());
                let found = paths.iter().filter(|keys| hide(&mut value, keys));
                let paths: Vec<String> = found.map(|keys| text_of(keys)).collect();
                (!paths.is_empty()).then_some(Redacted { value, paths })
            }
        }
    }
}

/// The path as the configuration writes it, its keys escaped as in a JSON Pointer.
fn text_of(keys: &[String]) -> String {
    keys.iter().map(|key| key.replace('~', "~0").replace('/', "~1")).collect::<Vec<_>>().join("/")
}

/// What stands where a value was taken out.
pub(crate) fn mark() -> Value {
    let mut object = Object::new();
    object.insert("redacted", Value::Bool(true));
    Value::Object(object)
}

/// Hides what stands at the path, and whatever stands in its way that is no object; says whether there was anything.
fn hide(value: &mut Value, keys: &[String]) -> bool {
    if let (Some((key, rest)), Value::Object(object)) = (keys.split_first(), &mut *value) {
        return object.get_mut(key).is_some_and(|member| hide(member, rest));
    }
    *value = mark();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, parse, write};

    fn object(text: &str) -> Object {
        parse(text.as_bytes(), &Limits::DEFAULT).unwrap().as_object().unwrap().clone()
    }

    fn paths(paths: &[&[&str]]) -> Redaction {
        let owned = |path: &&[&str]| path.iter().map(|key| (*key).to_owned()).collect();
        Redaction::new(&Redact::Paths(paths.iter().map(owned).collect()))
    }

    #[test]
    fn named_paths_are_taken_out_with_whatever_stands_in_their_way() {
        const GONE: &str = r#"{"redacted":true}"#;
        for (redaction, given, left, found) in [
            (paths(&[&["a"]]), r#"{"a":{"b":1},"c":2}"#, format!(r#"{{"a":{GONE},"c":2}}"#), "a"),
            (
                paths(&[&["x"], &["a", "b"]]),
                r#"{"a":{"b":[1],"c":2}}"#,
                format!(r#"{{"a":{{"b":{GONE},"c":2}}}}"#),
                "a/b",
            ),
            (paths(&[&["a", "b"]]), r#"{"a":[{"b":1}],"b":4}"#, format!(r#"{{"a":{GONE},"b":4}}"#), "a/b"),
            (paths(&[&["a", "b"]]), r#"{"a":"secret"}"#, format!(r#"{{"a":{GONE}}}"#), "a/b"),
            (paths(&[&["a/b", "~"]]), r#"{"a/b":{"~":null}}"#, format!(r#"{{"a/b":{{"~":{GONE}}}}}"#), "a~1b/~0"),
            (Redaction::new(&Redact::All), r#"{"a":1}"#, "{}".to_owned(), "*"),
        ] {
            let redacted = redaction.arguments(&object(given)).unwrap();
            let mut text = Vec::new();
            write(&redacted.value, &mut text);
            assert_eq!((String::from_utf8(text).unwrap(), redacted.paths), (left, vec![found.to_owned()]));
        }
    }

    #[test]
    fn what_has_nothing_to_hide_is_left_alone() {
        assert_eq!(paths(&[]).arguments(&object(r#"{"a":1}"#)), None);
        assert_eq!(paths(&[&["b"], &["a", "c"]]).arguments(&object(r#"{"a":{}}"#)), None);
        assert_eq!(Redaction::new(&Redact::All).arguments(&object("{}")), None);
    }
}
