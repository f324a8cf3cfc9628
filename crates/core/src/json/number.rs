//! Numbers as they were written, and their exact decimal value.

use std::cmp::Ordering;

use super::parse::JsonErrorKind;

/// The largest exponent that is read, either way. RFC 8259 section 6 lets an implementation set a range; this one
/// keeps exact comparison in plain integers, and is far outside what a double can hold.
const EXPONENT_DIGITS: usize = 6;

/// The largest whole number that every reader of I-JSON agrees on (RFC 7493 section 2.2): 2^53 - 1.
const SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// A number as it was written (RFC 8259 section 6), never rounded. Equality is that of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// The source text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that `text` spells, if all of it is one number of RFC 8259 in the range that we read.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        (scan(text.as_bytes()) == Ok(text.len())).then(|| Self(text.to_owned()))
    }

    /// A number whose text the parser has just scanned.
    pub(super) fn from_scanned(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// A whole number.
    #[must_use]
    pub fn from_i64(value: i64) -> Self {
        Self(value.to_string())
    }

    /// Whether the text's exact value is that of its RFC 8785 form, and whole numbers stay within ±(2^53 - 1).
    ///
    /// Only such a number is one and the same to every reader, whether it keeps digits or rounds to a double.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.short_integer() || self.canonical_double().is_some()
    }

    /// Whether a double can hold it at all: readers make infinity, null or an error of what is larger.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.short_integer() || self.0.parse().is_ok_and(f64::is_finite)
    }

    /// Whether the text is a plain whole number of at most 15 digits, which nobody rounds. `-0` is not.
    pub(super) fn short_integer(&self) -> bool {
        let digits = self.0.strip_prefix('-').unwrap_or(&self.0);
        digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit()) && self.0 != "-0"
    }

    /// The double whose RFC 8785 form has exactly this value, if there is one.
    pub(super) fn canonical_double(&self) -> Option<f64> {
        let double: f64 = self.0.parse().ok()?;
        // No double beyond 2^53 has a fraction, so one bound serves whole numbers and all others.
        if !double.is_finite() || double.abs() > SAFE_INTEGER {
            return None;
        }
        let mut buffer = ryu_js::Buffer::new();
        let form = buffer.format_finite(double);
        (Decimal::read(form).cmp(&Decimal::read(&self.0)) == Ordering::Equal).then_some(double)
    }

    /// Compares by exact decimal value: `1.0` is `1`, and no digit is lost. The work is bounded by the texts' lengths.
    #[must_use]
    pub fn cmp_exact(&self, other: &Self) -> Ordering {
        Decimal::read(&self.0).cmp(&Decimal::read(&other.0))
    }

    /// The value as an `i64`, if it is a whole number in that range however it was written (`1.0`, `1e3`).
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Ok(value) = self.0.parse() {
            return Some(value);
        }
        Decimal::read(&self.0).to_i64()
    }
}

/// The length of the number that `bytes` begins with (RFC 8259 section 6).
pub(super) fn scan(bytes: &[u8]) -> Result<usize, JsonErrorKind> {
    let digits =
        |from: usize| bytes.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += match (bytes.get(at), digits(at)) {
        (_, 0) | (Some(b'0'), 2..) => return Err(JsonErrorKind::Number),
        (_, count) => count,
    };
    if bytes.get(at) == Some(&b'.') {
        let count = digits(at + 1);
        if count == 0 {
            return Err(JsonErrorKind::Number);
        }
        at += 1 + count;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let count = digits(at);
        if count == 0 {
            return Err(JsonErrorKind::Number);
        }
        let exponent = bytes.get(at..at + count).unwrap_or_default();
        if exponent.iter().skip_while(|byte| **byte == b'0').count() > EXPONENT_DIGITS {
            return Err(JsonErrorKind::NumberRange);
        }
        at += count;
    }
    Ok(at)
}

