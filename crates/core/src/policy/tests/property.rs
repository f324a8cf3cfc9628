//! Cedar on slices, the plain walk, and the memory say the same of anything; lists never hide what could be allowed.

use std::sync::Arc;

use proptest::prelude::*;

use super::kit::{facts, house, json, rule_in, rules};
use crate::facts::Facts;
use crate::policy::decide::walked;
use crate::policy::leaf::Truth;
use crate::policy::rule::Effect;
use crate::policy::view::ToolFact;
use crate::policy::walk::rule_truth;
use crate::policy::{Memory, Verdict};
use crate::snapshot::Snapshot;

/// One of each kind of leaf.
pub const LEAVES: [(&str, &str, &str); 74] = [
    ("accept", "", ""),
    ("reject", "", ""),
    ("authenticated_user", "", ""),
    ("autonomous", "", ""),
    ("user", "is", "\"human:corp:alice\""),
    ("user", "not_in", "[\"human:corp:alice\",\"human:corp:bob\"]"),
    ("user", "ends_with", "\"alice\""),
    ("email", "ends_with", "\"@example.com\""),
    ("email", "not", "\"a@example.com\""),
    ("email", "is", "5"),
    ("domain", "in", "[\"example.com\",\"x.test\"]"),
    ("groups", "has", "\"dev\""),
    ("groups", "exclude", "\"ops\""),
    ("groups", "sole", "\"dev\""),
    ("claim/team", "has", "\"core\""),
    ("claim/team", "exclude", "1"),
    ("claim/team", "starts_with", "\"co\""),
    ("claim/org/unit", "not", "\"r1\""),
    ("service", "is", "\"service:local:batch\""),
    ("service", "not", "\"service:local:batch\""),
    ("agent", "is", "\"agent:local:bot\""),
    ("agent", "not_in", "[\"agent:local:bot\",\"agent:local:narrow\"]"),
    ("agent", "contains", "\"narrow\""),
    ("owner", "is", "\"alice\""),
    ("owner", "not", "\"alice\""),
    ("actor_type", "is", "\"agent\""),
    ("actor_type", "not_in", "[\"agent\",\"service\"]"),
    ("server", "is", "\"notes\""),
    ("server", "not", "\"mail\""),
    ("server", "matches", "\"^n\""),
    ("tool", "is", "\"notes/echo\""),
    ("tool", "starts_with", "\"notes/\""),
    ("tool", "not_in", "[\"notes/echo\",\"mail/send\"]"),
    ("mcp_tool", "is", "\"not_declared\""),
    ("mcp_tool", "ends_with", "\"o\""),
    ("action", "in", "[\"read\",\"query\"]"),
    ("action", "not", "\"admin\""),
    ("mcp_method", "is", "\"tools/list\""),
    ("mcp_method", "is", "\"tools/call\""),
    ("mcp_method", "not", "\"tools/list\""),
    ("mcp_method", "in", "[\"prompts/get\",\"resources/read\"]"),
    ("mcp_method", "is", "\"completion/complete\""),
    ("resource_uri", "is", "\"file:///srv/a\""),
    ("resource_uri", "starts_with", "\"file:///srv/\""),
    ("resource_uri", "not_in", "[\"file:///srv/a\",\"note://1\"]"),
    ("resource_uri", "ends_with", "\"1\""),
    ("resource_uri", "host", "\"example.com\""),
    ("resource_uri", "matches", "\"^note:\""),
    ("prompt", "is", "\"summarize\""),
    ("prompt", "not", "\"summarize\""),
    ("prompt", "contains", "\"view\""),
    ("server_request", "is", "\"roots/list\""),
    ("server_request", "not", "\"roots/list\""),
    ("server_request", "starts_with", "\"elicitation/\""),
    ("server_request", "is", "5"),
    ("argument/a", "is", "1"),
    ("argument/a", "not", "\"x\""),
    ("argument/a", "is", "null"),
    ("argument/a", "lt", "10"),
    ("argument/a", "gte", "\"0.5\""),
    ("argument/a", "not_in", "[1,\"x\",true]"),
    ("argument/a/b", "starts_with", "\"/srv\""),
    ("argument/a/b", "under", "\"/srv\""),
    ("argument/c", "matches", "\"x$\""),
    ("argument/c", "host", "\"example.com\""),
    ("source_ip", "cidr", "[\"10.0.0.0/8\"]"),
    ("origin", "is", "\"https://app.test\""),
    ("scope", "has", "\"mcp:update\""),
    ("scope", "exclude", "\"mcp:admin\""),
    ("scope", "sole", "\"mcp:read\""),
    ("scope", "has", "\"other\""),
    ("time_of_day", "after", "\"12:00:00\""),
    ("day_of_week", "in", "[\"sun\"]"),
    ("date", "before", "\"1970-01-01T00:10:00Z\""),
];

