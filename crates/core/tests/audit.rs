//! The record and its chain: what a line looks like, and how each way of tampering is found.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failing test may panic")]

use ostiary_core::audit::{
    Chain, GENESIS, Json, Kind, Outcome, Record, Request, Rule, SegmentReport, Upstream, Verifier, checkpoint, control,
    recovery,
};
use ostiary_core::json::{Limits, Object, Value, canonical, parse};
use ostiary_core::token::SigningKey;

const TIME: i64 = 1_795_000_000_123;

fn deny<'a>(id: &'a str, tool: &'a str) -> Record<'a> {
    Record { tool: Some(tool), decision: Some("deny"), ..Record::new(Kind::Deny, id, TIME, "gw", "abc") }
}

fn full<'a>(kind: Kind, args: &'a Value, act: &'a [u8], rules: &'a [Rule<'a>]) -> Record<'a> {
    Record {
        principal: Json::Canonical(br#"{"id":"human:corp:alice","type":"human"}"#),
        agent: Some("agent:local:release-bot"),
        act: Json::Canonical(act),
        token: Json::Canonical(br#"{"client_id":null,"issuer":"corp","jti":"t1","scope":[]}"#),
        request: Request {
            ip: Some("127.0.0.1"),
            method: Some("POST"),
            path: Some("/mcp/notes"),
            user_agent: Some("curl"),
            traceparent: Some("00-a-b-01"),
            era: Some("stateless"),
            session: Some("s"),
        },
        task: Some("t"),
        purpose: Some("p"),
        server: Some("notes"),
        tool: Some("echo"),
        resource: Some("r"),
        prompt: Some("p"),
        mcp_method: Some("tools/call"),
        action: Some("read"),
        args_sha256: Some("x"),
        args: Json::Value(args),
        redacted: Some(&[]),
        facts: Json::Value(args),
        decision: Some("allow"),
        reason: Some("no_rule"),
        rules,
        shadow: Json::Value(args),
        remedy: Json::Value(args),
        labels: Json::Canonical(b"[]"),
        outcome: Some(Outcome::Ok),
        upstream: Some(Upstream { url: "http://up", status: Some(200), ms: Some(3), bytes: Some(10) }),
        ms: 4,
        count: Some(2),
        ..Record::new(kind, "id-1", TIME, "gw", "abc")
    }
}

/// A chain of `tools`, one refusal each, as lines without their ends.
fn chain_of(tools: &[&str]) -> Vec<Vec<u8>> {
    let mut chain = Chain::START;
    let mut lines = Vec::new();
    for tool in tools {
        let mut draft = deny("id", tool).draft();
        let (line, next) = chain.next(&mut draft);
        lines.push(line.strip_suffix(b"\n").unwrap().to_vec());
        chain = next;
    }
    lines
}

fn judge(prev: Option<&str>, lines: &[Vec<u8>]) -> SegmentReport {
    let mut verifier = Verifier::new(prev);
    for line in lines {
        verifier.line(line);
    }
    verifier.finish(false)
}

fn read(line: &[u8]) -> Object {
    parse(line, &Limits::DEFAULT).unwrap().as_object().unwrap().clone()
}

#[test]
fn every_record_is_one_canonical_line_with_the_same_members() {
    let args = parse(br#"{"b":[1.50,null],"a":{"z":1e2}}"#, &Limits::DEFAULT).unwrap();
    let rules = [
        Rule { name: "n", file: "f", line: 3, owner: None },
        Rule { name: "m", file: "f", line: 4, owner: Some("alice") },
    ];
    let mut members: Option<Vec<String>> = None;
    let mut chain = Chain::START;
    let mut lines = Vec::new();
    for record in [
        full(Kind::Intent, &args, b"[\"a\"]", &rules),
        full(Kind::Outcome, &args, b"[]", &rules[..1]),
        full(Kind::Deny, &args, b"[]", &[]),
        deny("id-2", "echo"),
        Record::new(Kind::Deny, "id-3", 0, "gw", ""),
    ] {
        let mut draft = record.draft();
        let (line, next) = chain.next(&mut draft);
        let line = line.strip_suffix(b"\n").unwrap();
        let mut again = Vec::new();
        canonical(&Value::Object(read(line)), &mut again);
        assert_eq!(String::from_utf8_lossy(line), String::from_utf8_lossy(&again));
        let names: Vec<String> = read(line).iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(members.get_or_insert_with(|| names.clone()), &names);
        lines.push(line.to_vec());
        chain = next;
    }
    let report = judge(Some(&"0".repeat(64)), &lines);
    assert_eq!((report.records, report.bad, report.last_hash.as_deref()), (5, None, Some(chain.last_text())));
    assert_eq!(read(&lines[0]).get("time").unwrap().as_str(), Some("2026-11-18T11:06:40.123Z"));
    assert_eq!(chain.count, 5);
}

#[test]
fn log_injection_stays_inside_its_string() {
    // attacks.md L08
    for text in
        ["a\r\n{\"kind\":\"intent\"}", "\u{1b}[2J\u{1b}[31m", "\",\"allow\":true,\"x\":\"", "\u{0}\u{7f}\u{2028}", "\\"]
    {
        let mut draft = Record {
            request: Request { user_agent: Some(text), ..Request::default() },
            args: Json::Value(&Value::from(text)),
            ..deny("id", text)
        }
        .draft();
        let line = Chain::START.next(&mut draft).0.to_vec();
        let line = line.strip_suffix(b"\n").unwrap();
        assert!(line.iter().all(|byte| *byte >= 0x20), "{text:?}");
        let record = read(line);
        assert_eq!(record.get("tool").unwrap().as_str(), Some(text));
        assert_eq!(record.get("args").unwrap().as_str(), Some(text));
        assert_eq!(record.get("request").unwrap().get("user_agent").unwrap().as_str(), Some(text));
        assert_eq!(record.get("allow"), None);
        assert_eq!(judge(None, &[line.to_vec()]).bad, None);
    }
}

#[test]
fn each_way_of_tampering_names_the_first_bad_record() {
    let good = chain_of(&["a", "b", "c", "d", "e"]);
    let genesis = String::from_utf8(GENESIS.to_vec()).unwrap();
    let forged = |at: usize, from: &str, to: &str| {
        let mut lines = good.clone();
        lines[at] = String::from_utf8(lines[at].clone()).unwrap().replace(from, to).into_bytes();
        lines
    };
    let moved = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = good.clone();
        change(&mut lines);
        lines
    };
    let cases = [
        ("untouched", good.clone(), None::<u64>),
        ("an edit", forged(2, r#""tool":"c""#, r#""tool":"x""#), Some(2)),
        ("an edited decision", forged(0, r#""decision":"deny""#, r#""decision":"allow""#), Some(0)),
        ("a deletion", moved(&|lines| drop(lines.remove(2))), Some(2)),
        ("a deleted beginning", moved(&|lines| drop(lines.remove(0))), Some(0)),
        ("two swapped", moved(&|lines| lines.swap(1, 2)), Some(1)),
        ("an insertion", moved(&|lines| lines.insert(3, chain_of(&["x"])[0].clone())), Some(3)),
        ("a repetition", moved(&|lines| lines.insert(3, lines[2].clone())), Some(3)),
        ("a cut line", moved(&|lines| lines[4].truncate(100)), Some(4)),
        ("an empty line", moved(&|lines| lines.insert(1, Vec::new())), Some(1)),
        ("white space", forged(1, r#""tool":"b""#, r#""tool": "b""#), Some(1)),
        ("another spelling", forged(1, r#""tool":"b""#, r#""tool":"\u0062""#), Some(1)),
        ("a duplicate key", forged(1, r#""tool":"b""#, r#""tool":"x","tool":"b""#), Some(1)),
        ("a chain made anew after an edit", chain_of(&["a", "b", "x", "d", "e"]), None),
    ];
    for (what, lines, bad) in cases {
        let report = judge(Some(&genesis), &lines);
        assert_eq!(report.bad.as_ref().map(|bad| bad.index), bad, "{what}: {report:?}");
        assert_eq!(report.records, bad.unwrap_or(5), "{what}");
    }
    // A lost tail shows by the segment after it, or by a checkpoint kept elsewhere.
    let tail = judge(Some(&genesis), &good[..3]);
    let next = judge(tail.last_hash.as_deref(), &good[4..]);
    assert_eq!((tail.bad, next.bad.unwrap().index), (None, 0));
}

#[test]
fn a_checkpoint_states_the_chain_before_it_and_a_wrong_one_is_found() {
    let key = SigningKey::from_seed("k", &[1; 32]).unwrap();
    let build = |lie: bool| {
        let mut chain = Chain::START;
        let mut lines = Vec::new();
        for at in 0..6 {
            let stated = Chain { count: chain.count + u64::from(lie && at == 4), ..chain };
            let mut draft =
                if at % 2 == 0 { checkpoint(&stated, &key, "c", TIME, "gw") } else { deny("id", "a").draft() };
            let (line, next) = chain.next(&mut draft);
            lines.push(line.strip_suffix(b"\n").unwrap().to_vec());
            chain = next;
        }
        lines
    };
    let report = judge(None, &build(false));
    assert_eq!((report.bad, report.checkpoints, report.counted), (None, 3, Some((4, 2))));
    assert_eq!(judge(None, &build(true)).bad.unwrap().index, 4);
    // Where the segment's place in the chain is not known, its first checkpoint is believed, and later ones held to it.
    assert_eq!(judge(None, &build(false)[1..]).bad, None);
    assert_eq!(judge(None, &build(true)[2..]).bad.unwrap().index, 2);
}

#[test]
fn control_records_take_any_members_but_the_journals_own() {
    let object = |text: &str| parse(text.as_bytes(), &Limits::DEFAULT).unwrap().as_object().unwrap().clone();
    let mut draft =
        control(&object(r#"{"zz":[1.0],"kind":"admin","event":"key","a":{"b":1}}"#), "i", TIME, "gw").unwrap();
    let (line, chain) = Chain::START.next(&mut draft);
    let mut lines = vec![line.strip_suffix(b"\n").unwrap().to_vec()];
    let mut draft = recovery("00000001.jsonl", "why", 7, "i2", TIME, "gw");
    lines.push(chain.next(&mut draft).0.strip_suffix(b"\n").unwrap().to_vec());
    assert_eq!(judge(None, &lines).bad, None);
    assert!(String::from_utf8_lossy(&lines[0]).starts_with(r#"{"a":{"b":1},"event":"key","gateway":"gw","hash":""#));
    for refused in [
        r#"{"event":"x"}"#,
        r#"{"kind":"intent"}"#,
        r#"{"kind":"checkpoint"}"#,
        r#"{"kind":"control","hash":"x"}"#,
        r#"{"kind":"control","prev":null}"#,
        r#"{"kind":"control","n":1e999}"#,
    ] {
        assert!(control(&object(refused), "i", TIME, "gw").is_err(), "{refused}");
    }
}
