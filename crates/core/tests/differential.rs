//! Whatever bytes are sent: what was decided is what two other readers find in what is forwarded, and in what was sent.
//!
//! Sound messages of every method are changed at random. One reader keeps the first of two equal keys and one the
//! last; both read by `serde_json`, which is what many servers do. `OSTIARY_MESSAGES` says how many messages are tried:
//! `OSTIARY_MESSAGES=10000000 cargo test --workspace --locked --test differential -- --nocapture`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt;

use ostiary_core::head::{Head, value};
use ostiary_core::json::{self, Limits};
use ostiary_core::mcp::message::{self, Incoming, Target};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"progressToken":7}"#;
/// Methods with parameters, and what `Mcp-Name` says of them.
const REQUESTS: [(&str, &str, Option<&str>); 9] = [
    (
        "tools/call",
        r#""name":"read_file","arguments":{"path":"/tmp/x","n":1.50,"deep":{"flag":true,"list":[1,"a",null]}}"#,
        Some("read_file"),
    ),
    ("tools/call", r#""name":"delete","arguments":{"id":"7","force":false},"task":{"ttl":1}"#, Some("delete")),
    ("prompts/get", r#""name":"summarize","arguments":{"topic":"x","length":"short"}"#, Some("summarize")),
    ("resources/read", r#""uri":"file:///srv/docs/a.txt""#, Some("file:///srv/docs/a.txt")),
    ("resources/list", r#""cursor":"abc""#, None),
    ("tools/list", r#""extra":{"a":[]}"#, None),
    (
        "completion/complete",
        r#""ref":{"type":"ref/resource","uri":"file:///{path}"},"argument":{"name":"path","value":"a"}"#,
        None,
    ),
    (
        "completion/complete",
        r#""ref":{"type":"ref/prompt","name":"summarize"},"argument":{"name":"topic","value":""}"#,
        None,
    ),
    (
        "subscriptions/listen",
        r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}"#,
        None,
    ),
];
/// What is put in as it stands: twins of members, other spellings, and what readers disagree about.
const PIECES: [&str; 30] = [
    r#""name":"delete","#,
    r#""n\u0061me":"delete","#,
    r#""Name":"delete","#,
    r#""method":"tools/call","#,
    r#""METHOD":"x","#,
    r#""params":{"name":"delete"},"#,
    r#""arguments":{},"#,
    r#""id":2,"#,
    r#""uri":"file:///etc/passwd","#,
    r#""u\u0072i":"x:y","#,
    r#""path":"/etc/passwd","#,
    r#""result":{},"#,
    r#""error":{"code":1,"message":"x"},"#,
    r#""__proto__":{},"#,
    r#""jsonrpc":"2.0","#,
    "/**/",
    "//x\n",
    "\u{feff}",
    "\\ud800",
    "\\u0000",
    "NaN",
    "1e999",
    "-0",
    "1.0",
    "0x10",
    "+1",
    "[",
    "]",
    "{}",
    "'",
];

/// One of two equal keys wins: the first.
#[derive(Debug)]
struct FirstWins(Value);

impl<'de> Deserialize<'de> for FirstWins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
                Ok(flag.into())
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(number.into())
            }
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(number.into())
            }
            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(number.into())
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(text.into())
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(FirstWins(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(list.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut object = serde_json::Map::new();
                while let Some((key, FirstWins(member))) = members.next_entry::<String, FirstWins>()? {
                    object.entry(key).or_insert(member);
                }
                Ok(object.into())
            }
        }
        deserializer.deserialize_any(Reader).map(FirstWins)
    }
}

/// A small generator with a seed of its own (xorshift64*), so that a failure is found again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % sides.max(1)
    }
}

