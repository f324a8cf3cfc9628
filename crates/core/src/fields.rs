//! Strict reading of objects: every member is asked for by name, and one that nobody asked for is an error.

use crate::json::{Object, Value};

/// What was wrong with a document, and at which member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub path: String,
    pub message: String,
}

impl Fault {
    /// A fault at `path`.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// One object, read member by member. `null` and an absent member are the same to the `optional` readers.
pub(crate) struct Fields<'a> {
    object: &'a Object,
    path: String,
    known: Vec<&'static str>,
}

/// The path of `key` inside `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'a> Fields<'a> {
    /// Begins to read `value`, which stands at `path`.
    pub fn of(value: &'a Value, path: &str) -> Result<Self, Fault> {
        let object = value.as_object().ok_or_else(|| Fault::at(path, "must be an object"))?;
        Ok(Self { object, path: path.to_owned(), known: Vec::new() })
    }

    /// The path of one member.
    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// A fault at one member.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        Fault::at(self.path(key), message)
    }

    /// The member as it is, `null` included.
    pub fn raw(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.object.get(key)
    }

    /// The member, unless it is absent or `null`.
    pub fn optional(&mut self, key: &'static str) -> Option<&'a Value> {
        self.raw(key).filter(|value| **value != Value::Null)
    }

    /// The member, which must be there.
    pub fn required(&mut self, key: &'static str) -> Result<&'a Value, Fault> {
        self.raw(key).ok_or_else(|| self.fault(key, "is missing"))
    }

    /// A text that must be there.
    pub fn text(&mut self, key: &'static str) -> Result<&'a str, Fault> {
        self.required(key)?.as_str().ok_or_else(|| self.fault(key, "must be a string"))
    }

    /// A text that may be absent.
    pub fn optional_text(&mut self, key: &'static str) -> Result<Option<&'a str>, Fault> {
        let Some(value) = self.optional(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.fault(key, "must be a string"))
    }

    /// An owned text that may be absent.
    pub fn optional_string(&mut self, key: &'static str) -> Result<Option<String>, Fault> {
        Ok(self.optional_text(key)?.map(str::to_owned))
    }

    /// A truth value that must be there.
    pub fn flag(&mut self, key: &'static str) -> Result<bool, Fault> {
        self.required(key)?.as_bool().ok_or_else(|| self.fault(key, "must be true or false"))
    }

    /// A truth value that may be absent, which is no.
    pub fn optional_flag(&mut self, key: &'static str) -> Result<bool, Fault> {
        let Some(value) = self.optional(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.fault(key, "must be true or false"))
    }

    /// A whole number from zero up.
    pub fn whole(&mut self, key: &'static str) -> Result<u64, Fault> {
        whole(self.required(key)?).ok_or_else(|| self.fault(key, "must be a whole number from 0 up"))
    }

    /// A list that must be there.
    pub fn list(&mut self, key: &'static str) -> Result<&'a [Value], Fault> {
        self.required(key)?.as_array().ok_or_else(|| self.fault(key, "must be a list"))
    }

    /// A list that may be absent, which is empty.
    pub fn optional_list(&mut self, key: &'static str) -> Result<&'a [Value], Fault> {
        let Some(value) = self.optional(key) else { return Ok(&[]) };
        value.as_array().ok_or_else(|| self.fault(key, "must be a list"))
    }

    /// A list of texts that must be there.
    pub fn texts(&mut self, key: &'static str) -> Result<Vec<String>, Fault> {
        let value = self.required(key)?;
        texts(value).ok_or_else(|| self.fault(key, "must be a list of strings"))
    }

    /// A list of texts that may be absent.
    pub fn optional_texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, Fault> {
        let Some(value) = self.optional(key) else { return Ok(None) };
        texts(value).map(Some).ok_or_else(|| self.fault(key, "must be a list of strings"))
    }

    /// An object that must be there, with its members' path.
    pub fn object(&mut self, key: &'static str) -> Result<&'a Object, Fault> {
        self.required(key)?.as_object().ok_or_else(|| self.fault(key, "must be an object"))
    }

    /// Ends the reading: a member that was never asked for is an error.
    pub fn finish(self) -> Result<(), Fault> {
        match self.object.iter().find(|(key, _)| !self.known.contains(key)) {
            Some((key, _)) => Err(self.fault(key, "is not a known member")),
            None => Ok(()),
        }
    }
}

/// A list of strings, if `value` is one.
pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A whole number from zero up, if `value` is one.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    value.as_number()?.as_i64().and_then(|number| u64::try_from(number).ok())
}
