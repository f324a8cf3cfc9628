//! What must hold for any input: writing and reading are inverse, no text has two meanings, and no split or mutation
//! of bytes changes what was decided.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, reason = "a test fails by panicking")]

use std::cmp::Ordering;

use ostiary_core::head::{Head, value};
use ostiary_core::json::{self, JsonErrorKind, Limits, Number, Object, Value};
use ostiary_core::mcp::message::{self, Incoming, Request};
use ostiary_core::mcp::response::{read_response, write_response};
use ostiary_core::mcp::sse::{Decoder, Event, encode};
use ostiary_core::mcp::stream::{Kind, Stream};
use ostiary_core::mcp::{Era, Id};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const VERSION: &str = "2026-07-28";

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{0,6}",
        2 => vec(select(vec!['"', '\\', '/', '\0', '\n', '\r', '\t', '\u{8}', '\u{c}', '\u{1f}', '\u{7f}', 'é', '\u{2028}', '\u{fb33}', '\u{feff}', '😀', '\u{10ffff}']), 0..8)
            .prop_map(String::from_iter),
        1 => any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = Number> {
    let spelled = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    prop_oneof![
        any::<i64>().prop_map(|whole| whole.to_string()),
        (-99i32..99).prop_map(|n| n.to_string()),
        spelled.prop_map(String::from)
    ]
    .prop_map(|text| Number::from_text(&text).unwrap())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((text(), inner), 0..24).prop_map(|members| Value::from(members.into_iter().collect::<Object>())),
        ]
    })
}

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    json::write(value, &mut out);
    out
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    json::canonical(value, &mut out);
    out
}

/// Turns every object's members around.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(reversed).collect::<Vec<_>>().into(),
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().map(|(key, member)| (key.to_owned(), reversed(member))).collect();
            members.reverse();
            members.into_iter().collect::<Object>().into()
        }
        scalar => scalar.clone(),
    }
}

/// One change to a text: a byte put in, taken out or replaced, or a stretch of it repeated.
#[derive(Debug, Clone)]
enum Change {
    Insert(Index, u8),
    Remove(Index),
    Replace(Index, u8),
    Repeat(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![select(b"{}[]\",:\\u0123456789abcdefeE+-.truefalsn \n\t/_".to_vec()), any::<u8>()];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<Index>().prop_map(Change::Remove),
        (any::<Index>(), byte).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

fn changed(mut text: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if text.is_empty() {
            break;
        }
        match change {
            Change::Insert(at, byte) => text.insert(at.index(text.len()), *byte),
            Change::Remove(at) => drop(text.remove(at.index(text.len()))),
            Change::Replace(at, byte) => *at.get_mut(&mut text) = *byte,
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(text.len()), to.index(text.len()));
                let stretch = text[from.min(to)..from.max(to)].to_vec();
                text.splice(from..from, stretch);
            }
        }
    }
    text
}

/// Whether `ours` is what a common reader made of the same text. That one rounds numbers and keeps the last of two
/// equal keys.
fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), serde_json::Value::Number(theirs)) => {
            let (ours, theirs) = (ours.as_str().parse::<f64>().unwrap(), theirs.as_f64().unwrap());
            // It also rounds a little less well.
            ours == theirs || ((ours - theirs) / ours).abs() < 1e-15
        }
        (Value::String(ours), serde_json::Value::String(theirs)) => ours == theirs,
        (Value::Array(ours), serde_json::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), serde_json::Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| same(ours, theirs)))
        }
        _ => false,
    }
}

fn head(era: Era) -> Head {
    let fields: &[(&str, &str)] = match era {
        Era::Session => &[("mcp-protocol-version", "2025-11-25")],
        Era::Stateless => &[("mcp-protocol-version", VERSION), ("mcp-method", "tools/call"), ("mcp-name", "read_file")],
    };
    let always = [("host", "h"), ("content-type", "application/json")];
    Head::read("POST", "/mcp/notes", always.iter().chain(fields).map(|(name, value)| (*name, value.as_bytes())))
        .unwrap()
}

