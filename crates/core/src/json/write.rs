//! Writes a value anew, with its number text and key order.

use super::scan::plain_len;
use super::value::{Object, Value};

/// Appends `value` as compact JSON. Reading it again gives the same value.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
        Value::String(text) => write_str(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(object, out),
    }
}

/// Appends an object as [`write`] does.
pub fn write_object(object: &Object, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (key, member)) in object.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_str(key, out);
        out.push(b':');
        write(member, out);
    }
    out.push(b'}');
}

/// Appends `text` as a JSON string with the escapes of RFC 8785 section 3.2.2.2: as few as there can be.
pub fn write_str(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((byte, tail)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = tail;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, parse};

    #[test]
    fn number_text_and_key_order_are_kept() {
        let text = br#"{"z":1.0,"a":[1e2,-0,123456789012345678901234567890,null,true,false,{}],"":""}"#;
        let mut out = Vec::new();
        write(&parse(text, &Limits::DEFAULT).unwrap(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(text));
    }

    #[test]
    fn strings_are_escaped_as_rfc_8785_says() {
        let mut out = Vec::new();
        write_str("\u{0}\u{8}\t\n\u{c}\r\u{1f}\"\\/\u{7f}é\u{2028}😀", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "\"\\u0000\\b\\t\\n\\f\\r\\u001f\\\"\\\\/\u{7f}é\u{2028}😀\"");
    }
}