const PRINCIPALS: [&str; 8] = [
    r#""principal":{"type":"human","id":"human:corp:alice"}"#,
    r#""principal":{"type":"human","id":"human:corp:alice","email":"a@example.com","groups":["dev"],"claims":{"team":["core"]}}"#,
    r#""principal":{"type":"human","id":"human:corp:carol","email":"c@x.test","groups":["ops","dev"],"claims":{"team":"core","org":{"unit":["r1","r2"]}}}"#,
    r#""principal":{"type":"human","id":"human:corp:bob","groups":[],"claims":{"team":[],"org/unit":"r1"}},"agent":{"id":"bot"}"#,
    r#""principal":{"type":"human","id":"human:corp:bob","groups":{"unavailable":"x"},"claims":{"team":{"unavailable":"x"},"org":5}},"agent":{"id":"narrow"}"#,
    r#""principal":{"type":"human","id":"human:corp:alice","groups":["dev",1],"claims":{"team":[1,"core"]}},"agent":{"id":"bot","owner":"bob"}"#,
    r#""principal":{"type":"service","id":"batch"}"#,
    r#""principal":{"type":"agent","id":"bot"}"#,
];

const ARGUMENTS: [&str; 14] = [
    "",
    r#","arguments":{}"#,
    r#","arguments":{"a":1}"#,
    r#","arguments":{"a":1.0,"c":"x"}"#,
    r#","arguments":{"a":"x","c":["x","y"]}"#,
    r#","arguments":{"a":null,"c":{}}"#,
    r#","arguments":{"a":[1,20],"c":[]}"#,
    r#","arguments":{"a":[1,2],"c":"https://example.com/x"}"#,
    r#","arguments":{"a":{"b":"/srv/x"},"c":["https://example.com","https://evil.test"]}"#,
    r#","arguments":{"a":{"b":["/srv/x","/etc"]}}"#,
    r#","arguments":{"a":{"b":"/srv/../x"},"c":5}"#,
    r#","arguments":{"a":[{"b":"/srv"}]}"#,
    r#","arguments":{"a":true}"#,
    r#","arguments":{"a":0.25,"z":"unread"}"#,
];

const CONTEXTS: [&str; 8] = [
    r#","time":"1970-01-01T00:01:00Z""#,
    r#","time":"1970-01-01T00:01:00Z","request":{"ip":"10.1.1.1"}"#,
    r#","time":"1970-01-01T00:15:00Z","request":{"ip":"nonsense","origin":"https://app.test"}"#,
    r#","time":"1970-01-04T13:00:00Z","token":{"scope":"mcp:read"}"#,
    r#","time":"1970-01-01T00:15:00Z","token":{"scope":"openid"}"#,
    r#","time":"1970-01-01T00:15:00Z","token":{"scope":["mcp:read","mcp:update","other"]}"#,
    r#","time":"1970-01-01T00:15:00Z","token":{"scope":5}"#,
    "",
];

const TARGETS: [(&str, &str); 7] = [
    ("notes", "echo"),
    ("notes", "add"),
    ("notes", "write"),
    ("notes", "delete"),
    ("notes", "not_declared"),
    ("mail", "send"),
    ("mail", "other"),
];

