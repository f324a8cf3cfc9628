//! The attack tables of `tests/attacks/wire`, judged by the head and message readers alone.
//!
//! Each case is data: what differs from a well-behaved call (`send`), what must come of it (`must`), and often a
//! `twin`, the nearest request that must pass. The same files can be sent over sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::PathBuf;

use ostiary_core::deny::Refusal;
use ostiary_core::head::{Head, value};
use ostiary_core::json::{self, Limits, Object, Value};
use ostiary_core::mcp::Era;
use ostiary_core::mcp::message::{self, Incoming};

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},$META}}"#;
const KEYS: &str =
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
const ERAS: [(Era, &str, &str); 2] =
    [(Era::Session, "session", "2025-11-25"), (Era::Stateless, "stateless", "2026-07-28")];
/// Reasons that stand for a later stage: the readers must let such a request through.
const LATER: [&str; 5] = ["no_rule", "denied_by_rule", "route", "unknown_server", "not_open"];

/// What would go upstream for a request that was taken.
struct Forward {
    body: String,
    headers: Vec<(String, String)>,
}

fn tables() -> Vec<(String, Vec<Value>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/attacks/wire");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &PathBuf| match json::parse(&std::fs::read(file).unwrap(), &Limits::ANSWER).unwrap() {
        Value::Array(cases) => cases,
        other => panic!("{other:?}"),
    };
    files.iter().map(|file| (file.file_name().unwrap().to_string_lossy().into_owned(), read(file))).collect()
}

fn str_of<'a>(case: &'a Value, key: &str) -> &'a str {
    case.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("`{key}` of {case:?}"))
}

fn fill(text: &str, era: Era) -> String {
    let (keys, comma) = if era == Era::Stateless { (KEYS, ",") } else { ("", "") };
    text.replace("$META", &format!("\"_meta\":{{{keys}}}")).replace("$KEYS", &format!("{keys}{comma}"))
}

fn body(send: &Value, era: Era) -> Vec<u8> {
    let encoding = send.get("encoding").and_then(Value::as_str).unwrap_or("utf-8");
    match send.get("pieces") {
        Some(Value::Array(pieces)) => pieces.iter().flat_map(|piece| self::piece(piece, era, encoding)).collect(),
        _ => encode(&fill(send.get("text").and_then(Value::as_str).unwrap_or(CALL), era), encoding),
    }
}

fn piece(piece: &Value, era: Era, encoding: &str) -> Vec<u8> {
    if let Some(text) = piece.as_str() {
        return encode(&fill(text, era), encoding);
    }
    if let Some(hex) = piece.get("hex").and_then(Value::as_str) {
        let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
        return hex.as_bytes().chunks(2).map(byte).collect();
    }
    let times = piece.get("times").and_then(Value::as_number).and_then(json::Number::as_i64).unwrap();
    encode(&str_of(piece, "repeat").repeat(usize::try_from(times).unwrap()), encoding)
}

fn encode(text: &str, encoding: &str) -> Vec<u8> {
    match encoding {
        "utf-8" => text.as_bytes().to_vec(),
        "utf-16-le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "utf-16-be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        "utf-32-le" => text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
        "utf-32-be" => text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        other => panic!("{other}"),
    }
}

/// The method and name that a lenient server would read, so that the head agrees with that unless told otherwise.
fn claimed(body: &[u8]) -> (String, String) {
    let text = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_str).map(str::to_owned);
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let name = text(message.pointer("/params/name")).map(|name| value::encode(&name));
    (text(message.get("method")).unwrap_or("tools/call".to_owned()), name.unwrap_or("echo".to_owned()))
}

fn headers(send: &Value, era: Era, version: &str, body: &[u8]) -> Vec<(String, String)> {
    let (method, name) = claimed(body);
    let mut fields: Vec<(String, String)> = [
        ("Host", "127.0.0.1:8811"),
        ("Authorization", "Bearer a.b.c"),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", version),
    ]
    .into_iter()
    .chain([("Mcp-Method", method.as_str()), ("Mcp-Name", &name)].into_iter().filter(|_| era == Era::Stateless))
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for (name, value) in send.get("set").and_then(Value::as_object).unwrap_or(&Object::new()).iter() {
        fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        fields.extend(value.as_str().map(|value| (name.to_owned(), value.to_owned())));
    }
    for pair in send.get("add").and_then(Value::as_array).unwrap_or_default() {
        let text = |at: usize| pair.as_array().unwrap()[at].as_str().unwrap().to_owned();
        fields.push((text(0), text(1)));
    }
    fields
}

