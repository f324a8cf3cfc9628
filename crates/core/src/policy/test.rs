//! What a matcher says of one value: yes, no, or that the value is nothing it can judge.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use regex::Regex;
use url::Url;

use crate::json::{Number, Value};

/// One matcher with its operand, positive: `not` is a negated [`Test::Is`].
#[derive(Debug)]
pub(crate) enum Test {
    /// `accept`, `reject`, `authenticated_user`, `autonomous`: the fact is itself a truth.
    Holds,
    /// Equal to one of them.
    Is(Operands),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    Matches(Regex),
    /// Equal to this canonical path, or below it.
    Under(String),
    /// A URL of this canonical host.
    Host(String),
    /// An exact decimal comparison.
    Order(Order, Number),
    /// The list has this element.
    Has(Value),
    /// The list is this one element.
    Sole(Value),
    Cidr(Vec<IpNet>),
    /// From this second of the day on (`true`), or before it.
    DayTime(bool, Time),
    /// From this instant on (`true`), or before it.
    Instant(bool, i64),
}

/// How two numbers are to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Lt,
    Lte,
    Gt,
    Gte,
}

/// Scalars to be equal to; texts are sorted for large lists.
#[derive(Debug)]
pub(crate) struct Operands {
    texts: Vec<String>,
    others: Vec<Value>,
}

impl Operands {
    /// The operands of `is` or `in`, if all are scalars.
    pub fn new(values: &[Value]) -> Option<Self> {
        let mut texts = Vec::new();
        let mut others = Vec::new();
        for value in values {
            match value {
                Value::String(text) => texts.push(text.clone()),
                Value::Null | Value::Bool(_) | Value::Number(_) => others.push(value.clone()),
                Value::Array(_) | Value::Object(_) => return None,
            }
        }
        texts.sort_unstable();
        texts.dedup();
        Some(Self { texts, others })
    }

    /// The texts, sorted.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The texts, if there is nothing else.
    pub fn only_texts(&self) -> Option<&[String]> {
        (self.others.is_empty() && !self.texts.is_empty()).then_some(self.texts.as_slice())
    }

    fn text(&self, text: &str) -> Option<bool> {
        // Without a text among the operands, a text is of the wrong type.
        (!self.texts.is_empty()).then(|| self.texts.binary_search_by(|operand| operand.as_str().cmp(text)).is_ok())
    }

    fn scalar(&self, value: &Value) -> Option<bool> {
        if let Value::String(text) = value {
            return self.text(text);
        }
        let mut known = None;
        for operand in &self.others {
            match equal(operand, value) {
                Some(true) => return Some(true),
                Some(false) => known = Some(false),
                None => {}
            }
        }
        known
    }
}

/// Whether two scalars are equal; `None` if they are of different types.
fn equal(left: &Value, right: &Value) -> Option<bool> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(true),
        (Value::Bool(left), Value::Bool(right)) => Some(left == right),
        (Value::Number(left), Value::Number(right)) => Some(left.cmp_exact(right).is_eq()),
        (Value::String(left), Value::String(right)) => Some(left == right),
        _ => None,
    }
}

impl Test {
    /// What it says of a text; `None` is the wrong type, or a text that it cannot judge.
    pub fn text(&self, text: &str) -> Option<bool> {
        match self {
            Self::Is(operands) => operands.text(text),
            Self::Contains(part) => Some(text.contains(part.as_str())),
            Self::StartsWith(start) => Some(text.starts_with(start.as_str())),
            Self::EndsWith(end) => Some(text.ends_with(end.as_str())),
            Self::Matches(regex) => Some(regex.is_match(text)),
            Self::Under(folder) => under(text, folder),
            Self::Host(host) => canonical_host(text).map(|found| found == host),
            Self::Cidr(nets) => {
                let address: IpAddr = text.parse().ok()?;
                let address = address.to_canonical();
                Some(nets.iter().any(|net| net.contains(&address)))
            }
            Self::Holds | Self::Order(..) | Self::Has(_) | Self::Sole(_) | Self::DayTime(..) | Self::Instant(..) => {
                None
            }
        }
    }

    /// What it says of a scalar of JSON.
    pub fn scalar(&self, value: &Value) -> Option<bool> {
        match (self, value) {
            (Self::Is(operands), _) => operands.scalar(value),
            (Self::Order(order, operand), Value::Number(number)) => {
                let found = number.cmp_exact(operand);
                Some(match order {
                    Order::Lt => found.is_lt(),
                    Order::Lte => found.is_le(),
                    Order::Gt => found.is_gt(),
                    Order::Gte => found.is_ge(),
                })
            }
            (_, Value::String(text)) => self.text(text),
            _ => None,
        }
    }

