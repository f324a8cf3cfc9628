//! The grammar of single lines: request line and field line, with no freedom left in them.

use super::super::framing::Framing;
use super::super::value::trim_bytes;
use super::super::{Reason, Refusal, target};
use super::REFUSED;

/// The longest method. Those of the IANA registry have at most 17 letters.
const METHOD_BYTES: usize = 32;

/// The bytes of a token (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "`at` stays below 256")]
        let byte = at as u8;
        let mark = matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        #[expect(clippy::indexing_slicing, reason = "a constant, computed when this is compiled")]
        {
            table[at] = mark || byte.is_ascii_alphanumeric();
        }
        at += 1;
    }
    table
};

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| TOKEN.get(usize::from(*byte)).copied().unwrap_or(false))
}

/// Visible characters, spaces, tabs, and the bytes above ASCII that RFC 9110 section 5.5 calls obs-text: what those
/// mean is for the reader of the field.
#[expect(clippy::needless_bitwise_bool, reason = "branches would keep it from looking at many bytes at once")]
fn is_value(text: &[u8]) -> bool {
    text.iter().fold(true, |sound, byte| sound & ((*byte >= b' ' && *byte != 0x7f) | (*byte == b'\t')))
}

fn refused<T>(message: &str) -> Result<T, Refusal> {
    Err(Refusal::new(Reason::Header, message))
}

/// Judges `METHOD SP target SP HTTP/1.1` (RFC 9112 section 3) and gives method and target.
pub(super) fn request(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(goal), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return refused("The request line must be a method, a target and `HTTP/1.1`, with one space between.");
    };
    if version != b"HTTP/1.1" {
        let mut refusal = Refusal::new(Reason::Header, "Only HTTP/1.1 is spoken on this connection.");
        if version.starts_with(b"HTTP/") {
            refusal.status = 505;
        }
        return Err(refusal);
    }
    if !is_token(method) || method.len() > METHOD_BYTES || method == REFUSED.as_bytes() {
        return refused("The method is not one.");
    }
    if !target::is_origin_form(goal) {
        return refused("The target must be a path on this host, beginning with `/`, in the characters of a URL.");
    }
    Ok((method, goal))
}

/// Judges `name ":" OWS value OWS` (RFC 9112 section 5) and gives name and value.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return refused("A header line must not be folded.");
    }
    let Some((name, value)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon)) else {
        return refused("A header line must have a name and a colon.");
    };
    if !is_token(name) {
        return refused("A header name must be a token, followed by its colon at once.");
    }
    let value = value.get(1..).unwrap_or_default();
    if !is_value(value) {
        return refused("A header value holds control characters.");
    }
    Ok((name, trim_bytes(value)))
}

/// Takes what a field says of the framing of its message.
pub(super) fn frame(framing: &mut Framing, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
    match name.len() {
        14 if name.eq_ignore_ascii_case(b"content-length") => framing.length(value),
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => framing.coding(value),
        6 if name.eq_ignore_ascii_case(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") => {
            // RFC 9110 section 10.1.1.
            let mut refusal = Refusal::new(Reason::Header, "The only expectation that is met is `100-continue`.");
            refusal.status = 417;
            Err(refusal)
        }
        _ => Ok(()),
    }
}
