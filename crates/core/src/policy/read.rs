//! Rules from Snapshot JSON. Everything that a later decision would stumble over is an error here, with its path.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use regex::{Regex, RegexBuilder};

use super::rule::{Branch, Criterion, Effect, Join, Leaf, Literal, Path, Rule, RuleRef, Speaks};
use super::test::{Operands, Order, Test, is_canonical_host, is_plain_path};
use crate::fields::{Fault, Fields};
use crate::json::{Number, Value, canonical};

/// What one compiled expression may take, in bytes: generous for a person's rule, and no load is stopped by one.
const REGEX_BYTES: usize = 1 << 20;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Reads rule after rule, sharing what they have in common.
pub(super) struct Reader {
    zone: TimeZone,
    literals: HashMap<String, Arc<Literal>>,
    regexes: HashMap<String, Regex>,
}

/// The keys of an argument path: cut at `/`, then `~1` is `/` and `~0` is `~`. `None` for any other `~`.
pub(crate) fn keys_of_path(path: &str) -> Option<Vec<String>> {
    path.split('/').map(unescape).collect()
}

fn unescape(segment: &str) -> Option<String> {
    let mut parts = segment.split('~');
    let mut key = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = match part.as_bytes().first()? {
            b'0' => ('~', part.get(1..)?),
            b'1' => ('/', part.get(1..)?),
            _ => return None,
        };
        key.push(escaped);
        key.push_str(rest);
    }
    Some(key)
}

/// A time zone of the bundled database.
fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" { Some(TimeZone::UTC) } else { jiff::tz::TimeZoneDatabase::bundled().get(name).ok() }
}

impl Reader {
    /// A reader for rules whose own time zone is `timezone`.
    pub fn new(timezone: &str) -> Option<Self> {
        Some(Self { zone: zone(timezone)?, literals: HashMap::new(), regexes: HashMap::new() })
    }

    /// One rule.
    pub fn rule(&mut self, value: &Value, path: &str) -> Result<Rule, Fault> {
        let mut fields = Fields::of(value, path)?;
        let effect = match fields.text("effect")? {
            "allow" => Effect::Allow,
            "deny" => Effect::Deny,
            _ => return Err(fields.fault("effect", "must be allow or deny")),
        };
        let shadow = match fields.text("mode")? {
            "enforce" => false,
            "shadow" => true,
            _ => return Err(fields.fault("mode", "must be enforce or shadow")),
        };
        let named = RuleRef {
            name: fields.text("name")?.to_owned(),
            file: fields.text("file")?.to_owned(),
            line: fields.whole("line")?,
            owner: fields.optional_string("owner")?,
        };
        let mut branches = Vec::new();
        for (at, branch) in fields.list("any")?.iter().enumerate() {
            // An operator without leaves says nothing; it is not vacuously true.
            branches.extend(self.branch(branch, effect, &format!("{path}.any[{at}]"))?);
        }
        fields.finish()?;
        let names_method = branches
            .iter()
            .flat_map(|branch| &branch.leaves)
            .flat_map(|leaf| &leaf.literals)
            .any(|literal| matches!(literal.criterion, Criterion::McpMethod) && !literal.negative);
        Ok(Rule { named: Arc::new(named), effect, shadow, branches, names_method })
    }

    fn branch(&mut self, value: &Value, effect: Effect, path: &str) -> Result<Option<Branch>, Fault> {
        let mut fields = Fields::of(value, path)?;
        let (join, negated) = match fields.text("op")? {
            "and" => (Join::All, false),
            "or" => (Join::Any, false),
            "not" => (Join::All, true),
            "nor" => (Join::Any, true),
            _ => return Err(fields.fault("op", "must be and, or, not or nor")),
        };
        let leaves = fields.list("of")?.iter().enumerate();
        let mut leaves: Vec<Leaf> =
            leaves.map(|(at, leaf)| self.leaf(leaf, negated, &format!("{path}.of[{at}]"))).collect::<Result<_, _>>()?;
        fields.finish()?;
        Speaks::mark(&mut leaves, effect, join);
        Ok((!leaves.is_empty()).then_some(Branch { join, leaves }))
    }

