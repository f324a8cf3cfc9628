//! Lists, and the messages that are no tool calls.

use super::kit::{answer, facts, house, names, reason, rule, rules};
use crate::snapshot::Snapshot;

const TOOLS: [&str; 5] = ["echo", "add", "write", "delete", "not_declared"];

fn listed(snapshot: &Snapshot, who: &str) -> Vec<&'static str> {
    let facts = facts(snapshot, &format!(r#"{{{who},"server":"notes","mcp_method":"tools/list"}}"#));
    let lister = snapshot.lister(&facts);
    let kept: Vec<&str> = TOOLS.into_iter().filter(|tool| lister.could(tool)).collect();
    assert_eq!(kept, TOOLS.into_iter().filter(|tool| snapshot.could("notes", tool, &facts)).collect::<Vec<_>>());
    kept
}

fn method(snapshot: &Snapshot, who: &str, server: &str, method: &str) -> String {
    reason(snapshot, &format!(r#"{{{who},"server":"{server}","mcp_method":"{method}"}}"#))
}

const ALICE: &str = r#""principal":{"type":"human","id":"human:corp:alice","groups":["dev"]}"#;
const BOT: &str = r#""principal":{"type":"human","id":"human:corp:alice","groups":["dev"]},"agent":{"id":"bot"}"#;

#[test]
fn a_list_shows_what_could_be_allowed() {
    let dev = ("groups", "has", "\"dev\"");
    for (list, who, expected) in [
        (vec![rule("r", "allow", "and", &[dev])], ALICE, &TOOLS[..]),
        (
            vec![rule("r", "allow", "and", &[dev, ("action", "in", "[\"read\",\"query\"]")])],
            ALICE,
            &["echo", "add"][..],
        ),
        (vec![rule("r", "allow", "and", &[("groups", "has", "\"ops\"")])], ALICE, &[][..]),
        (vec![rule("r", "allow", "and", &[dev, ("server", "is", "\"mail\"")])], ALICE, &[][..]),
        // Arguments are not known: both an allow and a deny on them leave room.
        (vec![rule("r", "allow", "and", &[dev, ("argument/x", "is", "1")])], ALICE, &TOOLS[..]),
        (
            vec![rule("r", "allow", "and", &[dev]), rule("d", "deny", "not", &[("argument/x", "is", "1")])],
            ALICE,
            &TOOLS[..],
        ),
        (
            vec![
                rule("r", "allow", "and", &[dev]),
                rule("d", "deny", "or", &[("mcp_tool", "in", "[\"add\",\"write\"]")]),
            ],
            ALICE,
            &["echo", "delete", "not_declared"][..],
        ),
        // The actor's ceiling holds; missing scope could be obtained.
        (vec![rule("r", "allow", "and", &[dev])], BOT, &["echo", "add", "write"][..]),
        (
            vec![rule("r", "allow", "and", &[dev, ("scope", "has", "\"mcp:update\"")])],
            BOT,
            &["echo", "add", "write"][..],
        ),
        (vec![rule("r", "allow", "and", &[dev, ("scope", "has", "\"mcp:admin\"")])], BOT, &[][..]),
        (vec![rule("r", "allow", "and", &[dev, ("scope", "has", "\"other\"")])], BOT, &[][..]),
        // An allow for listing does not show a tool.
        (vec![rule("r", "allow", "and", &[dev, ("mcp_method", "is", "\"tools/list\"")])], ALICE, &[][..]),
    ] {
        assert_eq!(listed(&house(&rules(&list)), who), expected, "{list:?}");
    }
}

#[test]
fn a_narrow_token_still_sees_what_more_scope_would_open() {
    let snapshot = house(&rules(&[rule("r", "allow", "and", &[("groups", "has", "\"dev\"")])]));
    assert_eq!(listed(&snapshot, &format!(r#"{BOT},"token":{{"scope":"mcp:read"}}"#)), ["echo", "add", "write"]);
}

#[test]
fn a_locked_or_unknown_caller_sees_nothing() {
    let mut snapshot = house(&rules(&[rule("r", "allow", "and", &[("accept", "", "")])]));
    let stranger = r#""principal":{"type":"human","id":"human:corp:x"},"agent":{"id":"agent:local:x"}"#;
    assert_eq!(listed(&snapshot, stranger), [""; 0]);
    snapshot.lockdown = true;
    assert_eq!(listed(&snapshot, ALICE), [""; 0]);
}

#[test]
fn a_message_without_a_tool_passes_where_some_tool_could_be_allowed() {
    let dev = ("groups", "has", "\"dev\"");
    for (list, who, server, expected) in [
        (vec![rule("r", "allow", "and", &[dev])], ALICE, "notes", "allow"),
        (vec![rule("r", "allow", "and", &[("groups", "has", "\"ops\"")])], ALICE, "notes", "no_rule"),
        (vec![], ALICE, "notes", "no_rule"),
        (vec![rule("r", "allow", "and", &[dev, ("server", "is", "\"mail\"")])], ALICE, "notes", "no_rule"),
        (vec![rule("r", "allow", "and", &[dev, ("tool", "is", "\"mail/send\"")])], ALICE, "notes", "no_rule"),
        (vec![rule("r", "allow", "and", &[dev, ("tool", "starts_with", "\"mail/\"")])], ALICE, "notes", "no_rule"),
        (vec![rule("r", "allow", "and", &[dev, ("tool", "is", "\"notes/not_declared\"")])], ALICE, "notes", "allow"),
        (vec![rule("r", "allow", "and", &[dev, ("mcp_tool", "is", "\"not_declared\"")])], ALICE, "notes", "allow"),
        (vec![rule("r", "allow", "and", &[dev, ("argument/x", "is", "1")])], ALICE, "notes", "allow"),
        // Everything is denied for certain.
        (vec![rule("r", "allow", "and", &[dev]), rule("d", "deny", "and", &[dev])], ALICE, "notes", "no_rule"),
        // Something is outside the ceiling.
        (vec![rule("r", "allow", "and", &[dev])], BOT, "notes", "allow"),
        (vec![rule("r", "allow", "and", &[dev])], BOT, "mail", "ceiling"),
        (vec![rule("r", "allow", "and", &[dev, ("tool", "is", "\"notes/delete\"")])], BOT, "notes", "ceiling"),
    ] {
        let snapshot = house(&rules(&list));
        for name in
            ["initialize", "notifications/initialized", "ping", "server/discover", "tools/list", "session/delete"]
        {
            assert_eq!(method(&snapshot, who, server, name), expected, "{name} {list:?}");
        }
    }
}

#[test]
fn rules_that_name_a_method_open_and_close_that_method_only() {
    let dev = ("groups", "has", "\"dev\"");
    let list = ("mcp_method", "is", "\"tools/list\"");
    let allowed = house(&rules(&[rule("r", "allow", "and", &[dev, list])]));
    assert_eq!(method(&allowed, ALICE, "notes", "tools/list"), "allow");
    assert_eq!(method(&allowed, BOT, "mail", "tools/list"), "ceiling");
    assert_eq!(method(&allowed, ALICE, "notes", "ping"), "no_rule");
    let denied = house(&rules(&[rule("r", "allow", "and", &[dev]), rule("d", "deny", "and", &[dev, list])]));
    assert_eq!(method(&denied, ALICE, "notes", "tools/list"), "denied_by_rule");
    assert_eq!(method(&denied, ALICE, "notes", "ping"), "allow");
    // A deny that names no method does not stand in the way of a message that could lead to an allowed call.
    let other = house(&rules(&[
        rule("r", "allow", "and", &[dev]),
        rule("d", "deny", "not", &[("tool", "is", "\"notes/echo\"")]),
    ]));
    assert_eq!(method(&other, ALICE, "notes", "tools/list"), "allow");
    assert_eq!(method(&other, ALICE, "mail", "tools/list"), "no_rule");
}

#[test]
fn the_rules_that_name_the_method_are_the_ones_that_decided() {
    let list = ("mcp_method", "is", "\"tools/list\"");
    let snapshot = house(&rules(&[rule("r", "allow", "and", &[("accept", "", ""), list])]));
    let facts = facts(&snapshot, &format!(r#"{{{ALICE},"server":"notes","mcp_method":"tools/list"}}"#));
    assert_eq!(names(answer(&snapshot, &facts).get("rules").unwrap()), ["r"]);
}