/// Messages that are no tool calls: server, the members that say what they are about, whether there are arguments.
const OBJECTS: [(&str, &str, bool); 18] = [
    ("notes", r#""mcp_method":"prompts/get","prompt":"summarize""#, true),
    ("notes", r#""mcp_method":"prompts/get","prompt":"review""#, true),
    ("mail", r#""mcp_method":"prompts/get","prompt":"é""#, true),
    ("notes", r#""mcp_method":"completion/complete","prompt":"review""#, false),
    ("notes", r#""mcp_method":"completion/complete","resource_uri":"note://{id}""#, false),
    ("notes", r#""mcp_method":"resources/read","resource_uri":"file:///srv/a""#, false),
    ("notes", r#""mcp_method":"resources/read","resource_uri":"note://1""#, false),
    ("mail", r#""mcp_method":"resources/read","resource_uri":"https://example.com/1""#, false),
    ("notes", r#""mcp_method":"resources/subscribe","resource_uri":"file:///srv/b""#, false),
    ("notes", r#""mcp_method":"resources/unsubscribe","resource_uri":"file:///etc""#, false),
    ("notes", r#""mcp_method":"subscriptions/listen","resource_uri":"note://2""#, false),
    ("notes", r#""tool":"echo","server_request":"sampling/createMessage""#, true),
    ("notes", r#""tool":"delete","server_request":"elicitation/create""#, true),
    ("notes", r#""tool":"not_declared","server_request":"roots/list""#, true),
    ("notes", r#""mcp_method":"prompts/get","prompt":"review","server_request":"ping""#, true),
    ("notes", r#""mcp_method":"resources/read","resource_uri":"note://1","server_request":"roots/list""#, true),
    ("notes", r#""mcp_method":"session/stream","server_request":"roots/list""#, true),
    ("mail", r#""mcp_method":"session/stream","server_request":"elicitation/create""#, true),
];

fn a_leaf() -> impl Strategy<Value = usize> {
    0..LEAVES.len()
}

/// Whether it allows, whether it is a shadow, and its branches: operator and leaves by number.
type AnyRule = (bool, bool, Vec<(usize, Vec<usize>)>);

fn a_rule() -> impl Strategy<Value = AnyRule> {
    let branch = (0..4_usize, prop::collection::vec(a_leaf(), 0..4));
    (any::<bool>(), prop::bool::weighted(0.2), prop::collection::vec(branch, 1..3))
}

fn rule_text(number: usize, (allow, shadow, branches): &AnyRule) -> String {
    let one = |(op, leaves): &(usize, Vec<usize>)| {
        let leaves: Vec<_> = leaves.iter().map(|leaf| LEAVES[*leaf]).collect();
        let effect = if *allow { "allow" } else { "deny" };
        let mode = if *shadow { "shadow" } else { "enforce" };
        rule_in(&format!("r{number}"), effect, mode, ["and", "or", "not", "nor"][*op], &leaves)
    };
    let mut text = one(&branches[0]);
    for branch in &branches[1..] {
        let other = one(branch);
        let any = other.split_once(r#""any":["#).unwrap().1.strip_suffix("]}").unwrap().to_owned();
        text = format!("{},{any}]}}", text.strip_suffix("]}").unwrap());
    }
    text
}

fn snapshot_of(list: &[AnyRule]) -> Snapshot {
    house(&rules(&list.iter().enumerate().map(|(number, rule)| rule_text(number, rule)).collect::<Vec<_>>()))
}

fn call(snapshot: &Snapshot, who: usize, (server, tool): (&str, &str), arguments: usize, context: usize) -> Facts {
    let (who, arguments, context) = (PRINCIPALS[who], ARGUMENTS[arguments], CONTEXTS[context]);
    facts(snapshot, &format!(r#"{{{who},"server":"{server}","tool":"{tool}"{arguments}{context}}}"#))
}

/// The same about something else.
fn message(snapshot: &Snapshot, who: usize, object: usize, arguments: usize, context: usize) -> Facts {
    let (server, members, takes) = OBJECTS[object];
    let arguments = if takes { ARGUMENTS[arguments] } else { "" };
    let (who, context) = (PRINCIPALS[who], CONTEXTS[context]);
    facts(snapshot, &format!(r#"{{{who},"server":"{server}",{members}{arguments}{context}}}"#))
}

/// A tool call or another message, by number.
fn any_message(snapshot: &Snapshot, who: usize, target: usize, arguments: usize, context: usize) -> Facts {
    match target.checked_sub(TARGETS.len()) {
        None => call(snapshot, who, TARGETS[target], arguments, context),
        Some(object) => message(snapshot, who, object, arguments, context),
    }
}

/// Whether it is allowed, or would be with scopes that can be had.
fn allowed(snapshot: &Snapshot, facts: &Facts) -> bool {
    let decision = snapshot.decide(facts, Memory::Off);
    matches!(decision.verdict, Verdict::Allow(_)) || decision.finding.remedy.is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cedar_the_walk_the_memory_and_the_projection_agree(
        list in prop::collection::vec(a_rule(), 1..8),
        calls in prop::collection::vec((0..PRINCIPALS.len(), 0..TARGETS.len() + OBJECTS.len(), 0..ARGUMENTS.len(), 0..CONTEXTS.len()), 48),
    ) {
        let snapshot = snapshot_of(&list);
        let policy = &snapshot.policy;
        for (who, target, arguments, context) in calls {
            let facts = any_message(&snapshot, who, target, arguments, context);
            let decision = snapshot.decide(&facts, Memory::Off);
            let view = snapshot.view(&facts);
            let slice = policy.slices.of(&policy.rules, &snapshot.servers, &view.target).unwrap();

            // Cedar on the slice and the walk of it say which rules are met.
            let expected = walked(&slice, &view);
            for memory in [Memory::Off, Memory::On] {
                let asked = slice.lowered().unwrap().ask(&view, &policy.subjects, memory).unwrap();
                prop_assert_eq!(&asked.denies, &expected.denies);
                prop_assert_eq!(&asked.allows, &expected.allows);
                prop_assert_eq!(&asked.shadow, &expected.shadow);
            }

            // The slice has lost no rule that is met.
            for (index, rule) in policy.rules.iter().enumerate() {
                let met = rule_truth(rule, &view);
                prop_assert_ne!(met, Truth::Maybe);
                let known = if rule.shadow { &expected.shadow } else if rule.effect == Effect::Deny { &expected.denies } else { &expected.allows };
                let hidden = rule.effect == Effect::Allow && !rule.shadow && !expected.denies.is_empty();
                prop_assert!(hidden || known.contains(&index) == (met == Truth::Yes), "rule {}", index);
            }
            if snapshot.gate(&view).is_ok() {
                prop_assert_eq!(&*decision.finding, &snapshot.call_by_walk(&slice, &view));
            }

            // Memory, filled and hit, and the projection by itself.
            for _ in 0..2 {
                let remembered = snapshot.decide(&facts, Memory::On);
                prop_assert_eq!(&remembered.finding, &decision.finding);
                prop_assert_eq!(&remembered.facts_json, &decision.facts_json);
            }
            let projection = json(std::str::from_utf8(&decision.facts_json).unwrap());
            let again = snapshot.decide(&Facts::from_json(&projection, Some(&snapshot)).unwrap(), Memory::Off);
            prop_assert_eq!(&again.finding, &decision.finding, "{}", String::from_utf8_lossy(&decision.facts_json));
            prop_assert_eq!(&again.facts_json, &decision.facts_json);

            // A remedy is one: with it, the call is allowed.
            if let Some(crate::policy::Remedy::Scope(scopes)) = &decision.finding.remedy {
                let mut better = facts.clone();
                let token = Arc::make_mut(better.token.as_mut().unwrap());
                let mut words = token.scope.as_ref().and_then(crate::policy::leaf::scope_words).unwrap_or_default();
                words.extend(scopes.iter().map(String::as_str));
                token.scope = Some(crate::json::Value::from(words.join(" ")));
                prop_assert!(matches!(snapshot.decide(&better, Memory::Off).verdict, Verdict::Allow(_)));
            }
        }
    }

    #[test]
    fn a_tool_that_some_call_may_use_is_listed_and_its_server_can_be_entered(
        list in prop::collection::vec(a_rule(), 1..6),
        who in 0..PRINCIPALS.len(), target in 0..TARGETS.len(), context in 0..CONTEXTS.len(),
    ) {
        let snapshot = snapshot_of(&list);
        let (server, tool) = TARGETS[target];
        let (caller, around) = (PRINCIPALS[who], CONTEXTS[context]);
        let asked = facts(&snapshot, &format!(r#"{{{caller},"server":"{server}","mcp_method":"tools/list"{around}}}"#));
        let view = snapshot.view(&asked);
        prop_assert!(matches!(view.target.tool, ToolFact::None));
        let allowed = (0..ARGUMENTS.len())
            .any(|arguments| allowed(&snapshot, &call(&snapshot, who, TARGETS[target], arguments, context)));
        if allowed {
            prop_assert!(snapshot.could(server, tool, &asked));
            let entered = snapshot.decide(&asked, Memory::Off);
            let named_deny = snapshot.policy.rules.iter().any(|rule| {
                rule.names_method && !rule.shadow && rule.effect == Effect::Deny && rule_truth(rule, &view) == Truth::Yes
            });
            prop_assert_eq!(matches!(entered.verdict, Verdict::Allow(_)), !named_deny);
        }
        // The projection of a message that is no tool call gives its decision again.
        let decision = snapshot.decide(&asked, Memory::On);
        let projection = json(std::str::from_utf8(&decision.facts_json).unwrap());
        let again = snapshot.decide(&Facts::from_json(&projection, Some(&snapshot)).unwrap(), Memory::Off);
        prop_assert_eq!(&again.finding, &decision.finding);
    }
    #[test]
    fn what_may_be_used_or_asked_is_listed_and_its_server_can_be_entered(
        list in prop::collection::vec(a_rule(), 1..6),
        leaf in a_leaf(),
        who in 0..PRINCIPALS.len(), object in 0..OBJECTS.len(), context in 0..CONTEXTS.len(),
    ) {
        // One rule that is often met: `accept` and any leaf.
        let snapshot = snapshot_of(&[list, vec![(true, false, vec![(0, vec![0, leaf])])]].concat());
        let messages: Vec<_> =
            (0..ARGUMENTS.len()).map(|arguments| message(&snapshot, who, object, arguments, context)).collect();
        if !messages.iter().any(|facts| allowed(&snapshot, facts)) {
            return Ok(());
        }
        let facts = &messages[0];
        let lister = snapshot.lister(facts);
        if let Some(asked) = &facts.server_request {
            prop_assert!(lister.could_ask(asked));
            return Ok(());
        }
        match (facts.mcp_method.as_str(), &facts.prompt, &facts.resource_uri) {
            ("prompts/get", Some(prompt), _) => prop_assert!(lister.could_prompt(prompt)),
            ("resources/read" | "resources/subscribe", _, Some(uri)) => {
                prop_assert!(lister.could_resource(uri));
                for at in 0..=uri.len() {
                    let template = format!("{}{{rest}}", &uri[..at]);
                    let shown = lister.could_template(&template);
                    prop_assert!(shown);
                }
            }
            _ => {}
        }
        let entering = Facts {
            mcp_method: "initialize".to_owned(),
            prompt: None,
            resource_uri: None,
            arguments: None,
            ..facts.clone()
        };
        let view = snapshot.view(&entering);
        let named_deny = snapshot.policy.rules.iter().any(|rule| {
            rule.names_method && !rule.shadow && rule.effect == Effect::Deny && rule_truth(rule, &view) == Truth::Yes
        });
        prop_assert_eq!(matches!(snapshot.decide(&entering, Memory::Off).verdict, Verdict::Allow(_)), !named_deny);
    }
}
