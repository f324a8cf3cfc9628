//! The order of refusals, ceilings, scopes, shadow rules, what is recorded and what is explained.

use super::kit::{answer, compile, facts, house, json, names, partial, reason, rule, rule_in, rules, text};
use crate::deny::Reason;
use crate::facts::{Class, Facts, PrincipalType};
use crate::json::Value;
use crate::policy::{Memory, Verdict};
use crate::snapshot::Snapshot;

fn everybody() -> String {
    rule("everybody", "allow", "and", &[("accept", "", "")])
}

fn open() -> Snapshot {
    house(&rules(&[everybody()]))
}

#[test]
fn each_refusal_has_its_place_in_the_order() {
    let snapshot = open();
    let who = r#""principal":{"type":"human","id":"human:corp:alice"}"#;
    for (facts, expected) in [
        (format!(r#"{{{who},"server":"notes","tool":"echo"}}"#), "allow"),
        (format!(r#"{{{who},"server":"nowhere","tool":"echo"}}"#), "unknown_server"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"tasks/get"}}"#), "unknown_method"),
        (format!(r#"{{{who},"server":"nowhere","mcp_method":"tasks/get"}}"#), "unknown_server"),
        (format!(r#"{{{who},"agent":{{"id":"agent:local:bot"}},"server":"notes","tool":"write"}}"#), "allow"),
        (format!(r#"{{{who},"agent":{{"id":"bot"}},"server":"notes","tool":"write"}}"#), "allow"),
        (format!(r#"{{{who},"agent":{{"id":"agent:local:x"}},"server":"notes","tool":"write"}}"#), "agent_unknown"),
        (
            format!(r#"{{{who},"agent":{{"id":"agent:local:x"}},"server":"notes","mcp_method":"ping"}}"#),
            "agent_unknown",
        ),
        (format!(r#"{{{who},"agent":{{"id":"bot"}},"server":"notes","tool":"delete"}}"#), "ceiling"),
        (format!(r#"{{{who},"agent":{{"id":"bot"}},"server":"mail","tool":"send"}}"#), "ceiling"),
        (format!(r#"{{{who},"agent":{{"id":"bot"}},"server":"notes","tool":"not_declared"}}"#), "ceiling"),
        (format!(r#"{{{who},"server":"notes","tool":"not_declared"}}"#), "allow"),
        (
            format!(
                r#"{{{who},"agent":{{"id":"bot"}},"server":"notes","tool":"write","token":{{"scope":"mcp:read"}}}}"#
            ),
            "scope",
        ),
        (
            format!(
                r#"{{{who},"agent":{{"id":"bot"}},"server":"notes","tool":"delete","token":{{"scope":"mcp:read"}}}}"#
            ),
            "ceiling",
        ),
    ] {
        assert_eq!(reason(&snapshot, &facts), expected, "{facts}");
    }
}

#[test]
fn lockdown_refuses_before_everything_else() {
    let mut snapshot = open();
    snapshot.lockdown = true;
    let facts = r#"{"principal":{"type":"human","id":"human:corp:alice"},"server":"nowhere","tool":"echo"}"#;
    assert_eq!(reason(&snapshot, facts), "lockdown");
}

#[test]
fn an_agent_ends_at_its_expiry_and_without_a_clock() {
    let snapshot = open();
    let call = |time: &str| {
        reason(
            &snapshot,
            &format!(r#"{{"principal":{{"type":"agent","id":"narrow"}},"server":"notes","tool":"echo"{time}}}"#),
        )
    };
    assert_eq!(call(r#","time":"1970-01-01T00:16:39Z""#), "allow");
    assert_eq!(call(r#","time":"1970-01-01T00:16:40Z""#), "agent_suspended");
    assert_eq!(call(""), "agent_suspended");
}

#[test]
fn an_agent_on_the_authority_of_another_stays_inside_both_ceilings() {
    let snapshot = open();
    let call = |tool: &str| {
        let time = r#""time":"1970-01-01T00:00:01Z""#;
        reason(
            &snapshot,
            &format!(
                r#"{{"principal":{{"type":"agent","id":"narrow"}},"agent":{{"id":"bot"}},"server":"notes","tool":"{tool}",{time}}}"#
            ),
        )
    };
    assert_eq!(call("echo"), "allow");
    assert_eq!(call("write"), "ceiling");
}

#[test]
fn the_catalogue_gives_class_and_owner_where_the_facts_do_not() {
    let snapshot = house(&rules(&[rule(
        "alices-agents-read",
        "allow",
        "and",
        &[("owner", "is", "\"alice\""), ("action", "is", "\"read\"")],
    )]));
    let call = |rest: &str| {
        reason(&snapshot, &format!(r#"{{"principal":{{"type":"agent","id":"agent:local:bot"{rest},"server":"notes"}}"#))
    };
    assert_eq!(call(r#"},"tool":"echo""#), "allow");
    assert_eq!(call(r#"},"tool":"write""#), "no_rule");
    assert_eq!(call(r#"},"tool":"write","class":"read""#), "allow");
    assert_eq!(call(r#","owner":"bob"},"tool":"echo""#), "no_rule");
    assert_eq!(call(r#","owner":"human:corp:alice"},"tool":"echo""#), "allow");
}

#[test]
fn a_scope_refusal_offers_exactly_the_scope_that_turns_it() {
    let snapshot = house(&rules(&[
        everybody(),
        rule(
            "no-admins-writing",
            "deny",
            "and",
            &[("scope", "has", "\"mcp:admin\""), ("tool", "is", "\"notes/write\"")],
        ),
        rule(
            "write-needs-query",
            "deny",
            "not",
            &[("scope", "has", "\"mcp:query\""), ("tool", "not", "\"notes/write\"")],
        ),
    ]));
    let remedy = |who: &str, tool: &str, scope: &str| {
        let facts =
            facts(&snapshot, &format!(r#"{{{who},"server":"notes","tool":"{tool}","token":{{"scope":"{scope}"}}}}"#));
        text(answer(&snapshot, &facts).get("remedy").unwrap())
    };
    let alice = r#""principal":{"type":"human","id":"human:corp:alice"}"#;
    let bot = r#""principal":{"type":"agent","id":"bot"}"#;
    assert_eq!(remedy(alice, "add", "mcp:read"), r#"{"kind":"scope","scopes":["mcp:query"]}"#);
    assert_eq!(remedy(alice, "delete", "mcp:read"), r#"{"kind":"scope","scopes":["mcp:admin"]}"#);
    // Refused by a rule, and two scopes are needed together.
    assert_eq!(remedy(alice, "write", "mcp:read"), r#"{"kind":"scope","scopes":["mcp:query","mcp:update"]}"#);
    // More scope does not take scope away.
    assert_eq!(remedy(alice, "write", "mcp:admin mcp:query"), "null");
    // Outside the ceiling nothing is offered.
    assert_eq!(remedy(bot, "delete", "mcp:read"), "null");
    assert_eq!(remedy(bot, "add", "mcp:none"), r#"{"kind":"scope","scopes":["mcp:query"]}"#);
}

#[test]
fn shadow_rules_are_told_and_touch_nothing() {
    let facts_text = r#"{"principal":{"type":"human","id":"human:corp:alice"},"server":"notes","tool":"echo"}"#;
    let any = &[("accept", "", "")][..];
    let never = &[("user", "is", "\"human:corp:nobody\"")][..];
    for (list, decision, shadow) in [
        (vec![everybody(), rule_in("s", "deny", "shadow", "and", any)], "allow", r#"deny ["s"]"#),
        (vec![everybody(), rule_in("s", "deny", "shadow", "and", never)], "allow", "null"),
        (vec![rule_in("s", "allow", "shadow", "and", any)], "deny", r#"allow ["s"]"#),
        (vec![everybody(), rule_in("s", "allow", "shadow", "and", any)], "allow", r#"allow ["everybody", "s"]"#),
        (
            vec![rule("d", "deny", "and", any), rule_in("s", "allow", "shadow", "and", any), everybody()],
            "deny",
            r#"deny ["d"]"#,
        ),
        (vec![everybody()], "allow", "null"),
    ] {
        let snapshot = house(&rules(&list));
        let answer = answer(&snapshot, &facts(&snapshot, facts_text));
        assert_eq!(answer.get("decision").unwrap().as_str(), Some(decision), "{list:?}");
        let told = match answer.get("shadow").unwrap() {
            Value::Null => "null".to_owned(),
            told => {
                format!("{} {:?}", told.get("decision").unwrap().as_str().unwrap(), names(told.get("rules").unwrap()))
            }
        };
        assert_eq!(told, shadow, "{list:?}");
    }
}

#[test]
fn the_nearest_rules_are_named_with_the_leaves_that_failed() {
    let snapshot = house(&rules(&[
        rule(
            "far",
            "allow",
            "and",
            &[("user", "is", "\"human:corp:x\""), ("action", "is", "\"query\""), ("server", "is", "\"mail\"")],
        ),
        rule("near", "allow", "and", &[("user", "is", "\"human:corp:alice\""), ("action", "is", "\"query\"")]),
        rule_in("shadow", "allow", "shadow", "and", &[("action", "is", "\"query\"")]),
        rule("middle", "allow", "and", &[("user", "is", "\"human:corp:x\""), ("action", "is", "\"query\"")]),
        rule("either", "allow", "or", &[("user", "is", "\"human:corp:x\""), ("user", "is", "\"human:corp:y\"")]),
        rule("no-secrets", "deny", "or", &[("argument/q", "contains", "\"secret\""), ("argument/r", "is", "1")]),
    ]));
    let nearest = |arguments: &str| {
        let facts = facts(
            &snapshot,
            &format!(
                r#"{{"principal":{{"type":"human","id":"human:corp:alice"}},"server":"notes","tool":"echo","arguments":{arguments}}}"#
            ),
        );
        text(answer(&snapshot, &facts).get("nearest").unwrap())
    };
    assert_eq!(
        nearest("{}"),
        r#"[{"name":"near","file":"policy.yaml","line":1,"failed":["action: is"]},{"name":"either","file":"policy.yaml","line":1,"failed":["user: is","user: is"]},{"name":"middle","file":"policy.yaml","line":1,"failed":["user: is","action: is"]}]"#
    );
    assert_eq!(
        nearest(r#"{"q":"a secret"}"#),
        r#"[{"name":"no-secrets","file":"policy.yaml","line":1,"failed":["argument: contains"]}]"#
    );
}

#[test]
fn the_projection_holds_what_was_read_and_nothing_else() {
    let snapshot = house(&rules(&[
        rule("r", "allow", "and", &[("groups", "has", "\"dev\""), ("argument/repo/name", "starts_with", "\"acme/\"")]),
        rule("mail-only", "deny", "and", &[("server", "is", "\"mail\""), ("email", "is", "\"x\"")]),
    ]));
    let facts = facts(
        &snapshot,
        r#"{"principal":{"type":"human","id":"human:corp:alice","email":"a@example.com","groups":["ops","dev","x"],"claims":{"a":1}},
        "agent":{"id":"bot"},"act":["agent:local:bot"],"server":"notes","tool":"write","time":"2026-11-22T10:00:00Z",
        "arguments":{"text":"long","repo":{"name":"acme/x","other":1}},"token":{"scope":"openid mcp:update"},
        "request":{"ip":"10.0.0.1"}}"#,
    );
    let decision = snapshot.decide(&facts, Memory::On);
    assert_eq!(
        String::from_utf8_lossy(&decision.facts_json),
        r#"{"agent":{"id":"agent:local:bot"},"arguments":{"repo":{"name":"acme/x"}},"class":"update","mcp_method":"tools/call","principal":{"groups":["dev"],"id":"human:corp:alice","type":"human"},"server":"notes","token":{"scope":"mcp:update"},"tool":"write"}"#
    );
    assert!(matches!(decision.verdict, Verdict::Allow(_)));
    assert_eq!(decision.recorded_json, decision.facts_json);
}

#[test]
fn a_redacted_argument_is_decided_on_and_not_recorded() {
    let snapshot = house(&rules(&[everybody(), rule("d", "deny", "and", &[("argument/secret/x", "is", "\"hush\"")])]));
    let call = |arguments: &str| {
        let text = format!(
            r#"{{"principal":{{"type":"human","id":"human:corp:alice"}},"server":"notes","tool":"echo","arguments":{arguments}}}"#
        );
        snapshot.decide(&facts(&snapshot, &text), Memory::On)
    };
    for arguments in [r#"{"secret":{"x":"hush"}}"#, r#"{"secret":["hush"]}"#, r#"{"secret":"hush"}"#] {
        let decision = call(arguments);
        assert!(matches!(decision.verdict, Verdict::Deny(_)), "{arguments}");
        let recorded = String::from_utf8_lossy(&decision.recorded_json);
        assert!(recorded.contains(r#""arguments":{"secret":{"redacted":true}}"#), "{recorded}");
    }
    assert!(matches!(call("{}").verdict, Verdict::Allow(_)));
    let mut secretive = house(&rules(&[rule("r", "allow", "and", &[("accept", "", ""), ("argument/a/b", "is", "1")])]));
    secretive.audit.redact = crate::snapshot::Redact::All;
    let facts = facts(
        &secretive,
        r#"{"principal":{"type":"human","id":"human:corp:alice"},"server":"notes","tool":"echo","arguments":{"a":{"b":1}}}"#,
    );
    let decision = secretive.decide(&facts, Memory::Off);
    assert!(matches!(decision.verdict, Verdict::Allow(_)));
    let recorded = String::from_utf8_lossy(&decision.recorded_json);
    assert!(recorded.contains(r#""arguments":{"redacted":true}"#), "{recorded}");
}

#[test]
fn a_remembered_answer_is_never_given_for_other_facts() {
    let snapshot = house(&rules(&[rule(
        "r",
        "allow",
        "and",
        &[("argument/n", "lt", "10"), ("date", "after", "\"2026-11-22T00:00:00Z\"")],
    )]));
    let call = |n: &str, time: &str| {
        reason(
            &snapshot,
            &format!(
                r#"{{"principal":{{"type":"human","id":"human:corp:alice"}},"server":"notes","tool":"echo","arguments":{{"n":{n}}},"time":"{time}"}}"#
            ),
        )
    };
    assert_eq!(call("1", "2026-11-22T00:00:00Z"), "allow");
    assert_eq!(call("1.0", "2026-11-22T00:00:00.5Z"), "allow");
    assert_eq!(call("10", "2026-11-22T00:00:00Z"), "no_rule");
    assert_eq!(call("1", "2026-11-21T23:59:59Z"), "no_rule");
}

#[test]
fn the_permit_says_under_which_snapshot_and_why() {
    let snapshot = open();
    let facts =
        facts(&snapshot, r#"{"principal":{"type":"human","id":"human:corp:alice"},"server":"notes","tool":"echo"}"#);
    let Verdict::Allow(permit) = snapshot.decide(&facts, Memory::On).verdict else { panic!("refused") };
    assert_eq!(permit.snapshot(), snapshot.digest.as_ref());
    assert_eq!(permit.finding().rules[0].name, "everybody");
}

#[test]
fn facts_are_read_strictly() {
    let snapshot = open();
    let who = r#""principal":{"type":"human","id":"human:corp:alice"}"#;
    for (text, path) in [
        ("[]".to_owned(), ""),
        (r#"{"server":"notes","tool":"x"}"#.to_owned(), "principal"),
        (format!(r#"{{{who},"tool":"x"}}"#), "server"),
        (format!(r#"{{{who},"server":"notes"}}"#), "mcp_method"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"tools/call"}}"#), "tool"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"ping","tool":"x"}}"#), "tool"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"ping","arguments":{{}}}}"#), "arguments"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"prompts/get"}}"#), "prompt"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"prompts/get","prompt":5}}"#), "prompt"),
        (format!(r#"{{{who},"server":"notes","tool":"x","prompt":"x"}}"#), "prompt"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"resources/read"}}"#), "resource_uri"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"tools/list","resource_uri":"x"}}"#), "resource_uri"),
        (format!(r#"{{{who},"server":"notes","mcp_method":"completion/complete"}}"#), "prompt"),
        (
            format!(r#"{{{who},"server":"notes","mcp_method":"completion/complete","prompt":"x","resource_uri":"x"}}"#),
            "prompt",
        ),
        (
            format!(r#"{{{who},"server":"notes","mcp_method":"resources/read","resource_uri":"x","arguments":{{}}}}"#),
            "arguments",
        ),
        (format!(r#"{{{who},"server":"notes","tool":"x","server_request":{{}}}}"#), "server_request"),
        (format!(r#"{{{who},"server":"notes","tool":"x","arguments":[]}}"#), "arguments"),
        (format!(r#"{{{who},"server":"notes","tool":"x","arguments":{{"a":[1e999]}}}}"#), "arguments.a[0]"),
        (format!(r#"{{{who},"server":"notes","tool":"x","arguments":{{"a":9007199254740993}}}}"#), "arguments.a"),
        (format!(r#"{{{who},"server":"notes","tool":"x","class":"write"}}"#), "class"),
        (format!(r#"{{{who},"server":"notes","tool":"x","time":"yesterday"}}"#), "time"),
        (format!(r#"{{{who},"server":"notes","tool":"x","time":"2026-11-22T10:00:00"}}"#), "time"),
        (format!(r#"{{{who},"server":"notes","tool":"x","tols":1}}"#), "tols"),
        (format!(r#"{{{who},"server":"notes","tool":"x","agent":{{"id":"human:corp:x"}}}}"#), "agent.id"),
        (format!(r#"{{{who},"server":"notes","tool":"x","agent":{{"id":"nobody"}}}}"#), "agent.id"),
        (
            format!(r#"{{{who},"server":"notes","tool":"x","token":{{"authorization_details":[]}}}}"#),
            "token.authorization_details",
        ),
        (r#"{"principal":{"type":"robot","id":"x"},"server":"notes","tool":"x"}"#.to_owned(), "principal.type"),
        (r#"{"principal":{"type":"human","id":"bob"},"server":"notes","tool":"x"}"#.to_owned(), "principal.id"),
        (r#"{"principal":{"type":"human","id":"a","mail":1},"server":"notes","tool":"x"}"#.to_owned(), "principal.id"),
    ] {
        let error = Facts::from_json(&json(&text), Some(&snapshot)).unwrap_err();
        assert_eq!(error.path, path, "{text}: {error}");
    }
    let read = facts(
        &snapshot,
        r#"{"principal":{"type":"human","id":"alice"},"server":"notes","tool":"x","class":"read","purpose":"p"}"#,
    );
    assert_eq!((read.principal.kind, read.principal.id.as_str()), (PrincipalType::Human, "human:corp:alice"));
    assert_eq!(read.class, Some(Class::Read));
}

#[test]
fn rules_that_could_not_be_judged_are_refused_with_their_path() {
    for (leaf, at) in [
        (("argument/q", "matches", "\"(\""), "tests[0].value"),
        (("argument/q", "matches", "\"a{1000}{1000}{1000}\""), "tests[0].value"),
        (("argument/q", "lt", "\"ten\""), "tests[0].value"),
        (("argument/q", "has", "1"), "tests[0].op"),
        (("argument/q", "in", "[]"), "tests[0].value"),
        (("argument/q", "is", "[1]"), "tests[0].value"),
        (("argument/q", "under", "\"/a/../b\""), "tests[0].value"),
        (("argument/q", "host", "\"Example.com\""), "tests[0].value"),
        (("argument/q~2", "is", "1"), "path"),
        (("user/x", "is", "\"a\""), "path"),
        (("user", "lt", "1"), "tests[0].op"),
        (("groups", "is", "\"a\""), "tests[0].op"),
        (("groups", "has", "1"), "tests[0].value"),
        (("source_ip", "cidr", "[\"10.0.0.0/33\"]"), "tests[0].value"),
        (("date", "after", "\"2026-11-22\""), "tests[0].value"),
        (("day_of_week", "in", "[\"Monday\"]"), "tests[0].value"),
        (("accept", "is", "1"), "tests"),
        (("ssh_username", "is", "1"), "criterion"),
    ] {
        let error = compile(&rules(&[everybody(), rule("r", "allow", "and", &[leaf])])).unwrap_err();
        assert_eq!(error.path, format!("policy.rules[1].any[0].of[0].{at}"), "{leaf:?}: {error}");
    }
    let unknown = rule("r", "allow", "and", &[("accept", "", "")]).replace("\"owner\":null", "\"ownr\":null");
    assert_eq!(compile(&rules(&[unknown])).unwrap_err().path, "policy.rules[0].ownr");
}

#[test]
fn the_example_that_the_control_plane_is_held_to_compiles() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/snapshot_example.json");
    let snapshot = Snapshot::compile(&std::fs::read(path).unwrap()).unwrap();
    assert!(["corp", "local"].into_iter().all(|name| snapshot.issuers.by_name(name).is_some()));
    let call = |groups: &str, path: &str| {
        let alice = format!(r#""principal":{{"type":"human","id":"alice","groups":["{groups}"]}}"#);
        let arguments = format!(r#"{{"path":"{path}"}}"#);
        reason(&snapshot, &format!(r#"{{{alice},"server":"notes","tool":"read_file","arguments":{arguments}}}"#))
    };
    assert_eq!(call("dev", "/srv/x"), "allow");
    assert_eq!(call("dev", "/etc/passwd"), "denied_by_rule");
    assert_eq!(call("ops", "/srv/x"), "no_rule");
}

#[test]
fn a_partial_snapshot_checks_nothing_that_it_does_not_know() {
    let snapshot = partial(&rules(&[everybody()]));
    let facts = r#"{"principal":{"type":"agent","id":"agent:any:x"},"server":"any","tool":"x","token":{"scope":""}}"#;
    assert_eq!(reason(&snapshot, facts), "allow");
}

#[test]
fn a_client_that_a_person_let_act_has_the_ceiling_of_its_token() {
    const ALICE: &str = r#""type":"human","id":"human:corp:alice""#;
    const BATCH: &str = r#""type":"service","id":"batch""#;
    const BOT: &str = r#""type":"agent","id":"bot""#;
    const CLIENT: &str = "agent:client:https://app.test/c";
    const LIST: &str = r#""mcp_method":"tools/list","token":{"scope":"#;
    let snapshot = open();
    let call = |who: &str, agent: &str, rest: &str| {
        reason(&snapshot, &format!(r#"{{"principal":{{{who}}},"agent":{{"id":"{agent}"}},"server":"notes",{rest}}}"#))
    };
    for (who, agent, rest, expected) in [
        (ALICE, CLIENT, r#""tool":"echo","token":{"scope":"mcp:read mcp:query"}"#, "allow"),
        (ALICE, CLIENT, r#""tool":"echo","token":{"scope":["openid","mcp:read"]}"#, "allow"),
        (ALICE, CLIENT, r#""tool":"write","token":{"scope":"mcp:read"}"#, "scope"),
        (ALICE, CLIENT, &format!(r#"{LIST}"mcp:read"}}"#), "allow"),
        // Without a class scope nothing was consented to.
        (ALICE, CLIENT, r#""tool":"echo","token":{"scope":""}"#, "ceiling"),
        (ALICE, CLIENT, r#""tool":"echo","token":{"scope":"openid profile"}"#, "ceiling"),
        (ALICE, CLIENT, r#""tool":"echo","token":{"scope":7}"#, "ceiling"),
        (ALICE, CLIENT, r#""tool":"echo","token":{}"#, "ceiling"),
        (ALICE, CLIENT, r#""tool":"echo""#, "ceiling"),
        (ALICE, CLIENT, &format!(r#"{LIST}"openid"}}"#), "ceiling"),
        // Nobody but a person consents, and to nothing but a client.
        (BATCH, CLIENT, r#""tool":"echo","token":{"scope":"mcp:read"}"#, "agent_unknown"),
        (BOT, CLIENT, r#""tool":"echo","token":{"scope":"mcp:read"}"#, "agent_unknown"),
        (ALICE, "agent:client:", r#""tool":"echo","token":{"scope":"mcp:read"}"#, "agent_unknown"),
        (ALICE, "agent:clients:x", r#""tool":"echo","token":{"scope":"mcp:read"}"#, "agent_unknown"),
        (ALICE, "agent:local:client", r#""tool":"echo","token":{"scope":"mcp:read"}"#, "agent_unknown"),
    ] {
        assert_eq!(call(who, agent, rest), expected, "{who} {agent} {rest}");
    }
    let alone = r#"{"principal":{"type":"agent","id":"agent:client:c"},"server":"notes","tool":"echo","token":{"scope":"mcp:read"}}"#;
    assert_eq!(reason(&snapshot, alone), "agent_unknown");
}

#[test]
fn a_client_is_its_persons_and_may_be_let_do_more() {
    let snapshot = house(&rules(&[rule("hers", "allow", "and", &[("owner", "is", "\"alice\"")])]));
    let found = |id: &str, tool: &str| {
        let facts = facts(
            &snapshot,
            &format!(
                r#"{{"principal":{{"type":"human","id":"{id}"}},"agent":{{"id":"agent:client:c"}},"server":"notes","tool":"{tool}","token":{{"scope":"mcp:read"}}}}"#
            ),
        );
        let answer = answer(&snapshot, &facts);
        format!("{} {}", text(answer.get("reason").unwrap()), text(answer.get("remedy").unwrap()))
    };
    assert_eq!(found("human:corp:alice", "echo"), "null null");
    assert_eq!(found("human:corp:carol", "echo"), r#""no_rule" null"#);
    assert_eq!(found("human:corp:alice", "write"), r#""scope" {"kind":"scope","scopes":["mcp:update"]}"#);
    assert_eq!(found("human:corp:alice", "delete"), r#""scope" {"kind":"scope","scopes":["mcp:admin"]}"#);
}

#[test]
fn a_suspended_agent_does_nothing_itself_or_for_others() {
    const ALONE: &str = r#""principal":{"type":"agent","id":"bot"}"#;
    const FOR_ALICE: &str = r#""principal":{"type":"human","id":"human:corp:alice"},"agent":{"id":"bot"}"#;
    const OF_ANOTHER: &str =
        r#""principal":{"type":"agent","id":"bot"},"agent":{"id":"narrow"},"time":"1970-01-01T00:00:01Z""#;
    for suspended in [None, Some(Reason::AgentSuspended), Some(Reason::OwnerInactive)] {
        let mut snapshot = open();
        snapshot.agents.get_mut("agent:local:bot").unwrap().suspended = suspended;
        let expected = suspended.map_or("allow", Reason::as_str);
        for who in [ALONE, FOR_ALICE, OF_ANOTHER] {
            for what in [r#""tool":"echo""#, r#""mcp_method":"ping""#, r#""mcp_method":"tools/list""#] {
                assert_eq!(
                    reason(&snapshot, &format!(r#"{{{who},"server":"notes",{what}}}"#)),
                    expected,
                    "{who} {what}"
                );
            }
        }
        let other = r#"{"principal":{"type":"human","id":"human:corp:alice"},"server":"notes","tool":"echo"}"#;
        assert_eq!(reason(&snapshot, other), "allow");
    }
}
