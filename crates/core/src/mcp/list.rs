//! What a client is shown of a server: the items that it could be allowed, and the parts that are served.

use std::collections::BTreeSet;

use super::era::VERSIONS;
use super::{Era, Listed, UpstreamFault, params, uri};
use crate::json::{Object, Value};

/// The capabilities of servers that are served. Tasks and whatever else is not known here are not offered.
const SERVED: [&str; 6] = ["tools", "prompts", "resources", "completions", "logging", "extensions"];
/// The most items of one answer that are judged one by one. Servers with more send pages.
const ITEMS: usize = 5_000;
/// The one extension that needs nothing but resources: Apps (SEP-1865).
const APPS: &str = "io.modelcontextprotocol/ui";

/// Leaves the items for which `keep` says yes in the result of a list, in order, with `nextCursor` as it was.
///
/// Items that could not be asked for under their name are dropped, and so are a second one of the same name and a tool
/// that would have its arguments sent in fields they have no business in ([`mirrors_safely`]). In the stateless
/// era the result becomes private to this caller (2026-07-28, Caching: a list that varies by authorization). Gives
/// the number of items dropped.
///
/// # Errors
/// [`UpstreamFault::ResultShape`] if there is no array of items: what cannot be filtered is not shown.
/// [`UpstreamFault::TooMany`] for a list that is too long.
pub fn filter(
    result: &mut Object,
    listed: Listed,
    mut keep: impl FnMut(&str) -> bool,
    era: Era,
) -> Result<usize, UpstreamFault> {
    let (items, name) = listed.members();
    let Some(Value::Array(items)) = result.get_mut(items) else { return Err(UpstreamFault::ResultShape) };
    check_length(items)?;
    let before = items.len();
    let mut seen = BTreeSet::new();
    items.retain(|item| match item.get(name) {
        Some(Value::String(name)) => can_be_asked_for(listed, name, item) && seen.insert(name.clone()) && keep(name),
        _ => false,
    });
    let dropped = before - items.len();
    if era == Era::Stateless {
        make_private(result);
    }
    Ok(dropped)
}

/// Whether a list is short enough to be judged item by item while others wait.
///
/// # Errors
/// [`UpstreamFault::TooMany`] for a longer one.
pub fn check_length(items: &[Value]) -> Result<(), UpstreamFault> {
    if items.len() > ITEMS { Err(UpstreamFault::TooMany) } else { Ok(()) }
}

fn can_be_asked_for(listed: Listed, name: &str, item: &Value) -> bool {
    match listed {
        Listed::Tools => {
            let safe = item.get("inputSchema").is_none_or(|schema| mirrors_safely(schema, &mut BTreeSet::new()));
            params::is_tool_name(name) && safe
        }
        Listed::Prompts => params::is_prompt_name(name),
        Listed::Resources => uri::is_normal(name),
        Listed::Templates => uri::is_template(name) || uri::is_normal(name),
    }
}

/// Says that nobody else may be given this result from a cache (2026-07-28, Caching).
pub fn make_private(result: &mut Object) {
    result.insert("cacheScope", "private".into());
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
            capabilities.retain(|name, _| SERVED.contains(&name));
            if let Some(Value::Object(extensions)) = capabilities.get_mut("extensions") {
                extensions.retain(|name, _| name == APPS);
            }
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
        make_private(result);
    }
    Ok(())
}
