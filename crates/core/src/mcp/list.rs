//! What a client is shown of a server: the tools that it could be allowed, and the parts that are served.

use std::collections::BTreeSet;

use super::era::VERSIONS;
use super::read::is_tool_name;
use super::{Era, UpstreamFault};
use crate::json::{Object, Value};

/// Leaves the tools for which `keep` says yes in a `tools/list` result, in order, with `nextCursor` as it was.
///
/// Items without a name that could be called are dropped, and so is a second one of the same name. In the stateless
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
        Some(Value::String(name)) => is_tool_name(name) && keep(name) && seen.insert(name.clone()),
        _ => false,
    });
    let dropped = before - tools.len();
    if era == Era::Stateless {
        result.insert("cacheScope", "private".into());
    }
    Ok(dropped)
}

/// Leaves, in an `initialize` or `server/discover` result, the capabilities and versions that are served here, so
/// that no client is invited to call what would be refused.
pub fn filter_capabilities(result: &mut Object, era: Era) {
    if let Some(Value::Object(capabilities)) = result.get_mut("capabilities") {
        // Log messages come by request in the stateless era, on that request's own stream.
        capabilities.retain(|name, _| name == "tools" || (era == Era::Stateless && name == "logging"));
    }
    if let Some(Value::Array(versions)) = result.get_mut("supportedVersions") {
        versions.retain(|version| VERSIONS.iter().any(|(known, _)| version.as_str() == Some(known)));
    }
    if era == Era::Stateless {
        result.insert("cacheScope", "private".into());
    }
}
