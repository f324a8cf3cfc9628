//! Snapshots and facts for tests, written as JSON.

use crate::facts::Facts;
use crate::json::{Limits, Object, Value, parse, write};
use crate::policy::Memory;
use crate::snapshot::Snapshot;

pub fn json(text: &str) -> Value {
    parse(text.as_bytes(), &Limits { members: 10_000_000, ..Limits::DEFAULT })
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub fn text(value: &Value) -> String {
    let mut out = Vec::new();
    write(value, &mut out);
    String::from_utf8(out).unwrap()
}

fn bytes(partial: bool, members: &str, rules: &str) -> Vec<u8> {
    format!(
        r#"{{"format":1,"partial":{partial},"lockdown":false,
        "gateway":{{"url":"http://127.0.0.1:8811","hosts":[],"origins":[],"refusals":"error"}},
        "audit":{{"durability":"by_class","redact":["secret"]}},"issuers":[],{members},
        "policy":{{"timezone":"UTC","rules":{rules}}}}}"#
    )
    .into_bytes()
}

/// Nothing but rules.
pub fn partial(rules: &str) -> Snapshot {
    Snapshot::compile(&bytes(true, r#""people":[],"agents":[],"services":[],"servers":[]"#, rules)).unwrap()
}

/// The house of the other tests: two people, two agents, a service, two servers.
pub fn house(rules: &str) -> Snapshot {
    compile(rules).unwrap()
}

pub fn compile(rules: &str) -> Result<Snapshot, crate::snapshot::SnapshotError> {
    Snapshot::compile(&bytes(
        false,
        r#""people":[{"key":"alice","id":"human:corp:alice"},{"key":"bob","id":null}],
        "agents":[
          {"key":"bot","id":"agent:local:bot","owner":"alice","purpose":null,"environment":null,"clients":[["corp","cli"]],
           "ceiling":{"servers":["notes"],"tools":null,"classes":["read","query","update"]},"expires":null},
          {"key":"narrow","id":"agent:local:narrow","owner":"bob","purpose":"one tool","environment":null,"clients":[],
           "ceiling":{"servers":["notes"],"tools":["notes/echo"],"classes":["read"]},"expires":1000}],
        "services":[{"key":"batch","id":"service:local:batch","owner":"alice"}],
        "servers":[
          {"name":"notes","url":"http://127.0.0.1:1/mcp","owner":"alice","environment":null,"identity":"jwt",
           "default_class":"admin","tools":{"echo":"read","add":"query","write":"update","delete":"admin"},
           "timeout_s":60,"max_response_bytes":1000},
          {"name":"mail","url":"http://127.0.0.1:2/mcp","owner":"bob","environment":null,"identity":"none",
           "default_class":"read","tools":{"send":"update"},"timeout_s":60,"max_response_bytes":1000}]"#,
        rules,
    ))
}

pub fn facts(snapshot: &Snapshot, text: &str) -> Facts {
    Facts::from_json(&json(text), Some(snapshot)).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The answer of the hot path: memory off, then filled, then hit; all must agree.
pub fn answer(snapshot: &Snapshot, facts: &Facts) -> Object {
    let answers = [Memory::Off, Memory::On, Memory::On]
        .map(|memory| snapshot.explain_decision(facts, &snapshot.decide(facts, memory)));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
    answers[0].as_object().unwrap().clone()
}

/// `allow`, or the reason.
pub fn reason(snapshot: &Snapshot, facts_text: &str) -> String {
    let answer = answer(snapshot, &facts(snapshot, facts_text));
    answer.get("reason").unwrap().as_str().unwrap_or("allow").to_owned()
}

pub fn names(rules: &Value) -> Vec<&str> {
    rules.as_array().unwrap().iter().map(|rule| rule.get("name").unwrap().as_str().unwrap()).collect()
}

/// One rule of one branch, from (criterion, path, op, value) leaves; `op` empty for a bare criterion.
pub fn rule(name: &str, effect: &str, op: &str, leaves: &[(&str, &str, &str)]) -> String {
    rule_in(name, effect, "enforce", op, leaves)
}

pub fn rule_in(name: &str, effect: &str, mode: &str, op: &str, leaves: &[(&str, &str, &str)]) -> String {
    let leaves: Vec<String> = leaves
        .iter()
        .map(|(criterion, op, value)| {
            let (criterion, path) = match criterion.split_once('/') {
                Some((criterion, path)) => (criterion, format!("\"{path}\"")),
                None => (*criterion, "null".to_owned()),
            };
            let op = if value.is_empty() { "" } else { op };
            let tests = if op.is_empty() { String::new() } else { format!(r#"{{"op":"{op}","value":{value}}}"#) };
            let text = format!("{criterion}: {op}");
            format!(r#"{{"criterion":"{criterion}","path":{path},"line":3,"text":"{text}","tests":[{tests}]}}"#)
        })
        .collect();
    format!(
        r#"{{"name":"{name}","file":"policy.yaml","line":1,"effect":"{effect}","mode":"{mode}","owner":null,"any":[{{"op":"{op}","of":[{}]}}]}}"#,
        leaves.join(",")
    )
}

pub fn rules(rules: &[String]) -> String {
    format!("[{}]", rules.join(","))
}
