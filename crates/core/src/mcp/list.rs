//! What a client is shown of a server: the tools that it could be allowed, and the parts that are served.

use std::collections::BTreeSet;

use super::era::VERSIONS;
use super::read::is_tool_name;
use super::{Era, UpstreamFault};
use crate::json::{Object, Value};

/// Leaves the tools for which `keep` says yes in a `tools/list` result, in order, with `nextCursor` as it was.
///
/// Items without a name that could be called are dropped, and so are a second one of the same name and one that would
/// have its arguments sent in fields they have no business in ([`mirrors_safely`]). In the stateless
/// era the result becomes private to this caller (2026-07-28, Caching: a list that varies by authorization). Gives
/// the number of items dropped.
///
/// # Errors
/// [`UpstreamFault::ResultShape`] if `tools` is not an array: what cannot be filtered is not shown.
pub fn filter_tools(result: &mut Object, mut keep: impl FnMut(&str) -> bool, era: Era) -> Result<usize, UpstreamFault> {
    let Some(Value::Array(tools)) = result.get_mut("tools") else { return Err(UpstreamFault::ResultShape) };
    let before = tools.len();
    let mut seen = BTreeSet::new();
    tools.retain(|tool| match tool.get("name") {
        Some(Value::String(name)) => {
            let safe = tool.get("inputSchema").is_none_or(|schema| mirrors_safely(schema, &mut BTreeSet::new()));
            is_tool_name(name) && keep(name) && safe && seen.insert(name.clone())
        }
        _ => false,
    });
    let dropped = before - tools.len();
    if era == Era::Stateless {
        result.insert("cacheScope", "private".into());
    }
    Ok(dropped)
}

/// Whether each `x-mcp-header` in a schema is a field-name token that occurs once (2026-07-28, Streamable HTTP, Schema
/// Extension) and is not the name of a field that routes, frames or authenticates.
///
/// A client makes header fields of these names from arguments: a line end in one would inject fields.
fn mirrors_safely(schema: &Value, seen: &mut BTreeSet<String>) -> bool {
    const NEVER: [&str; 7] =
        ["authorization", "proxy-authorization", "cookie", "host", "connection", "content-length", "transfer-encoding"];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match schema {
        Value::Object(members) => members.iter().all(|(key, member)| match (key, member) {
            ("x-mcp-header", Value::String(name)) => {
                let name = name.to_ascii_lowercase();
                !name.is_empty() && name.bytes().all(token) && !NEVER.contains(&name.as_str()) && seen.insert(name)
            }
            ("x-mcp-header", _) => false,
            // A property may bear that name; its schema is looked at like any other.
            ("properties", Value::Object(properties)) => {
                properties.iter().all(|(_, property)| mirrors_safely(property, seen))
            }
            _ => mirrors_safely(member, seen),
        }),
        Value::Array(items) => items.iter().all(|item| mirrors_safely(item, seen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Leaves, in an `initialize` or `server/discover` result, the capabilities and versions that are served here, so
/// that no client is invited to call what would be refused.
///
/// # Errors
/// [`UpstreamFault::ResultShape`] for capabilities that are no object, or a session of a version that is not served:
/// its client could not send another message.
pub fn filter_capabilities(result: &mut Object, era: Era) -> Result<(), UpstreamFault> {
    match result.get_mut("capabilities") {
        Some(Value::Object(capabilities)) => {
            // Log messages come by request in the stateless era, on that request's own stream.
            capabilities.retain(|name, _| name == "tools" || (era == Era::Stateless && name == "logging"));
        }
        Some(_) => return Err(UpstreamFault::ResultShape),
        None => {}
    }
    let version = result.get("protocolVersion").map(|version| version.as_str().and_then(Era::of_version));
    if era == Era::Session && version.is_some_and(|version| version != Some(Era::Session)) {
        return Err(UpstreamFault::ResultShape);
    }
    if let Some(Value::Array(versions)) = result.get_mut("supportedVersions") {
        versions.retain(|version| VERSIONS.iter().any(|(known, _)| version.as_str() == Some(known)));
    }
    if era == Era::Stateless {
        result.insert("cacheScope", "private".into());
    }
    Ok(())
}