fn call(era: Era, id: &Id, arguments: &Value) -> Vec<u8> {
    let meta = match era {
        Era::Session => String::new(),
        Era::Stateless => format!(
            r#","_meta":{{"io.modelcontextprotocol/protocolVersion":"{VERSION}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        ),
    };
    let mut body = br#"{"jsonrpc":"2.0","id":"#.to_vec();
    id.write_json(&mut body);
    body.extend_from_slice(br#","method":"tools/call","params":{"name":"read_file","arguments":"#);
    body.extend_from_slice(&written(arguments));
    body.extend_from_slice(meta.as_bytes());
    body.extend_from_slice(b"}}");
    body
}

fn request(body: &[u8], era: Era) -> Option<Request> {
    match message::read(body, &head(era), &Limits::DEFAULT) {
        Ok(Incoming::Request(request)) => Some(request),
        Ok(Incoming::Notification(_) | Incoming::Response(_)) | Err(_) => None,
    }
}

fn era() -> impl Strategy<Value = Era> {
    select(vec![Era::Session, Era::Stateless])
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![(-(1i64 << 53) + 1..1 << 53).prop_map(Id::Int), text().prop_map(Id::Text)]
}

fn event() -> impl Strategy<Value = Event> {
    let line = || "[^\r\n\0]{0,12}";
    let data = prop_oneof!["[^\r\0]{0,24}", Just(String::new())];
    (prop::option::of(line()), prop::option::of(data), prop::option::of(line()), prop::option::of(any::<u64>()))
        .prop_map(|(event, data, id, retry)| Event { event, data, id, retry })
        .prop_filter("an event has a field", |event| *event != Event::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(value in any_value()) {
        prop_assert_eq!(json::parse(&written(&value), &Limits::DEFAULT).unwrap(), value);
    }

    #[test]
    fn the_canonical_form_is_one_and_stays(value in any_value()) {
        let form = canonical(&value);
        let again = json::parse(&form, &Limits::DEFAULT).unwrap();
        prop_assert_eq!(canonical(&again), form.clone());
        prop_assert_eq!(canonical(&reversed(&value)), form);
    }

    #[test]
    fn a_common_reader_reads_the_same_or_more(value in any_value(), changes in vec(change(), 0..4)) {
        let text = changed(written(&value), &changes);
        let theirs = serde_json::from_slice::<serde_json::Value>(&text);
        match (json::parse(&text, &Limits::DEFAULT), theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert!(same(&ours, &theirs), "{ours:?} {theirs:?}"),
            // It takes the last of two equal keys, and knows no limits.
            (Err(error), Ok(_)) => prop_assert!(
                matches!(error.kind, JsonErrorKind::Duplicate | JsonErrorKind::NumberRange | JsonErrorKind::Depth),
                "{error}"
            ),
            // It has no number beyond a double.
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("number out of range"), "{error}"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(value) = json::parse(&bytes, &Limits::DEFAULT) {
            prop_assert_eq!(json::parse(&written(&value), &Limits::DEFAULT).unwrap(), value);
        }
    }

    #[test]
    fn numbers_compare_as_scaled_integers(a in -9999i128..9999, b in -9999i128..9999, x in 0u32..9, y in 0u32..9) {
        let number = |digits: i128, exponent: u32| Number::from_text(&format!("{digits}e-{exponent}")).unwrap();
        let exact = (a * 10i128.pow(9 - x)).cmp(&(b * 10i128.pow(9 - y)));
        prop_assert_eq!(number(a, x).cmp_exact(&number(b, y)), exact);
        prop_assert_eq!(number(b, y).cmp_exact(&number(a, x)), exact.reverse());
    }

    #[test]
    fn a_number_is_exact_iff_its_canonical_form_says_the_same(number in number()) {
        let double: f64 = number.as_str().parse().unwrap();
        let form = serde_json::Number::from_f64(double).map(|number| number.to_string());
        let kept = form.and_then(|form| Number::from_text(&form)).is_some_and(|form| form.cmp_exact(&number) == Ordering::Equal);
        prop_assert_eq!(number.is_exact(), kept && double.abs() < 9_007_199_254_740_992.0);
    }

    #[test]
    fn a_decided_message_has_no_other_meaning(
        era in era(), id in id(), arguments in any_value(), changes in vec(change(), 0..4)
    ) {
        let body = changed(call(era, &id, &arguments), &changes);
        if let Some(request) = request(&body, era) {
            // Our own reading of what is forwarded finds nothing new …
            let forwarded = message::upstream_body(&request, "ours");
            let again = self::request(&forwarded, era);
            // … and a reader that is lenient in its own way finds the same call there and in what was sent.
            match serde_json::from_slice::<serde_json::Value>(&body) {
                Ok(raw) => {
                    let sent: serde_json::Value = serde_json::from_slice(&forwarded).unwrap();
                    prop_assert_eq!(raw["method"].as_str(), Some(request.method.as_str()));
                    prop_assert_eq!(raw["params"]["name"].as_str(), request.tool());
                    prop_assert_eq!(&sent["params"], &raw["params"]);
                }
                // Outside the arguments a number may be one that it cannot hold.
                Err(error) => prop_assert!(error.to_string().contains("number out of range"), "{error}"),
            }
            prop_assert_eq!(again, Some(Request { id: Id::Text("ours".to_owned()), ..request }));
        }
    }

    #[test]
    fn an_unchanged_call_is_read_as_sent(era in era(), id in id(), path in text()) {
        let arguments: Object = [("path", Value::from(path))].into_iter().collect();
        let request = request(&call(era, &id, &arguments.clone().into()), era).unwrap();
        prop_assert_eq!(request.arguments(), Some(&arguments));
        prop_assert_eq!(request.id, id);
    }

    #[test]
    fn an_answer_comes_back_under_its_own_id(id in id(), value in any_value()) {
        let mut body = br#"{"jsonrpc":"2.0","id":"ours","result":{"x":"#.to_vec();
        body.extend_from_slice(&written(&value));
        body.extend_from_slice(b"}}");
        let response = read_response(&body, "ours", Era::Stateless).unwrap();
        let told = json::parse(&write_response(&response, &id), &Limits::ANSWER).unwrap();
        prop_assert_eq!(told.get("id").and_then(Id::read), Some(id));
        prop_assert_eq!(told.get("result").and_then(|result| result.get("x")), Some(&value));
    }

    #[test]
    fn a_stream_has_the_same_events_however_it_is_cut(bytes in vec(select(b"data: id\x00event\nretry\r\n\n\r:1 ".to_vec()), 0..80), cuts in vec(any::<Index>(), 0..8)) {
        let mut whole = Decoder::new(1 << 12);
        let expected = whole.feed(&bytes).unwrap();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut pieces = Decoder::new(1 << 12);
        let events: Vec<Event> =
            at.windows(2).flat_map(|cut| pieces.feed(&bytes[cut[0]..cut[1]]).unwrap()).collect();
        prop_assert_eq!(events, expected);
        prop_assert_eq!(pieces.is_between_events(), whole.is_between_events());
        prop_assert_eq!(pieces.take_comments(), whole.take_comments());
    }

    #[test]
    fn an_event_is_read_as_it_was_written(events in vec(event(), 0..5)) {
        let mut bytes = Vec::new();
        for event in &events {
            encode(event, &mut bytes);
        }
        prop_assert_eq!(Decoder::new(1 << 12).feed(&bytes).unwrap(), events);
    }

    #[test]
    fn no_event_breaks_out_of_its_frame(event in text(), data in any::<String>(), id in any::<String>()) {
        let mut bytes = Vec::new();
        encode(&Event { event: Some(event), data: Some(data.clone()), id: Some(id), retry: None }, &mut bytes);
        let events = Decoder::new(1 << 16).feed(&bytes).unwrap();
        prop_assert_eq!(events.len(), 1);
        let lines = data.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(events[0].data.as_deref(), Some(lines.as_str()));
    }

    #[test]
    fn a_stream_passes_on_one_answer_at_most(era in era(), messages in vec(any_value(), 0..4)) {
        let mut stream = Stream::new(Some("ours"), era, Kind::Answer);
        let answer = r#"{"jsonrpc":"2.0","id":"ours","result":{}}"#;
        for message in &messages {
            let _ = stream.judge(&String::from_utf8(written(message)).unwrap());
        }
        prop_assert!(stream.judge(answer).is_ok());
        prop_assert!(stream.judge(answer).is_err());
    }

    #[test]
    fn a_field_value_is_read_as_it_was_written(text in prop_oneof![text(), "=\\?base64\\?[a-zA-Z0-9+/=]{0,8}\\?="]) {
        let field = value::encode(&text);
        prop_assert!(field.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        prop_assert_eq!(value::decode(&field), Some(text));
    }

    #[test]
    fn any_head_is_read_or_refused(
        target in "[/a-z%.?#\\\\]{0,12}",
        fields in vec((select(vec!["host", "authorization", "connection", "mcp-name", "mcp-param-a", "accept", "traceparent", "user-agent", "content-type", "x_y"]), vec(any::<u8>(), 0..16)), 0..8),
    ) {
        if let Ok(head) = Head::read("POST", &target, fields.iter().map(|(name, value)| (*name, value.as_slice()))) {
            prop_assert!(head.path.starts_with('/') && !head.path.contains(['%', '\\', '#']));
        }
    }
}