/// The exact value 0.`digits` × 10^`point`, read from a text that was scanned before.
struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// How many leading zeros `whole` and `fraction` have together; not significant.
    zeros: usize,
    point: i64,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (whole, fraction) = (whole.as_bytes(), fraction.as_bytes());
        let zeros = whole.iter().chain(fraction).take_while(|digit| **digit == b'0').count();
        // `scan` bounds the exponent, so this never fails.
        let exponent: i64 = exponent.parse().unwrap_or(0);
        let point = exponent.saturating_add_unsigned(whole.len() as u64).saturating_sub_unsigned(zeros as u64);
        Self { negative, whole, fraction, zeros, point }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).skip(self.zeros).copied()
    }

    fn is_zero(&self) -> bool {
        self.zeros == self.whole.len() + self.fraction.len()
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |value: &Self| if value.is_zero() { 0 } else { 1 - 2 * i8::from(value.negative) };
        let (left, right) = (sign(self), sign(other));
        match left.cmp(&right) {
            Ordering::Equal if left == 0 => Ordering::Equal,
            Ordering::Equal if left < 0 => other.cmp_magnitude(self),
            Ordering::Equal => self.cmp_magnitude(other),
            unequal => unequal,
        }
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        let points = self.point.cmp(&other.point);
        if points != Ordering::Equal {
            return points;
        }
        let (mut left, mut right) = (self.digits(), other.digits());
        loop {
            match (left.next(), right.next()) {
                (None, None) => return Ordering::Equal,
                (a, b) => match a.unwrap_or(b'0').cmp(&b.unwrap_or(b'0')) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
            }
        }
    }

    fn to_i64(&self) -> Option<i64> {
        if self.is_zero() {
            return Some(0);
        }
        // An i64 has at most 19 digits, all before the point.
        let point = usize::try_from(self.point).ok().filter(|point| (1..=19).contains(point))?;
        if self.digits().skip(point).any(|digit| digit != b'0') {
            return None;
        }
        let magnitude = self
            .digits()
            .chain(std::iter::repeat(b'0'))
            .take(point)
            .fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::from_text(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn the_grammar_is_that_of_rfc_8259() {
        for good in
            ["0", "-0", "1", "-1.5", "0.10", "1e5", "1E+5", "1e-05", "0e999999", "123456789012345678901234567890"]
        {
            assert_eq!(number(good).as_str(), good);
        }
        for bad in [
            "",
            "-",
            "+1",
            "01",
            "-01",
            ".5",
            "1.",
            "1.e5",
            "1e",
            "1e+",
            "1 ",
            " 1",
            "0x10",
            "NaN",
            "Infinity",
            "1e1000000",
            "1_0",
            "１",
        ] {
            assert_eq!(Number::from_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn comparison_is_by_exact_value() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, order) in [
            ("1", "1.0", Equal),
            ("1e3", "1000.00", Equal),
            ("0", "-0e5", Equal),
            ("0.1", "1e-1", Equal),
            ("1e999", "1e998", Greater),
            ("10e998", "1e999", Equal),
            ("9007199254740993", "9007199254740992", Greater),
            ("0.10000000000000000000000000000001", "0.1", Greater),
            ("-2", "-1", Less),
            ("-1e999999", "1e-999999", Less),
            ("1e-999999", "0", Greater),
            ("0.00123", "1.23e-3", Equal),
            ("120", "12", Greater),
        ] {
            assert_eq!(number(left).cmp_exact(&number(right)), order, "{left} {right}");
            assert_eq!(number(right).cmp_exact(&number(left)), order.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn exact_numbers_are_those_that_nobody_rounds() {
        for exact in [
            "0",
            "-0",
            "1.0",
            "0.1",
            "1e3",
            "9007199254740991",
            "-9007199254740991",
            "5e-324",
            "0e999",
            "1.5e-7",
            "0.10",
        ] {
            assert!(number(exact).is_exact(), "{exact}");
        }
        for inexact in [
            "9007199254740992",
            "9007199254740993",
            "-9007199254740992",
            "1e999",
            "1e21",
            "1e-400",
            "0.10000000000000001",
            "3.14159265358979323846264338327950288",
            "1e16",
        ] {
            assert!(!number(inexact).is_exact(), "{inexact}");
        }
    }

    #[test]
    fn whole_values_are_read_however_written() {
        for (text, value) in [
            ("7", Some(7)),
            ("-0", Some(0)),
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("12.50e1", Some(125)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775808.0", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1.5", None),
            ("1e19", None),
            ("1e-1", None),
            ("1e999999", None),
        ] {
            assert_eq!(number(text).as_i64(), value, "{text}");
        }
    }
}
