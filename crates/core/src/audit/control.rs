//! Records that are not of a request: what was done to the gateway, and the journal's own.

use super::chain::{Chain, Draft, Lines};
use crate::json::{Object, Value};
use crate::token::SigningKey;

/// Why a control record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("`kind` must be `control` or `admin`")]
    Kind,
    #[error("`{0}` is set by the journal")]
    Reserved(&'static str),
    #[error("`{0}` holds a number without an exact meaning")]
    Number(String),
}

/// Members that the journal alone writes.
const RESERVED: [&str; 5] = ["gateway", "hash", "id", "prev", "time"];

/// Lays out a control or admin record from the members that its author gives.
pub fn control(given: &Object, id: &str, time_ms: i64, gateway: &str) -> Result<Draft, ControlError> {
    if !matches!(given.get("kind").and_then(Value::as_str), Some("control" | "admin")) {
        return Err(ControlError::Kind);
    }
    if let Some(name) = RESERVED.into_iter().find(|name| given.get(name).is_some()) {
        return Err(ControlError::Reserved(name));
    }
    if let Some((name, _)) = given.iter().find(|(_, value)| !value.is_exact()) {
        return Err(ControlError::Number(name.to_owned()));
    }
    Ok(lay_out(given, id, time_ms, gateway))
}

/// The record of what was lost or given up: a torn line cut off at a restart, or a segment given up for a fault.
#[must_use]
pub fn recovery(segment: &str, why: &str, cut_bytes: u64, id: &str, time_ms: i64, gateway: &str) -> Draft {
    let mut members = Object::new();
    members.insert("kind", Value::from("recovery"));
    members.insert("segment", Value::from(segment));
    members.insert("why", Value::from(why));
    members.insert("cut_bytes", Value::from(i64::try_from(cut_bytes).unwrap_or(i64::MAX)));
    lay_out(&members, id, time_ms, gateway)
}

/// A signed statement of how many records there are before it and what the last one's hash is.
///
/// Kept elsewhere, it shows that a chain which ends or differs before it was cut or made anew.
#[must_use]
pub fn checkpoint(chain: &Chain, key: &SigningKey, id: &str, time_ms: i64, gateway: &str) -> Draft {
    let mut said = Lines::new(256);
    said.number("count", Some(chain.count));
    said.text("gateway", Some(gateway));
    said.text("prev", Some(chain.last_text()));
    let payload = said.into_object();
    let mut members = Object::new();
    members.insert("kind", Value::from("checkpoint"));
    members.insert("count", Value::from(i64::try_from(chain.count).unwrap_or(i64::MAX)));
    members.insert("jws", Value::from(key.sign_checkpoint(&payload)));
    lay_out(&members, id, time_ms, gateway)
}

fn lay_out(given: &Object, id: &str, time_ms: i64, gateway: &str) -> Draft {
    let mut members: Vec<(&str, Option<&Value>)> = given.iter().map(|(name, value)| (name, Some(value))).collect();
    members.extend(RESERVED.map(|name| (name, None)));
    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    let mut line = Lines::new(512);
    for (name, value) in members {
        match (name, value) {
            (name, Some(value)) => {
                crate::json::write_str(name, &mut line.out);
                line.out.push(b':');
                crate::json::canonical(value, &mut line.out);
                line.out.push(b',');
            }
            ("hash", None) => line.hash(),
            ("prev", None) => line.prev(),
            ("time", None) => line.time(time_ms),
            ("gateway", None) => line.text("gateway", Some(gateway)),
            (_, None) => line.text("id", Some(id)),
        }
    }
    line.finish()
}
