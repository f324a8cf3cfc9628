//! The canonical form of RFC 8785, which digests and approvals are made over.

use std::cmp::Ordering;

use super::value::{Object, Value};
use super::write::write_str;
use super::{Number, write};

/// Appends the RFC 8785 form of `value`: keys in UTF-16 order, numbers as ECMAScript prints them, no white space.
///
/// A number that is not exact ([`Number::is_exact`]) has no such form that means the same; it keeps its source
/// text, so that no two values ever share a form. Arguments with such numbers are refused before this matters.
pub fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => canonical_number(number, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => canonical_object(object, out),
        Value::Null | Value::Bool(_) | Value::String(_) => write(value, out),
    }
}

/// The same for an object that is not wrapped in a [`Value`].
pub fn canonical_object(object: &Object, out: &mut Vec<u8>) {
    let mut members: Vec<(&str, &Value)> = object.iter().collect();
    members.sort_unstable_by(|(left, _), (right, _)| utf16_order(left, right));
    out.push(b'{');
    for (at, (key, member)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_str(key, out);
        out.push(b':');
        canonical(member, out);
    }
    out.push(b'}');
}

fn canonical_number(number: &Number, out: &mut Vec<u8>) {
    match number.canonical_double() {
        _ if number.short_integer() => out.extend_from_slice(number.as_str().as_bytes()),
        Some(double) => out.extend_from_slice(ryu_js::Buffer::new().format_finite(double).as_bytes()),
        None => out.extend_from_slice(number.as_str().as_bytes()),
    }
}

/// RFC 8785 section 3.2.3: keys are ordered by their UTF-16 code units, not by code point.
fn utf16_order(left: &str, right: &str) -> Ordering {
    if left.is_ascii() && right.is_ascii() { left.cmp(right) } else { left.encode_utf16().cmp(right.encode_utf16()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, parse};

    fn form(text: &str) -> String {
        let mut out = Vec::new();
        canonical(&parse(text.as_bytes(), &Limits::DEFAULT).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_8785_hold() {
        // Section 3.2.2, with 333333333.33333329 in the shortest form that reads as the same double: the RFC's own
        // spelling has excess digits, which this module keeps rather than rounds.
        assert_eq!(
            form(
                r#"{"numbers":[333333333.3333333,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#
            ),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        // Section 3.2.3.
        assert_eq!(
            form(r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn numbers_of_one_value_have_one_form() {
        for (text, expected) in [
            ("1.0", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e3", "1000"),
            ("100e-2", "1"),
            ("1E-7", "1e-7"),
            ("0.0000010", "0.000001"),
            ("5e-324", "5e-324"),
            ("1e999", "1e999"),
            ("9007199254740993", "9007199254740993"),
            ("0e999", "0"),
        ] {
            assert_eq!(form(text), expected);
        }
    }
}
