//! Lists of prompts and resources, what servers could ask, and the messages that pass because of them.

use super::kit::{facts, house, rule, rules};
use super::objects::{ALICE, BOT, DEV, FILES, NARROW, SAMPLING, SUMMARIZE, allow, check, deny};
use crate::facts::method::METHODS;

#[test]
fn what_passes_needs_something_that_could_be_allowed_and_no_deny_of_its_method() {
    let bare: Vec<&str> = METHODS.iter().filter(|method| method.bare).map(|method| method.name).collect();
    assert_eq!(bare.len(), 15);
    let passing = |list: &[String], who: &str, expected: &str| {
        for name in &bare {
            check(list, who, &[(&format!(r#""mcp_method":"{name}""#), expected)]);
        }
    };
    passing(&[allow(&[DEV, SUMMARIZE])], ALICE, "allow");
    passing(&[allow(&[DEV, FILES])], ALICE, "allow");
    passing(&[allow(&[DEV, FILES, ("server", "is", "\"mail\"")])], ALICE, "no_rule");
    passing(&[allow(&[DEV, SAMPLING])], ALICE, "no_rule");
    passing(&[allow(&[DEV, FILES, ("action", "is", "\"update\"")])], ALICE, "no_rule");
    passing(&[allow(&[DEV, FILES]), deny("and", &[DEV])], ALICE, "no_rule");
    passing(&[allow(&[DEV, FILES]), deny("or", &[("resource_uri", "contains", "\"..\"")])], ALICE, "allow");
    passing(&[allow(&[DEV, FILES]), deny("or", &[("mcp_method", "not_in", "[\"tools/call\"]")])], ALICE, "no_rule");
    passing(&[allow(&[DEV, FILES]), deny("or", &[("mcp_method", "ends_with", "\"\"")])], ALICE, "denied_by_rule");
    let everybody = ("accept", "", "");
    passing(&[allow(&[everybody, FILES])], NARROW, "ceiling");
    passing(&[allow(&[everybody, FILES])], BOT, "allow");
}

#[test]
fn lists_show_the_prompts_resources_and_templates_that_could_be_allowed() {
    let words = |list: &[String], who: &str| {
        let snapshot = house(&rules(list));
        let facts = facts(&snapshot, &format!(r#"{{{who},"server":"notes","mcp_method":"resources/list"}}"#));
        let lister = snapshot.lister(&facts);
        let mut found = Vec::new();
        found.extend(["summarize", "review"].into_iter().filter(|name| lister.could_prompt(name)));
        found.extend(["file:///srv/a", "file:///etc/x"].into_iter().filter(|uri| lister.could_resource(uri)));
        found.extend(
            ["file:///srv/{n}", "file:///{+path}", "{+any}", "file:///var/{x}", "note://all"]
                .into_iter()
                .filter(|template| lister.could_template(template)),
        );
        found.join(" ")
    };
    let prompts = "summarize review";
    let uris = "file:///srv/a file:///etc/x";
    let templates = "file:///srv/{n} file:///{+path} {+any} file:///var/{x} note://all";
    let inside = "file:///srv/a file:///srv/{n} file:///{+path} {+any}";
    let any_uri = ("resource_uri", "ends_with", "\"\"");
    for (list, who, expected) in [
        (vec![allow(&[DEV])], ALICE, String::new()),
        (vec![allow(&[DEV, SUMMARIZE])], ALICE, "summarize".to_owned()),
        (vec![allow(&[DEV, SUMMARIZE, ("argument/style", "is", "\"short\"")])], ALICE, "summarize".to_owned()),
        (vec![allow(&[DEV, ("mcp_method", "is", "\"prompts/get\"")])], ALICE, prompts.to_owned()),
        (vec![allow(&[DEV, ("mcp_method", "is", "\"completion/complete\"")])], ALICE, String::new()),
        (vec![allow(&[DEV, FILES])], ALICE, inside.to_owned()),
        (
            vec![allow(&[DEV, ("resource_uri", "is", "\"file:///srv/a\"")])],
            ALICE,
            "file:///srv/a file:///srv/{n} file:///{+path} {+any}".to_owned(),
        ),
        (vec![allow(&[DEV, any_uri])], ALICE, format!("{uris} {templates}")),
        (vec![allow(&[DEV, ("mcp_method", "is", "\"resources/subscribe\"")])], ALICE, format!("{uris} {templates}")),
        (
            vec![allow(&[DEV, any_uri]), deny("or", &[FILES])],
            ALICE,
            "file:///etc/x file:///{+path} {+any} file:///var/{x} note://all".to_owned(),
        ),
        // A deny that some argument, or some expansion, could escape hides nothing.
        (
            vec![allow(&[DEV, SUMMARIZE]), deny("or", &[("argument/style", "is", "\"short\"")])],
            ALICE,
            "summarize".to_owned(),
        ),
        (
            vec![allow(&[DEV, FILES]), deny("or", &[("resource_uri", "contains", "\"srv\"")])],
            ALICE,
            "file:///srv/{n} file:///{+path} {+any}".to_owned(),
        ),
        (vec![allow(&[("accept", "", ""), any_uri])], NARROW, String::new()),
        (vec![allow(&[("accept", "", ""), any_uri])], BOT, format!("{uris} {templates}")),
        (vec![allow(&[DEV, SAMPLING])], ALICE, String::new()),
    ] {
        assert_eq!(words(&list, who), expected, "{list:?}");
    }
}

#[test]
fn the_known_start_of_a_template_ends_where_an_expansion_could_differ() {
    for (template, start, could) in [
        ("note://{id}", "note://", true),
        ("note://{id}", "note://x", true),
        ("note://{id}", "mail://", false),
        ("note://a b/{id}", "note://a%20b/", true),
        ("note://a b/{id}", "note://b", false),
        ("note://é", "note://%C3%A9", true),
        ("note://%41/{id}", "note://%41/", true),
        ("note://%41/{id}", "note://A/", false),
        ("note://%4/{id}", "note://%254/", true),
        ("note://x", "note://x", true),
        ("note://x", "note://xy", false),
        ("{+any}", "anything", true),
        ("", "x", false),
    ] {
        let leaf = format!("\"{start}\"");
        let leaves = [("accept", "", ""), ("resource_uri", "starts_with", leaf.as_str())];
        let snapshot = house(&rules(&[rule("a", "allow", "and", &leaves)]));
        let facts = facts(&snapshot, &format!(r#"{{{ALICE},"server":"notes","mcp_method":"ping"}}"#));
        assert_eq!(snapshot.lister(&facts).could_template(template), could, "{template} {start}");
    }
}

#[test]
fn a_server_could_ask_where_some_message_of_the_caller_could_let_it() {
    let asks = |list: &[String], who: &str| {
        let snapshot = house(&rules(list));
        let facts = facts(&snapshot, &format!(r#"{{{who},"server":"notes","mcp_method":"initialize"}}"#));
        let lister = snapshot.lister(&facts);
        ["sampling/createMessage", "elicitation/create", "roots/list", "ping", "tools/call"]
            .into_iter()
            .filter(|asked| lister.could_ask(asked))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let everybody = ("accept", "", "");
    let elicit = ("server_request", "is", "\"elicitation/create\"");
    let any = ("server_request", "ends_with", "\"\"");
    for (list, who, expected) in [
        (vec![allow(&[DEV])], ALICE, ""),
        (vec![allow(&[DEV, ("mcp_method", "ends_with", "\"\"")])], ALICE, ""),
        (vec![allow(&[DEV, SAMPLING])], ALICE, "sampling/createMessage"),
        (vec![allow(&[DEV, elicit, ("argument/url", "host", "\"example.com\"")])], ALICE, "elicitation/create"),
        (vec![allow(&[DEV, elicit, ("tool", "is", "\"notes/echo\"")])], ALICE, "elicitation/create"),
        (vec![allow(&[DEV, elicit, ("tool", "is", "\"mail/send\"")])], ALICE, ""),
        (vec![allow(&[DEV, elicit, SUMMARIZE])], ALICE, "elicitation/create"),
        (vec![allow(&[DEV, any]), deny("or", &[elicit])], ALICE, "sampling/createMessage roots/list ping"),
        (vec![allow(&[DEV, any]), deny("and", &[DEV])], ALICE, ""),
        (vec![allow(&[everybody, any, ("action", "is", "\"update\"")])], NARROW, ""),
        (vec![allow(&[everybody, elicit, ("mcp_tool", "is", "\"echo\"")])], NARROW, "elicitation/create"),
        (vec![allow(&[everybody, elicit, ("mcp_tool", "is", "\"add\"")])], NARROW, ""),
    ] {
        assert_eq!(asks(&list, who), expected, "{list:?}");
    }
}

#[test]
fn nothing_is_listed_to_a_caller_that_is_locked_out() {
    let mut snapshot = house(&rules(&[
        allow(&[("accept", "", ""), ("mcp_method", "ends_with", "\"\"")]),
        allow(&[("accept", "", ""), ("server_request", "ends_with", "\"\"")]),
    ]));
    for locked in [false, true] {
        snapshot.lockdown = locked;
        let facts = facts(&snapshot, &format!(r#"{{{ALICE},"server":"notes","mcp_method":"ping"}}"#));
        let lister = snapshot.lister(&facts);
        let open = [
            lister.could_prompt("x"),
            lister.could_resource("x"),
            lister.could_template("{x}"),
            lister.could_ask("ping"),
        ];
        assert_eq!(open, [!locked; 4]);
    }
}
