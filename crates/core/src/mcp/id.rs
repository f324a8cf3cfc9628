//! Request ids.

use crate::json::{Value, write_str};

/// The largest whole number that every reader holds exactly: 2^53 - 1.
const LARGEST: i64 = 9_007_199_254_740_991;

/// The longest id in text that is echoed.
const TEXT_BYTES: usize = 1024;

/// A JSON-RPC request id: a string, or a whole number that every implementation can hold.
///
/// MCP excludes `null` (2026-07-28, Base Protocol, Requests). Fractions, exponents and larger numbers are read as
/// different things by different servers, so they are no ids here; nor are `1` and `"1"` ever one id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    Int(i64),
    Text(String),
}

impl Id {
    /// The id that `value` spells, if it is one.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => (text.len() <= TEXT_BYTES).then(|| Self::Text(text.clone())),
            Value::Number(number) => {
                let whole: i64 = number.as_str().parse().ok()?;
                ((-LARGEST..=LARGEST).contains(&whole) && number.as_str() != "-0").then_some(Self::Int(whole))
            }
            _ => None,
        }
    }

    /// The id as a JSON value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Int(whole) => (*whole).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }

    /// Appends the id as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(whole) => out.extend_from_slice(whole.to_string().as_bytes()),
            Self::Text(text) => write_str(text, out),
        }
    }
}
