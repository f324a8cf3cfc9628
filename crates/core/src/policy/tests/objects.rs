//! Prompts, resources, completion, and what servers ask: which rules speak of them.

use super::kit::{answer, facts, house, json, names, partial, reason, rule, rules, text};
use crate::deny::Reason;
use crate::facts::Facts;
use crate::facts::method::METHODS;
use crate::policy::{Memory, Verdict};

pub type Leaf = (&'static str, &'static str, &'static str);

pub const DEV: Leaf = ("groups", "has", "\"dev\"");
const READS: Leaf = ("action", "is", "\"read\"");
pub const FILES: Leaf = ("resource_uri", "starts_with", "\"file:///srv/\"");
pub const SUMMARIZE: Leaf = ("prompt", "is", "\"summarize\"");
pub const SAMPLING: Leaf = ("server_request", "is", "\"sampling/createMessage\"");
pub const ALICE: &str = r#""principal":{"type":"human","id":"human:corp:alice","groups":["dev"]}"#;
pub const BOT: &str = r#""principal":{"type":"human","id":"human:corp:alice","groups":["dev"]},"agent":{"id":"bot"}"#;
pub const NARROW: &str = r#""principal":{"type":"agent","id":"narrow"},"time":"1970-01-01T00:00:01Z""#;

pub fn allow(leaves: &[Leaf]) -> String {
    rule("a", "allow", "and", leaves)
}

pub fn deny(op: &str, leaves: &[Leaf]) -> String {
    rule("d", "deny", op, leaves)
}

/// What each message comes to, under one list of rules.
pub fn check(list: &[String], who: &str, messages: &[(&str, &str)]) {
    let snapshot = house(&rules(list));
    for (message, expected) in messages {
        assert_eq!(
            reason(&snapshot, &format!(r#"{{{who},"server":"notes",{message}}}"#)),
            *expected,
            "{message} {list:?}"
        );
    }
}

const CALL: &str = r#""tool":"echo""#;
const GET: &str = r#""mcp_method":"prompts/get","prompt":"summarize","arguments":{"style":"short"}"#;
const OTHER_PROMPT: &str = r#""mcp_method":"prompts/get","prompt":"review""#;
const COMPLETE: &str = r#""mcp_method":"completion/complete","prompt":"summarize""#;
const COMPLETE_URI: &str = r#""mcp_method":"completion/complete","resource_uri":"file:///srv/{name}""#;
const READ: &str = r#""mcp_method":"resources/read","resource_uri":"file:///srv/a""#;
const READ_ELSEWHERE: &str = r#""mcp_method":"resources/read","resource_uri":"file:///etc/passwd""#;
const SUBSCRIBE: &str = r#""mcp_method":"resources/subscribe","resource_uri":"file:///srv/a""#;
const LISTEN: &str = r#""mcp_method":"subscriptions/listen","resource_uri":"file:///srv/a""#;
const SAMPLE: &str = r#""tool":"echo","server_request":"sampling/createMessage","arguments":{"maxTokens":10}"#;
const SAMPLE_IN_STREAM: &str = r#""mcp_method":"session/stream","server_request":"sampling/createMessage""#;
const ELICIT: &str = r#""mcp_method":"prompts/get","prompt":"summarize","server_request":"elicitation/create","arguments":{"url":"https://example.com/x"}"#;
const ELICIT_ELSEWHERE: &str = r#""mcp_method":"prompts/get","prompt":"summarize","server_request":"elicitation/create","arguments":{"url":"https://evil.test/x"}"#;
const PING: &str = r#""mcp_method":"ping""#;

#[test]
fn an_allow_speaks_of_what_its_leaves_speak_of_and_of_tool_calls_without_them() {
    check(
        &[allow(&[DEV])],
        ALICE,
        &[
            (CALL, "allow"),
            (GET, "no_rule"),
            (COMPLETE, "no_rule"),
            (READ, "no_rule"),
            (SUBSCRIBE, "no_rule"),
            (LISTEN, "no_rule"),
            (SAMPLE, "no_rule"),
            (SAMPLE_IN_STREAM, "no_rule"),
            (PING, "allow"),
        ],
    );
    check(
        &[allow(&[DEV, SUMMARIZE])],
        ALICE,
        &[
            (CALL, "no_rule"),
            (GET, "allow"),
            (OTHER_PROMPT, "no_rule"),
            (COMPLETE, "allow"),
            (COMPLETE_URI, "no_rule"),
            (READ, "no_rule"),
            (ELICIT, "no_rule"),
            (PING, "allow"),
        ],
    );
    check(
        &[allow(&[DEV, FILES])],
        ALICE,
        &[
            (READ, "allow"),
            (READ_ELSEWHERE, "no_rule"),
            (SUBSCRIBE, "allow"),
            (LISTEN, "allow"),
            (COMPLETE_URI, "allow"),
            (COMPLETE, "no_rule"),
            (CALL, "no_rule"),
            (PING, "allow"),
        ],
    );
    check(
        &[allow(&[DEV, ("mcp_method", "in", "[\"prompts/get\",\"resources/read\"]")])],
        ALICE,
        &[(GET, "allow"), (READ, "allow"), (SUBSCRIBE, "no_rule"), (CALL, "no_rule"), (ELICIT, "no_rule")],
    );
    // A negated leaf is a leaf; what it speaks of must be there all the same.
    check(
        &[allow(&[DEV, ("prompt", "not", "\"review\"")])],
        ALICE,
        &[(GET, "allow"), (OTHER_PROMPT, "no_rule"), (READ, "no_rule"), (CALL, "no_rule")],
    );
}

#[test]
fn only_an_allow_with_server_request_speaks_of_what_a_server_asks_and_of_nothing_else() {
    check(
        &[allow(&[DEV, SAMPLING])],
        ALICE,
        &[
            (SAMPLE, "allow"),
            (SAMPLE_IN_STREAM, "allow"),
            (ELICIT, "no_rule"),
            (CALL, "no_rule"),
            (GET, "no_rule"),
            // It opens no way in.
            (PING, "no_rule"),
        ],
    );
    check(
        &[allow(&[DEV, ("mcp_tool", "is", "\"echo\""), ("server_request", "not", "\"ping\"")])],
        ALICE,
        &[(SAMPLE, "allow"), (SAMPLE_IN_STREAM, "no_rule"), (ELICIT, "no_rule")],
    );
    check(
        &[allow(&[
            DEV,
            ("server_request", "is", "\"elicitation/create\""),
            ("argument/url", "host", "\"example.com\""),
        ])],
        ALICE,
        &[(ELICIT, "allow"), (ELICIT_ELSEWHERE, "no_rule"), (SAMPLE, "no_rule")],
    );
    for method in ["mcp_method", "prompt"] {
        check(&[allow(&[DEV, (method, "ends_with", "\"\"")])], ALICE, &[(ELICIT, "no_rule"), (GET, "allow")]);
    }
}

#[test]
fn each_way_of_an_allow_speaks_for_itself() {
    let either = rule("a", "allow", "or", &[DEV, SUMMARIZE, SAMPLING]);
    check(&[either], ALICE, &[(CALL, "allow"), (GET, "allow"), (OTHER_PROMPT, "no_rule"), (SAMPLE, "allow")]);
    check(
        &[rule("a", "allow", "nor", &[("groups", "has", "\"ops\""), ("prompt", "is", "\"review\"")])],
        ALICE,
        &[(CALL, "allow"), (GET, "allow"), (OTHER_PROMPT, "no_rule"), (READ, "no_rule")],
    );
}

#[test]
fn a_deny_speaks_of_whatever_it_matches() {
    let all = [
        allow(&[("accept", "", "")]),
        allow(&[("accept", "", ""), ("mcp_method", "ends_with", "\"\"")]),
        allow(&[("accept", "", ""), ("server_request", "ends_with", "\"\"")]),
    ];
    let with = |rule: String| [all.to_vec(), vec![rule]].concat();
    let everything = [CALL, GET, COMPLETE, READ, LISTEN, SAMPLE, SAMPLE_IN_STREAM, ELICIT];
    check(&all, ALICE, &everything.map(|message| (message, "allow")));
    check(&with(deny("and", &[DEV])), ALICE, &everything.map(|message| (message, "denied_by_rule")));
    check(
        &with(deny("or", &[FILES])),
        ALICE,
        &[(READ, "denied_by_rule"), (LISTEN, "denied_by_rule"), (READ_ELSEWHERE, "allow"), (CALL, "allow")],
    );
    check(
        &with(deny("or", &[("server_request", "is", "\"elicitation/create\"")])),
        ALICE,
        &[(ELICIT, "denied_by_rule"), (SAMPLE, "allow"), (GET, "allow")],
    );
    // What is not there meets a deny where it stands negated.
    check(
        &with(deny("not", &[SUMMARIZE])),
        ALICE,
        &[(GET, "allow"), (ELICIT, "allow"), (CALL, "denied_by_rule"), (READ, "denied_by_rule")],
    );
    check(
        &with(deny("and", &[("argument/style", "is", "\"short\"")])),
        ALICE,
        &[(GET, "denied_by_rule"), (OTHER_PROMPT, "allow"), (READ, "allow")],
    );
}

#[test]
fn prompts_and_resources_are_of_class_read_and_what_a_server_asks_is_of_that_of_the_call() {
    check(
        &[
            allow(&[DEV, READS, ("mcp_method", "ends_with", "\"\"")]),
            allow(&[DEV, READS, ("server_request", "ends_with", "\"\"")]),
        ],
        ALICE,
        &[
            (GET, "allow"),
            (COMPLETE, "allow"),
            (READ, "allow"),
            (r#""mcp_method":"resources/read","resource_uri":"x:y","class":"admin""#, "allow"),
            (SAMPLE, "allow"),
            (SAMPLE_IN_STREAM, "allow"),
            (r#""tool":"write","server_request":"ping""#, "no_rule"),
            (r#""tool":"not_declared","server_request":"ping""#, "no_rule"),
        ],
    );
}

#[test]
fn ceilings_and_scopes_hold_for_everything_that_is_named() {
    let all = [
        allow(&[("accept", "", ""), ("mcp_method", "ends_with", "\"\"")]),
        allow(&[("accept", "", ""), ("server_request", "ends_with", "\"\"")]),
    ];
    let delete = r#""tool":"delete","server_request":"ping""#;
    check(
        &all,
        BOT,
        &[(GET, "allow"), (READ, "allow"), (SAMPLE, "allow"), (SAMPLE_IN_STREAM, "allow"), (delete, "ceiling")],
    );
    // A ceiling that lists tools is one for tools only.
    check(
        &all,
        NARROW,
        &[
            (CALL, "allow"),
            (SAMPLE, "allow"),
            (GET, "ceiling"),
            (READ, "ceiling"),
            (COMPLETE, "ceiling"),
            (SAMPLE_IN_STREAM, "ceiling"),
            (ELICIT, "ceiling"),
        ],
    );
    let query = format!(r#"{BOT},"token":{{"scope":"mcp:query"}}"#);
    check(&all, &query, &[(GET, "scope"), (READ, "scope"), (SAMPLE, "scope"), (PING, "allow")]);
    let reading = format!(r#"{BOT},"token":{{"scope":"mcp:read"}}"#);
    check(&all, &reading, &[(GET, "allow"), (READ, "allow"), (SAMPLE, "allow")]);
    let snapshot = house(&rules(&all));
    let facts = facts(&snapshot, &format!(r#"{{{query},"server":"notes",{READ}}}"#));
    assert_eq!(text(answer(&snapshot, &facts).get("remedy").unwrap()), r#"{"kind":"scope","scopes":["mcp:read"]}"#);
}

#[test]
fn every_method_of_the_table_is_decided_and_no_other() {
    let snapshot = house(&rules(&[allow(&[("accept", "", ""), ("mcp_method", "ends_with", "\"\"")])]));
    let decide = |edit: &dyn Fn(&mut Facts)| {
        let mut facts = facts(&snapshot, &format!(r#"{{{ALICE},"server":"notes","mcp_method":"ping"}}"#));
        edit(&mut facts);
        match snapshot.decide(&facts, Memory::Off).verdict {
            Verdict::Allow(_) => None,
            Verdict::Deny(reason) => Some(reason),
        }
    };
    let some = || Some("x:y".to_owned());
    for method in &METHODS {
        let name = || method.name.to_owned();
        let fit = |fits: bool| if fits { None } else { Some(Reason::Malformed) };
        assert_eq!(decide(&|facts| facts.mcp_method = name()), fit(method.bare), "{method:?}");
        for (can, edit) in [
            (method.tool, (|facts, some| facts.tool = some) as fn(&mut Facts, Option<String>)),
            (method.prompt, |facts, some| facts.prompt = some),
            (method.resource, |facts, some| facts.resource_uri = some),
        ] {
            let edit = |facts: &mut Facts| {
                facts.mcp_method = name();
                edit(facts, some());
            };
            assert_eq!(decide(&edit), fit(can), "{method:?}");
        }
        let both = |facts: &mut Facts| {
            facts.mcp_method = name();
            facts.prompt = some();
            facts.resource_uri = some();
        };
        assert_eq!(decide(&both), Some(Reason::Malformed), "{method:?}");
    }
    for unknown in ["tasks/get", "resources/write", "Ping", "sampling/createMessage", ""] {
        assert_eq!(decide(&|facts| facts.mcp_method = unknown.to_owned()), Some(Reason::UnknownMethod), "{unknown}");
    }
    for (asked, expected) in [("ping", Reason::NoRule), ("tools/call", Reason::UnknownMethod)] {
        assert_eq!(decide(&|facts| facts.server_request = Some(asked.to_owned())), Some(expected), "{asked}");
    }
    let arguments = std::sync::Arc::new(json("{}"));
    for (method, prompt, resource, expected) in [
        ("prompts/get", true, false, None),
        ("completion/complete", true, false, Some(Reason::Malformed)),
        ("resources/read", false, true, Some(Reason::Malformed)),
        ("ping", false, false, Some(Reason::Malformed)),
    ] {
        let edit = |facts: &mut Facts| {
            facts.mcp_method = method.to_owned();
            facts.prompt = some().filter(|_| prompt);
            facts.resource_uri = some().filter(|_| resource);
            facts.arguments = Some(arguments.clone());
        };
        assert_eq!(decide(&edit), expected, "{method}");
    }
}

#[test]
fn the_projection_says_what_it_was_about_and_only_what_rules_read() {
    let snapshot = house(&rules(&[
        allow(&[DEV, SUMMARIZE, ("argument/style", "is", "\"short\"")]),
        allow(&[DEV, FILES, ("argument/x", "is", "1")]),
        allow(&[DEV, ("server_request", "is", "\"elicitation/create\""), ("argument/url", "host", "\"x.test\"")]),
    ]));
    let who = r#""principal":{"groups":["dev"],"id":"human:corp:alice","type":"human"}"#;
    for (message, before, after) in [
        (
            r#""mcp_method":"prompts/get","prompt":"summarize","arguments":{"style":"short","z":1}"#,
            r#""arguments":{"style":"short"},"class":"read","mcp_method":"prompts/get","#,
            r#","prompt":"summarize","server":"notes""#,
        ),
        (
            READ,
            r#""class":"read","mcp_method":"resources/read","#,
            r#","resource_uri":"file:///srv/a","server":"notes""#,
        ),
        (
            r#""tool":"echo","server_request":"elicitation/create","arguments":{"url":"u","message":"m"}"#,
            r#""arguments":{"url":"u"},"class":"read","mcp_method":"tools/call","#,
            r#","server":"notes","server_request":"elicitation/create","tool":"echo""#,
        ),
    ] {
        let facts = facts(&snapshot, &format!(r#"{{{ALICE},"server":"notes",{message}}}"#));
        let decision = snapshot.decide(&facts, Memory::On);
        assert_eq!(String::from_utf8_lossy(&decision.facts_json), format!("{{{before}{who}{after}}}"));
        let again = Facts::from_json(&json(&String::from_utf8_lossy(&decision.facts_json)), Some(&snapshot)).unwrap();
        assert_eq!(snapshot.decide(&again, Memory::Off).finding, decision.finding);
    }
}

#[test]
fn a_refusal_says_that_the_nearest_rule_speaks_of_something_else() {
    let snapshot = house(&rules(&[allow(&[DEV]), rule("s", "allow", "and", &[DEV, SAMPLING])]));
    let near = |message: &str| {
        let facts = facts(&snapshot, &format!(r#"{{{ALICE},"server":"notes",{message}}}"#));
        let answer = answer(&snapshot, &facts);
        let nearest = answer.get("nearest").unwrap();
        assert_eq!(names(nearest), ["a", "s"], "{message}");
        text(nearest.as_array().unwrap()[0].get("failed").unwrap())
    };
    let calls = "an allow without `mcp_method`, `resource_uri`, `prompt` or `server_request` speaks of tools/call only";
    assert_eq!(near(READ), format!("[\"{calls}\"]"));
    assert_eq!(near(ELICIT), format!("[\"{calls}\"]"));
}

#[test]
fn rules_alone_decide_about_servers_that_nobody_declared() {
    let snapshot = partial(&rules(&[allow(&[("accept", "", ""), FILES]), allow(&[("accept", "", ""), SAMPLING])]));
    let who = r#""principal":{"type":"human","id":"human:corp:alice"}"#;
    for (message, expected) in [
        (READ, "allow"),
        (READ_ELSEWHERE, "no_rule"),
        (SAMPLE, "allow"),
        (ELICIT, "no_rule"),
        (CALL, "no_rule"),
        (PING, "allow"),
    ] {
        assert_eq!(reason(&snapshot, &format!(r#"{{{who},"server":"any",{message}}}"#)), expected, "{message}");
    }
}