    fn leaf(&mut self, value: &Value, negated: bool, path: &str) -> Result<Leaf, Fault> {
        let mut fields = Fields::of(value, path)?;
        let name = fields.text("criterion")?;
        let of = fields.optional_text("path")?;
        fields.whole("line")?;
        let text = fields.text("text")?;
        let tests = fields.list("tests")?;
        let bare = matches!(name, "accept" | "reject" | "authenticated_user" | "autonomous");
        if bare != tests.is_empty() {
            return Err(fields.fault("tests", if bare { "must be empty" } else { "must not be empty" }));
        }
        let criterion = self.criterion(name, of).map_err(|(key, why)| fields.fault(key, why))?;
        fields.finish()?;
        let mut literals = Vec::with_capacity(tests.len().max(1));
        if bare {
            literals.push(self.share(format!("{name}|{negated}"), criterion, Test::Holds, negated));
        } else {
            for (at, test) in tests.iter().enumerate() {
                literals.push(self.literal((name, of, &criterion), test, negated, &format!("{path}.tests[{at}]"))?);
            }
        }
        // Negating a leaf of several tests negates each, and one of them is enough (De Morgan).
        let join = if negated { Join::Any } else { Join::All };
        Ok(Leaf { join, literals, text: text.into(), speaks: Speaks::Anything })
    }

    fn criterion(&self, name: &str, of: Option<&str>) -> Result<Criterion, (&'static str, String)> {
        let path = || {
            let text = of.ok_or(("path", "is missing".to_owned()))?;
            let keys = keys_of_path(text).ok_or(("path", "has a `~` that is neither ~0 nor ~1".to_owned()))?;
            Ok(Path { text: text.to_owned(), keys })
        };
        if of.is_some() && !matches!(name, "claim" | "argument") {
            return Err(("path", format!("`{name}` takes none")));
        }
        Ok(match name {
            "accept" => Criterion::Accept,
            "reject" => Criterion::Reject,
            "authenticated_user" => Criterion::AuthenticatedUser,
            "autonomous" => Criterion::Autonomous,
            "user" => Criterion::User,
            "email" => Criterion::Email,
            "domain" => Criterion::Domain,
            "groups" => Criterion::Groups,
            "claim" => Criterion::Claim(path()?),
            "service" => Criterion::Service,
            "agent" => Criterion::Agent,
            "owner" => Criterion::Owner,
            "actor_type" => Criterion::ActorType,
            "server" => Criterion::Server,
            "tool" => Criterion::Tool,
            "mcp_tool" => Criterion::McpTool,
            "action" => Criterion::Action,
            "mcp_method" => Criterion::McpMethod,
            "resource_uri" => Criterion::ResourceUri,
            "prompt" => Criterion::Prompt,
            "server_request" => Criterion::ServerRequest,
            "argument" => Criterion::Argument(path()?),
            "source_ip" => Criterion::SourceIp,
            "origin" => Criterion::Origin,
            "scope" => Criterion::Scope,
            "date" => Criterion::Date,
            "time_of_day" => Criterion::TimeOfDay(self.zone.clone()),
            "day_of_week" => Criterion::DayOfWeek(self.zone.clone()),
            _ => return Err(("criterion", format!("`{name}` is not known"))),
        })
    }

    fn literal(
        &mut self,
        (name, of, criterion): (&str, Option<&str>, &Criterion),
        value: &Value,
        negated: bool,
        path: &str,
    ) -> Result<Arc<Literal>, Fault> {
        let mut fields = Fields::of(value, path)?;
        let op = fields.text("op")?;
        let operand = fields.required("value")?;
        let timezone = fields.optional_text("timezone")?;
        let mut criterion = criterion.clone();
        if let Some(timezone) = timezone {
            let zone = zone(timezone).ok_or_else(|| fields.fault("timezone", "is not a known time zone"))?;
            criterion = match criterion {
                Criterion::TimeOfDay(_) => Criterion::TimeOfDay(zone),
                Criterion::DayOfWeek(_) => Criterion::DayOfWeek(zone),
                _ => return Err(fields.fault("timezone", format!("`{name}` takes none"))),
            };
        }
        let mut operand_text = Vec::new();
        canonical(operand, &mut operand_text);
        let negative = negated != matches!(op, "not" | "not_in" | "exclude");
        let key = format!(
            "{name}|{}|{op}|{}|{}|{negative}",
            of.unwrap_or_default(),
            timezone.unwrap_or_default(),
            String::from_utf8_lossy(&operand_text)
        );
        let test = self.test(&criterion, op, operand).map_err(|(key, why)| fields.fault(key, why))?;
        fields.finish()?;
        Ok(self.share(key, criterion, test, negative))
    }

