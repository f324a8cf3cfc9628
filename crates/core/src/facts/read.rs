//! Facts from JSON, strictly: an unknown member is an error, so that a misspelt fact is never a missing one.

use std::sync::Arc;

use jiff::Timestamp;

use super::method::Method;
use super::{Actor, Class, Facts, FactsError, Principal, PrincipalType, Request, Token};
use crate::fields::{Fault, Fields, join};
use crate::json::{Object, Value};
use crate::snapshot::Snapshot;

impl From<Fault> for FactsError {
    fn from(fault: Fault) -> Self {
        Self { path: fault.path, message: fault.message }
    }
}

impl Facts {
    /// Reads the Facts JSON of the reference documentation.
    ///
    /// With a Snapshot, `principal.id` and `agent.id` may be the key of a declared person, service or agent.
    /// Whatever later versions will read (`task`, `purpose`, `labels`, `device`, `acr`, `session_age`) is accepted and
    /// has no effect.
    ///
    /// # Errors
    /// The first member that is unknown, missing, or not of its type.
    pub fn from_json(value: &Value, snapshot: Option<&Snapshot>) -> Result<Self, FactsError> {
        Ok(read(value, snapshot)?)
    }
}

fn read(value: &Value, snapshot: Option<&Snapshot>) -> Result<Facts, Fault> {
    let mut fields = Fields::of(value, "")?;
    for later in ["task", "purpose", "labels", "device", "acr", "session_age"] {
        fields.optional(later);
    }
    let principal = principal(fields.required("principal")?, snapshot)?;
    let agent = fields.optional("agent").map(|value| actor(value, snapshot)).transpose()?;
    let act = fields.optional_texts("act")?.unwrap_or_default();
    let server = fields.text("server")?.to_owned();
    let tool = fields.optional_string("tool")?;
    let mcp_method = match fields.optional_text("mcp_method")? {
        Some(method) => method.to_owned(),
        None if tool.is_some() => "tools/call".to_owned(),
        None => return Err(fields.fault("mcp_method", "is missing, and there is no `tool` to tell it from")),
    };
    let arguments = fields.optional("arguments").map(arguments).transpose()?;
    let resource_uri = fields.optional_string("resource_uri")?;
    let prompt = fields.optional_string("prompt")?;
    let server_request = fields.optional_string("server_request")?;
    let request = fields.optional("request").map(request).transpose()?;
    let token = fields.optional("token").map(token).transpose()?;
    let class = match fields.optional_text("class")? {
        None => None,
        Some(word) => {
            Some(Class::from_word(word).ok_or_else(|| fields.fault("class", "must be read, query, update or admin"))?)
        }
    };
    let time = match fields.optional_text("time")? {
        None => None,
        Some(text) => {
            Some(seconds(text).ok_or_else(|| fields.fault("time", "must be a time of RFC 3339, offset included"))?)
        }
    };
    fields.finish()?;
    let facts = Facts {
        principal: Arc::new(principal),
        agent,
        act,
        server,
        mcp_method,
        tool,
        arguments,
        resource_uri,
        prompt,
        server_request,
        request,
        token: token.map(Arc::new),
        class,
        time,
    };
    match Method::find(&facts.mcp_method).map(|(_, method)| method.fits(&facts)) {
        Some(Err((member, why))) => Err(Fault::at(member, why)),
        Some(Ok(())) | None => Ok(facts),
    }
}

/// Whole seconds since the epoch, rounded down.
fn seconds(text: &str) -> Option<i64> {
    let instant: Timestamp = text.parse().ok()?;
    Some(instant.as_second() - i64::from(instant.subsec_nanosecond() < 0))
}

fn principal(value: &Value, snapshot: Option<&Snapshot>) -> Result<Principal, Fault> {
    let mut fields = Fields::of(value, "principal")?;
    let kind = PrincipalType::from_word(fields.text("type")?)
        .ok_or_else(|| fields.fault("type", "must be human, service or agent"))?;
    let id = full_id(kind, fields.text("id")?, snapshot).map_err(|message| fields.fault("id", message))?;
    let email = fields.optional_string("email")?;
    let groups = fields.optional("groups").cloned();
    let claims = match fields.optional("claims") {
        None => Object::new(),
        Some(value) => value.as_object().cloned().ok_or_else(|| fields.fault("claims", "must be an object"))?,
    };
    let owner = fields.optional_string("owner")?;
    fields.finish()?;
    Ok(Principal { kind, id, email, groups, claims, owner })
}

fn actor(value: &Value, snapshot: Option<&Snapshot>) -> Result<Actor, Fault> {
    let mut fields = Fields::of(value, "agent")?;
    let id = full_id(PrincipalType::Agent, fields.text("id")?, snapshot).map_err(|why| fields.fault("id", why))?;
    let owner = fields.optional_string("owner")?;
    fields.finish()?;
    Ok(Actor { id, owner })
}

/// The full id that `written` stands for: itself, or that of the declared principal with this key.
fn full_id(kind: PrincipalType, written: &str, snapshot: Option<&Snapshot>) -> Result<String, String> {
    if let Some((first, rest)) = written.split_once(':')
        && let Some(named) = PrincipalType::from_word(first)
        && rest.contains(':')
    {
        return if named == kind {
            Ok(written.to_owned())
        } else {
            Err(format!("`{written}` is not the id of a principal of type {}", kind.as_str()))
        };
    }
    let Some(snapshot) = snapshot else { return Err(format!("`{written}` is not of the form type:issuer:subject")) };
    match snapshot.id_of_key(kind, written) {
        Some(id) => Ok(id.to_owned()),
        // A partial Snapshot does not know who exists: the name stands for itself.
        None if snapshot.partial => Ok(written.to_owned()),
        None => Err(format!("`{written}` is neither of the form type:issuer:subject nor a declared {}", kind.as_str())),
    }
}

fn request(value: &Value) -> Result<Request, Fault> {
    let mut fields = Fields::of(value, "request")?;
    let request = Request {
        ip: fields.optional_string("ip")?,
        method: fields.optional_string("method")?,
        path: fields.optional_string("path")?,
        headers: fields.optional("headers").cloned(),
        origin: fields.optional_string("origin")?,
        user_agent: fields.optional_string("user_agent")?,
    };
    fields.finish()?;
    Ok(request)
}

fn token(value: &Value) -> Result<Token, Fault> {
    let mut fields = Fields::of(value, "token")?;
    let token = Token { scope: fields.optional("scope").cloned(), client_id: fields.optional_string("client_id")? };
    if fields.optional("authorization_details").is_some() {
        return Err(fields.fault("authorization_details", "is not in this version"));
    }
    fields.finish()?;
    Ok(token)
}

/// Arguments mean one thing: a number that two readers could take for different ones is refused.
fn arguments(value: &Value) -> Result<Arc<Value>, Fault> {
    if value.as_object().is_none() {
        return Err(Fault::at("arguments", "must be an object"));
    }
    exact(value, "arguments")?;
    Ok(Arc::new(value.clone()))
}

fn exact(value: &Value, path: &str) -> Result<(), Fault> {
    match value {
        Value::Number(number) if !number.is_exact() => {
            Err(Fault::at(path, format!("the number {} has no exact form (RFC 8785)", number.as_str())))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(at, item)| exact(item, &format!("{path}[{at}]")))
        }
        Value::Object(object) => object.iter().try_for_each(|(key, item)| exact(item, &join(path, key))),
    }
}
