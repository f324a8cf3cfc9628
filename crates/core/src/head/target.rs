//! The request target: origin form, with one reading.

use super::{Reason, Refusal};

/// Where MCP endpoints live.
pub(super) const MCP: &str = "/mcp/";

/// Whether `target` is a path on this host, with or without a query, in nothing but the characters of a URL (RFC 3986
/// sections 3.3 and 3.4).
pub(super) fn is_origin_form(target: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(byte);
    target.first() == Some(&b'/') && target.iter().all(plain)
}

/// Splits an origin-form target (RFC 9112 section 3.2.1) into path and query.
///
/// No route here needs percent-encoding, dot segments, backslashes or empty segments, and each is a way to have a
/// path judged as one thing and served as another; so they are refused rather than normalised.
pub(super) fn read(target: &str) -> Result<(&str, Option<&str>), Refusal> {
    let refused = |message| Err(Refusal::new(Reason::Header, message));
    if !target.starts_with('/') {
        return refused("The target must be a path on this host, beginning with `/`.");
    }
    if !is_origin_form(target.as_bytes()) {
        return refused("The target holds characters that no path or query has.");
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if path.contains('%') || path.contains("//") || path.split('/').any(|part| matches!(part, "." | "..")) {
        return refused("The path must be in its plain form: no encoding, no empty or dot segments.");
    }
    if query.is_some() && path.starts_with(MCP) {
        return refused("An MCP endpoint takes no query; tokens travel in `Authorization`.");
    }
    Ok((path, query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_reading_or_none() {
        assert_eq!(read("/mcp/notes").unwrap(), ("/mcp/notes", None));
        assert_eq!(read("/.well-known/jwks.json?x=%20").unwrap(), ("/.well-known/jwks.json", Some("x=%20")));
        for bad in [
            "",
            "*",
            "mcp/notes",
            "http://127.0.0.1/mcp/notes",
            "host:443",
            "//mcp/notes",
            "/mcp//notes",
            "/mcp/./notes",
            "/mcp/../admin",
            "/mcp/..",
            "/mcp/%6eotes",
            "/mcp%2fnotes",
            "/mcp/%252e",
            "/mcp\\notes",
            "/mcp/notes#x",
            "/mcp/notes?",
            "/mcp/notes?access_token=x",
            "/mcp/no tes",
            "/mcp/nötes",
            "/mcp/notes\0",
        ] {
            assert_eq!(read(bad).map_err(|refusal| refusal.status), Err(400), "{bad}");
        }
    }
}