    /// The literal of this meaning, made once.
    fn share(&mut self, key: String, criterion: Criterion, test: Test, negative: bool) -> Arc<Literal> {
        let id = u32::try_from(self.literals.len()).unwrap_or(u32::MAX);
        let made = self.literals.entry(key);
        Arc::clone(made.or_insert_with(|| Arc::new(Literal { id, criterion, test, negative })))
    }

    fn test(&mut self, criterion: &Criterion, op: &str, operand: &Value) -> Result<Test, (&'static str, String)> {
        let wrong = || ("op", format!("`{op}` does not go with this criterion"));
        match criterion {
            Criterion::Accept | Criterion::Reject | Criterion::AuthenticatedUser | Criterion::Autonomous => {
                Err(wrong())
            }
            Criterion::Groups | Criterion::Scope => match (op, operand) {
                ("has" | "sole" | "exclude", Value::String(_)) => membership(op, operand),
                ("has" | "sole" | "exclude", _) => Err(("value", "must be a string".to_owned())),
                _ => Err(wrong()),
            },
            Criterion::Claim(_) => match op {
                "has" | "sole" | "exclude" => membership(op, operand),
                _ => self.scalar(op, operand).unwrap_or_else(|| Err(wrong())),
            },
            Criterion::Argument(_) => self.scalar(op, operand).unwrap_or_else(|| Err(wrong())),
            Criterion::SourceIp => {
                if op == "cidr" {
                    cidr(operand)
                } else {
                    Err(wrong())
                }
            }
            Criterion::Date => instant(op, operand).unwrap_or_else(|| Err(wrong())),
            Criterion::TimeOfDay(_) => day_time(op, operand).unwrap_or_else(|| Err(wrong())),
            Criterion::DayOfWeek(_) => match op {
                "is" | "not" | "in" | "not_in" => days(self.scalar(op, operand).unwrap_or_else(|| Err(wrong()))?),
                _ => Err(wrong()),
            },
            Criterion::User
            | Criterion::Email
            | Criterion::Domain
            | Criterion::Service
            | Criterion::Agent
            | Criterion::Owner
            | Criterion::ActorType
            | Criterion::Server
            | Criterion::Tool
            | Criterion::McpTool
            | Criterion::Action
            | Criterion::McpMethod
            | Criterion::ResourceUri
            | Criterion::Prompt
            | Criterion::ServerRequest
            | Criterion::Origin => match op {
                "lt" | "lte" | "gt" | "gte" => Err(wrong()),
                _ => self.scalar(op, operand).unwrap_or_else(|| Err(wrong())),
            },
        }
    }

    /// The matchers on scalars; `None` for an unknown one.
    fn scalar(&mut self, op: &str, operand: &Value) -> Option<Result<Test, (&'static str, String)>> {
        let text = || operand.as_str().map(str::to_owned).ok_or(("value", "must be a string".to_owned()));
        let operands = |values: &[Value]| {
            Operands::new(values).map(Test::Is).ok_or(("value", "must not hold a list or an object".to_owned()))
        };
        let order = |order| match operand {
            Value::Number(number) => Ok(Test::Order(order, number.clone())),
            Value::String(text) => Number::from_text(text)
                .map(|number| Test::Order(order, number))
                .ok_or(("value", "must be a number".to_owned())),
            _ => Err(("value", "must be a number".to_owned())),
        };
        Some(match op {
            "is" | "not" => operands(std::slice::from_ref(operand)),
            "in" | "not_in" => match operand.as_array() {
                Some(values) if !values.is_empty() => operands(values),
                _ => Err(("value", "must be a list of at least one value".to_owned())),
            },
            "contains" => text().map(Test::Contains),
            "starts_with" => text().map(Test::StartsWith),
            "ends_with" => text().map(Test::EndsWith),
            "matches" => text().and_then(|text| self.regex(text)).map(Test::Matches),
            "under" => text().and_then(|text| {
                if is_plain_path(&text) {
                    Ok(Test::Under(text))
                } else {
                    Err(("value", "must be an absolute path in its plain form".to_owned()))
                }
            }),
            "host" => text().and_then(|text| {
                if is_canonical_host(&text) {
                    Ok(Test::Host(text))
                } else {
                    Err(("value", "must be a host name or address in its canonical form".to_owned()))
                }
            }),
            "lt" => order(Order::Lt),
            "lte" => order(Order::Lte),
            "gt" => order(Order::Gt),
            "gte" => order(Order::Gte),
            _ => return None,
        })
    }