fn judge(send: &Value, era: Era, version: &str) -> Result<Forward, Refusal> {
    let body = body(send, era);
    let fields = headers(send, era, version, &body);
    let target = send.get("target").and_then(Value::as_str).unwrap_or("/mcp/notes");
    let head = Head::read("POST", target, fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    match message::read(&body, &head, &Limits::DEFAULT)? {
        Incoming::Request(request) => Ok(Forward {
            body: String::from_utf8(message::upstream_body(&request, "ours")).unwrap(),
            headers: message::upstream_headers(&request, &head),
        }),
        Incoming::Notification(notification) => Ok(Forward {
            body: String::from_utf8(message::upstream_notification(&notification)).unwrap(),
            headers: message::session_headers(&head),
        }),
        Incoming::Response(response) => Ok(Forward {
            body: String::from_utf8(message::upstream_response(&response, &response.id)).unwrap(),
            headers: message::session_headers(&head),
        }),
    }
}

/// Whether `actual` is what `must[key]` says: one value, one of a list, or one for each era; a missing key is null.
fn meets(must: &Value, key: &str, era: &str, actual: &Value) -> bool {
    let one = |expected: &Value| match expected {
        Value::Array(some) => some.contains(actual),
        expected => expected == actual,
    };
    match must.get(key) {
        None => *actual == Value::Null,
        Some(Value::Object(each)) => each.get(era).is_some_and(one),
        Some(expected) => one(expected),
    }
}

/// What is wrong with one case in one era, if anything is.
fn fault(case: &Value, era: Era, name: &str, version: &str) -> Option<String> {
    let must = case.get("must").unwrap();
    let reason = must.get("reason").unwrap();
    let later = match reason.get(name).unwrap_or(reason) {
        Value::Array(some) => some.iter().all(|reason| LATER.contains(&reason.as_str().unwrap())),
        one => LATER.contains(&one.as_str().unwrap()),
    };
    match judge(case.get("send").unwrap(), era, version) {
        Ok(_) if !later => return Some("passed".to_owned()),
        Ok(_) => {}
        Err(refusal) => {
            let status = i64::from(refusal.status).into();
            let code = refusal.code.map_or(Value::Null, Value::from);
            let reason = refusal.reason.as_str().into();
            let met = meets(must, "status", name, &status)
                && meets(must, "code", name, &code)
                && meets(must, "reason", name, &reason);
            if later || !met {
                return Some(format!("{refusal:?}"));
            }
            assert!(!refusal.message.is_empty() && !refusal.message.contains('\n'), "{refusal:?}");
        }
    }
    match judge(case.get("twin")?, era, version) {
        Err(refusal) => Some(format!("its twin is refused: {}", refusal.message)),
        Ok(forward) => {
            let lacks = case.get("twin_must").and_then(|must| must.get("upstream_lacks")).and_then(Value::as_array);
            let sent = format!("{} {:?}", forward.body, forward.headers);
            let found = lacks.unwrap_or_default().iter().find(|text| sent.contains(text.as_str().unwrap()));
            found.map(|text| format!("its twin took {text:?} upstream"))
        }
    }
}

#[test]
fn every_case_is_answered_as_its_row_says() {
    let mut wrong = Vec::new();
    let mut judged = 0;
    for (file, cases) in tables() {
        for case in &cases {
            let id = str_of(case, "id");
            assert!(!str_of(case, "source").is_empty() && !str_of(case, "why").is_empty(), "{id}");
            let eras = case.get("eras").and_then(Value::as_array);
            for (era, name, version) in ERAS {
                if eras.is_none_or(|eras| eras.contains(&name.into())) {
                    judged += 1;
                    wrong
                        .extend(fault(case, era, name, version).map(|fault| format!("{file}: {id} ({name}): {fault}")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {judged} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(judged > 600, "only {judged} cases were judged");
}

#[test]
fn no_two_cases_share_an_id() {
    let mut seen = std::collections::BTreeSet::new();
    for (_, cases) in tables() {
        for case in &cases {
            assert!(seen.insert(str_of(case, "id").to_owned()), "{}", str_of(case, "id"));
        }
    }
}
