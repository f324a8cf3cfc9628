//! How MCP carries a text in a header field (2026-07-28, Streamable HTTP, Value Encoding).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// Takes away the white space that surrounds a field value (RFC 9110 section 5.5).
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The same for bytes.
pub(super) fn trim_bytes(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    text.get(begin..end).unwrap_or_default()
}

/// `text` if it is not empty and all of it is visible.
pub(super) fn visible(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
}

/// Reads a field value: plain, or UTF-8 in base64 between `=?base64?` and `?=`.
///
/// The markers count only exactly as written, and the base64 only in its canonical form, so a value has one
/// spelling. A value is decoded once.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    match sentinel(text) {
        Some(payload) => {
            // The standard engine demands padding and refuses spare bits, so what decodes is canonical.
            String::from_utf8(STANDARD.decode(payload).ok()?).ok()
        }
        None => text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')).then(|| text.to_owned()),
    }
}

/// Writes a text as a field value, plain where it would be read back as it is.
#[must_use]
pub fn encode(text: &str) -> String {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain && trim(text) == text && sentinel(text).is_none() {
        return text.to_owned();
    }
    let mut out = String::from(OPEN);
    STANDARD.encode_string(text, &mut out);
    out.push_str(CLOSE);
    out
}

/// What stands between the markers, if both are there and do not overlap.
fn sentinel(text: &str) -> Option<&str> {
    text.strip_prefix(OPEN)?.strip_suffix(CLOSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_hold() {
        for (plain, field) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(plain), field);
            assert_eq!(decode(field).as_deref(), Some(plain));
        }
    }

    #[test]
    fn only_the_exact_markers_and_canonical_base64_are_decoded() {
        assert_eq!(decode("=?BASE64?YQ==?=").as_deref(), Some("=?BASE64?YQ==?="));
        assert_eq!(decode("=?base64?YQ==").as_deref(), Some("=?base64?YQ=="));
        assert_eq!(decode("=?base64?=").as_deref(), Some("=?base64?="));
        for bad in [
            "=?base64?YQ?=",
            "=?base64?YR==?=",
            "=?base64?Y Q==?=",
            "=?base64?_-==?=",
            "=?base64?/w==?=",
            "a\u{7f}",
            "é",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        // Encoded twice is the encoded text, not the text: decoding happens once.
        assert_eq!(decode(&encode(&encode("é"))).as_deref(), Some(encode("é").as_str()));
    }
}