    fn regex(&mut self, text: String) -> Result<Regex, (&'static str, String)> {
        if let Some(regex) = self.regexes.get(&text) {
            return Ok(regex.clone());
        }
        let regex = RegexBuilder::new(&text).size_limit(REGEX_BYTES).dfa_size_limit(REGEX_BYTES).nest_limit(64).build();
        // The crate draws the place over several lines; its last one says what is wrong.
        let regex = regex.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or("not a regular expression").trim();
            ("value", last.trim_start_matches("error: ").to_owned())
        })?;
        self.regexes.insert(text, regex.clone());
        Ok(regex)
    }
}

fn membership(op: &str, operand: &Value) -> Result<Test, (&'static str, String)> {
    if matches!(operand, Value::Array(_) | Value::Object(_)) {
        return Err(("value", "must be one value, not a list or an object".to_owned()));
    }
    Ok(if op == "sole" { Test::Sole(operand.clone()) } else { Test::Has(operand.clone()) })
}

fn cidr(operand: &Value) -> Result<Test, (&'static str, String)> {
    let nets = operand.as_array().filter(|items| !items.is_empty());
    let nets = nets.and_then(|items| items.iter().map(|item| net(item.as_str()?)).collect());
    nets.map(Test::Cidr).ok_or(("value", "must be a list of addresses or networks".to_owned()))
}

/// One address or network; IPv4 written inside IPv6 is IPv4, as it is for the peer's address.
fn net(text: &str) -> Option<IpNet> {
    let net: IpNet =
        if text.contains('/') { text.parse().ok()? } else { IpNet::from(text.parse::<std::net::IpAddr>().ok()?) };
    let IpNet::V6(wide) = net else { return Some(net) };
    match (wide.addr().to_ipv4_mapped(), wide.prefix_len().checked_sub(96)) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).ok().map(IpNet::V4),
        _ => Some(net),
    }
}

fn after(op: &str) -> Option<bool> {
    match op {
        "after" => Some(true),
        "before" => Some(false),
        _ => None,
    }
}

fn instant(op: &str, operand: &Value) -> Option<Result<Test, (&'static str, String)>> {
    let from = after(op)?;
    let instant = operand.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let whole = instant.filter(|instant| instant.subsec_nanosecond() == 0);
    Some(
        whole
            .map(|instant| Test::Instant(from, instant.as_second()))
            .ok_or(("value", "must be a time of RFC 3339 in whole seconds".to_owned())),
    )
}

fn day_time(op: &str, operand: &Value) -> Option<Result<Test, (&'static str, String)>> {
    let from = after(op)?;
    let time = operand.as_str().and_then(|text| text.parse::<Time>().ok());
    let whole = time.filter(|time| time.subsec_nanosecond() == 0);
    Some(
        whole
            .map(|time| Test::DayTime(from, time))
            .ok_or(("value", "must be a time of day in whole seconds, as in 16:20:00".to_owned())),
    )
}

fn days(test: Test) -> Result<Test, (&'static str, String)> {
    let known = match &test {
        Test::Is(operands) => {
            operands.only_texts().is_some_and(|days| days.iter().all(|day| DAYS.contains(&day.as_str())))
        }
        _ => false,
    };
    if known { Ok(test) } else { Err(("value", format!("must be among {}", DAYS.join(", ")))) }
}
