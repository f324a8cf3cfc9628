//! Resource URIs with one reading (RFC 3986), and templates of them (RFC 6570).
//!
//! Rules compare a URI as text, and servers resolve it. So that both mean the same resource, a URI is taken only in
//! its normal form (RFC 3986 section 6.2.2); another spelling of it is refused, never rewritten.

/// The longest resource URI, in bytes.
const URI_BYTES: usize = 2_048;

/// Schemes whose host is compared without regard to case, so that it has to be written in lower case.
const HOSTS_FOLD: [&str; 6] = ["http", "https", "file", "ftp", "ws", "wss"];

/// Whether `uri` is an absolute URI in normal form: visible ASCII, a scheme in lower case, percent-encoding in upper
/// case and only where it is needed, and nowhere a dot segment, a backslash or an encoded separator that a server could
/// decode into one.
#[must_use]
pub fn is_normal(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    uri.len() <= URI_BYTES
        && is_scheme(scheme)
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte))
        && is_host_normal(scheme, rest)
        && percent_is_normal(rest)
        && !has_dot_segment(rest)
}

/// Whether `template` is a URI template whose literal parts could stand in a normal URI.
#[must_use]
pub fn is_template(template: &str) -> bool {
    // An expression stands for one name: what a caller asks for is judged once it is expanded.
    let mut literal = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((expression, behind)) = after.split_once('}') else { return false };
        if expression.is_empty() || !expression.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'{') {
            return false;
        }
        literal.push_str(before);
        literal.push('x');
        rest = behind;
    }
    literal.push_str(rest);
    is_normal(&literal)
}

/// The template with `value` in place of the expression that names `variable` alone (RFC 6570 section 3.2); other
/// expressions stay. `None` if no expression names it alone. What cannot stand in a URI is percent-encoded, and behind `+` or `#` reserved characters are not.
#[must_use]
pub fn expand(template: &str, variable: &str, value: &str) -> Option<String> {
    let mut placed = false;
    let mut out = String::with_capacity(template.len() + value.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((expression, behind)) = after.split_once('}') else { break };
        let (operator, name) = match expression.chars().next() {
            Some(first) if "+#./;?&".contains(first) => expression.split_at(1),
            _ => ("", expression),
        };
        if name.trim_end_matches('*').split(':').next() == Some(variable) {
            placed = true;
            out.push_str(match operator {
                "+" => "",
                other => other,
            });
            if matches!(operator, ";" | "?" | "&") {
                out.push_str(variable);
                out.push('=');
            }
            encode(value, matches!(operator, "+" | "#"), &mut out);
        } else {
            out.push('{');
            out.push_str(expression);
            out.push('}');
        }
        rest = behind;
    }
    out.push_str(rest);
    placed.then_some(out)
}

fn encode(value: &str, reserved: bool, out: &mut String) {
    use std::fmt::Write;
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (reserved && b":/?#[]@!$&'()*+,;=".contains(&byte)) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

/// No user information, and for the schemes of the web no upper case.
fn is_host_normal(scheme: &str, rest: &str) -> bool {
    let Some(authority) = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default())
    else {
        return true;
    };
    let folds = HOSTS_FOLD.contains(&scheme);
    authority.bytes().all(|byte| byte != b'@' && !(folds && (byte.is_ascii_uppercase() || byte == b'%')))
}

/// RFC 3986 section 6.2.2.1 and 6.2.2.2: two digits in upper case, and never for a character that needs no encoding.
/// An encoded percent sign, slash or backslash is refused too: decoded once more than meant, it means something else.
fn percent_is_normal(rest: &str) -> bool {
    rest.split('%').skip(1).all(|part| {
        let upper = |digit: &u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(digit);
        let Some(digits) = part.get(..2).filter(|digits| digits.as_bytes().iter().all(upper)) else { return false };
        u8::from_str_radix(digits, 16)
            .is_ok_and(|byte| !(byte.is_ascii_alphanumeric() || b"-._~%/\\".contains(&byte) || byte.is_ascii_control()))
    })
}

fn has_dot_segment(rest: &str) -> bool {
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_has_one_spelling() {
        for good in [
            "test://static-text",
            "file:///safe/a.txt",
            "notes://Alice/My-Note_1",
            "https://example.com/a%20b?q=1&r=x%C3%A9#part",
            "urn:isbn:0451450523",
            "memo://insights",
            "ui://widget/index.html",
            "data://x/..hidden/a..b/...",
            "test://a//b",
            "https://[2001:db8::1]:8443/x",
            "x:y",
        ] {
            assert!(is_normal(good), "{good}");
        }
        for bad in [
            "",
            "no-scheme",
            ":x",
            "x:",
            "FILE:///etc/passwd",
            "file:///safe/../etc/passwd",
            "file:///safe/..",
            "file:///safe/./x",
            "file:///safe/..;x/etc",
            "file:///safe/%2e%2e/etc",
            "file:///safe/%2E%2E/etc",
            "file:///safe%2F..%2Fetc",
            "file:///safe%2fx",
            "file:///safe%5Cx",
            "file:///safe\\..\\etc",
            "file:///safe/%252e%252e/etc",
            "file:///safe/%61",
            "file:///safe/%c3%a9",
            "file:///safe/%",
            "file:///safe/%4",
            "file:///safe/%00",
            "https://Example.com/",
            "https://user@example.com/",
            "https://exam%70le.com/",
            "file:///saf\u{e9}",
            "file:///a b",
            "file:///a\n",
            "file:///a{b}",
            "1x:y",
            "..:x",
        ] {
            assert!(!is_normal(bad), "{bad}");
        }
        assert!(!is_normal(&format!("x:{}", "y".repeat(URI_BYTES))));
    }

    #[test]
    fn a_template_is_expanded_by_one_name() {
        for (template, value, expanded) in [
            ("test://{id}/data", "7", "test://7/data"),
            ("file:///{+path}", "a/b c", "file:///a/b%20c"),
            ("file:///{id}/{path}", "../x", "file:///..%2Fx/{path}"),
            ("https://e.com/x{?id}", "a&b", "https://e.com/x?id=a%26b"),
            ("https://e.com{/id}", "é", "https://e.com/%C3%A9"),
        ] {
            let variable = if template.contains("{+path}") { "path" } else { "id" };
            assert_eq!(expand(template, variable, value).as_deref(), Some(expanded));
        }
        assert_eq!(expand("file:///{path}", "id", "a/b"), None);
        assert_eq!(expand("file:///{+dir,id}", "id", "a/b"), None);
    }

    #[test]
    fn a_template_is_a_uri_with_names_in_it() {
        for good in ["test://template/{id}/data", "file:///{+path}", "x:{a}{b}", "https://e.com/x{?q,r*}"] {
            assert!(is_template(good), "{good}");
        }
        for bad in ["test://{", "test://{}", "test://a}", "FILE:///{x}", "{scheme}://x/../y", "test://{a{b}}", "nope"] {
            assert!(!is_template(bad), "{bad}");
        }
    }
}