    /// What it says of a whole list, in membership.
    pub fn members<'a>(&self, items: impl IntoIterator<Item = &'a Value>) -> Option<bool> {
        let (Self::Has(operand) | Self::Sole(operand)) = self else { return None };
        let mut count = 0_usize;
        let mut found = 0_usize;
        for item in items {
            count += 1;
            found += usize::from(equal(operand, item)?);
        }
        Some(if matches!(self, Self::Has(_)) { found > 0 } else { found == 1 && count == 1 })
    }

    /// Whether it speaks of a list as a whole.
    pub fn is_membership(&self) -> bool {
        matches!(self, Self::Has(_) | Self::Sole(_))
    }

    /// What it says of an instant.
    pub fn instant(&self, second: i64) -> Option<bool> {
        let Self::Instant(from, operand) = self else { return None };
        Some((second >= *operand) == *from)
    }

    /// What it says of a time of day.
    pub fn day_time(&self, time: Time) -> Option<bool> {
        let Self::DayTime(from, operand) = self else { return None };
        Some((time >= *operand) == *from)
    }
}

/// Whether `path` is `folder` or below it; `None` if it could be read in two ways.
fn under(path: &str, folder: &str) -> Option<bool> {
    if !is_plain_path(path) {
        return None;
    }
    let rest = path.strip_prefix(folder.strip_suffix('/').unwrap_or(folder));
    Some(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// An absolute path that every reader resolves alike: nothing to decode, nothing to clean.
pub(crate) fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains(['%', '\\', '\0'])
        && !path.contains("//")
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// The host of an http or https URL, if it is written in its one canonical form and nothing hides it.
fn canonical_host(text: &str) -> Option<&str> {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.rfind(']') {
        Some(end) => authority.get(..=end)?,
        None => authority.split(':').next()?,
    };
    // Whatever differs from what a URL parser makes of it (case, IPv4 in odd forms, escapes, userinfo, a backslash
    // taken for a slash) is not canonical; a dot at the end survives parsing.
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && !authority.contains(['@', '\\']);
    (plain && !host.is_empty() && !host.ends_with('.') && url.host_str() == Some(host)).then_some(host)
}

/// Whether `host` is written as [`canonical_host`] gives it.
pub(crate) fn is_canonical_host(host: &str) -> bool {
    canonical_host(&format!("https://{host}/")) == Some(host)
}

/// The rule language's word for a day.
pub(crate) fn weekday(second: i64, zone: &jiff::tz::TimeZone) -> Option<&'static str> {
    let instant = Timestamp::from_second(second).ok()?;
    Some(match zone.to_datetime(instant).weekday() {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    })
}

/// The time of day at an instant.
pub(crate) fn time_of_day(second: i64, zone: &jiff::tz::TimeZone) -> Option<Time> {
    Some(zone.to_datetime(Timestamp::from_second(second).ok()?).time())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_judges_only_paths_that_mean_one_thing() {
        for (path, expected) in [
            ("/srv/data", Some(true)),
            ("/srv/data/", Some(true)),
            ("/srv/data/x", Some(true)),
            ("/srv/database", Some(false)),
            ("/srv", Some(false)),
            ("/", Some(false)),
            ("/srv/data/..x", Some(true)),
            ("srv/data", None),
            ("", None),
            ("/srv/data/../etc", None),
            ("/srv/data/..", None),
            ("/srv/data/.", None),
            ("/srv/./data", None),
            ("/srv//data", None),
            ("/srv/data/%2e%2e", None),
            ("/srv/data\\x", None),
            ("/srv/data\0", None),
        ] {
            assert_eq!(under(path, "/srv/data"), expected, "{path:?}");
        }
        assert_eq!(under("/etc", "/"), Some(true));
        assert_eq!(under("/", "/"), Some(true));
    }

    #[test]
    fn a_host_is_read_only_from_urls_that_mean_one_thing() {
        for (text, expected) in [
            ("https://example.com", Some("example.com")),
            ("https://example.com:8443/a?b#c", Some("example.com")),
            ("HTTP://example.com/", Some("example.com")),
            ("http://192.0.2.1/", Some("192.0.2.1")),
            ("http://[2001:db8::1]:80/", Some("[2001:db8::1]")),
            ("https://xn--mnchen-3ya.de/", Some("xn--mnchen-3ya.de")),
            ("https://Example.com/", None),
            ("https://example.com./", None),
            ("https://user@example.com/", None),
            ("https://example.com@evil.test/", None),
            ("https://example.com\\@evil.test/", None),
            ("https://@example.com/", None),
            ("http://0x7f.1/", None),
            ("http://2130706433/", None),
            ("http://[2001:DB8::1]/", None),
            ("https://münchen.de/", None),
            ("https://exa%6dple.com/", None),
            ("https:///example.com/", None),
            ("https:example.com", None),
            ("https://example.com\n/", None),
            (" https://example.com/", None),
            ("ftp://example.com/", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(canonical_host(text), expected, "{text:?}");
        }
    }
}