fn change(text: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.roll(text.len() + 1);
    match dice.roll(6) {
        0 => text.insert(at, b"{}[]\",:\\u0e.- \t\nN"[dice.roll(17)]),
        1 => text.insert(at, u8::try_from(dice.roll(256)).unwrap()),
        2 if at < text.len() => drop(text.remove(at)),
        3 if at < text.len() => {
            let end = (at + dice.roll(40)).min(text.len());
            let stretch = text[at..end].to_vec();
            let to = dice.roll(text.len() + 1);
            text.splice(to..to, stretch);
        }
        // Behind a brace or a comma a member may stand.
        4 | 5 => {
            let piece = PIECES[dice.roll(PIECES.len())];
            let places: Vec<usize> =
                (0..text.len()).filter(|at| matches!(text[*at], b'{' | b',')).map(|at| at + 1).collect();
            let to = if dice.roll(4) == 0 { at } else { places.get(dice.roll(places.len())).copied().unwrap_or(at) };
            text.splice(to..to, piece.bytes());
        }
        _ => {}
    }
}

/// What each reader takes from a message: method, what it is about, and the arguments.
fn meaning(message: &Value) -> (Value, Value, Value) {
    let params = &message["params"];
    let about = match message["method"].as_str() {
        Some("tools/call" | "prompts/get") => &params["name"],
        Some("resources/read") => &params["uri"],
        Some("completion/complete") if params["ref"]["name"].is_string() => &params["ref"]["name"],
        Some("completion/complete") => &params["ref"]["uri"],
        _ => &Value::Null,
    };
    let arguments = match message["method"].as_str() {
        Some("tools/call" | "prompts/get") => params["arguments"].clone(),
        _ => Value::Null,
    };
    (message["method"].clone(), about.clone(), arguments)
}

fn decided(request: &message::Request) -> (Value, Value, Value) {
    let about = match request.target() {
        Target::None => Value::Null,
        Target::Tool(name) | Target::Prompt(name) | Target::Resource(name) => name.into(),
    };
    let arguments = request.arguments().map_or(Value::Null, |arguments| {
        let mut text = Vec::new();
        json::write_object(arguments, &mut text);
        serde_json::from_slice(&text).unwrap()
    });
    (request.method.as_str().into(), about, arguments)
}

fn head(stateless: bool, method: &str, name: Option<&str>) -> Head {
    let name = name.map(value::encode);
    let mut fields = vec![("host", "h"), ("content-type", "application/json")];
    if stateless {
        fields.extend([("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)]);
        fields.extend(name.as_deref().map(|name| ("mcp-name", name)));
    } else {
        fields.push(("mcp-protocol-version", "2025-11-25"));
    }
    Head::read("POST", "/mcp/notes", fields.iter().map(|(name, value)| (*name, value.as_bytes()))).unwrap()
}

#[test]
fn what_was_decided_is_what_every_reader_finds() {
    let messages: u64 = std::env::var("OSTIARY_MESSAGES").map_or(30_000, |count| count.parse().unwrap());
    let mut dice = Dice(0x0571_A121);
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..messages {
        let (method, params, name) = REQUESTS[dice.roll(REQUESTS.len())];
        let stateless = method == "subscriptions/listen" || dice.roll(2) == 0;
        let params = if stateless { format!("{params},{META}") } else { params.to_owned() };
        let mut text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#).into_bytes();
        for _ in 0..dice.roll(4) {
            change(&mut text, &mut dice);
        }
        let word = match message::read(&text, &head(stateless, method, name), &Limits::DEFAULT) {
            Err(refusal) => format!("refused with {:?}", refusal.code),
            Ok(Incoming::Request(request)) => {
                let forwarded = message::upstream_body(&request, "ours");
                let decided = decided(&request);
                for bytes in [&text, &forwarded] {
                    let shown = String::from_utf8_lossy(bytes);
                    let last: Value = serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {shown}"));
                    let FirstWins(first) = serde_json::from_slice(bytes).unwrap();
                    assert_eq!(meaning(&last), decided, "the last of two keys wins: {shown}");
                    assert_eq!(meaning(&first), decided, "the first of two keys wins: {shown}");
                }
                "forwarded".to_owned()
            }
            Ok(_) => "a notification or an answer".to_owned(),
        };
        *told.entry(word).or_default() += 1;
    }
    println!("{messages} messages: {told:?}");
    assert!(told.get("forwarded").is_some_and(|count| *count > messages / 10), "{told:?}");
}
