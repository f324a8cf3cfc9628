//! Tokens of our own that speak for a person: who may act by them, and what they say of her.

use super::kit::{snapshot_text, text};
use super::principal::{OWN, caller, local, verified_by, who, with_jti};
use ostiary_core::deny::Reason;
use ostiary_core::principal::Groups;
use ostiary_core::snapshot::Snapshot;

/// Claims by which the client `cid`, which nobody registered, acts for Ann; with these members besides.
fn of_ann(rest: &str) -> String {
    let rest = if rest.is_empty() { String::new() } else { format!(",{rest}") };
    format!(
        r#"{{"sub":"human:sso:ann","client_id":"cid","act":{{"sub":"agent:client:cid","third_party":"app.test"}}{rest}}}"#
    )
}

#[test]
fn a_human_is_spoken_for_only_through_the_very_client_that_the_token_was_issued_to() {
    const ACT: &str = r#""act":{"sub":"agent:client:cid"}"#;
    const CLAUDE: &str = r#""act":{"sub":"agent:local:claude"}"#;
    const VIA_CID: &str = "human:sso:ann | agent:client:cid | human:sso:ann | agent:client:cid";
    for (claims, expected) in [
        (format!(r#""sub":"human:sso:ann","client_id":"cid",{ACT}"#), VIA_CID),
        // A declared person owns her clients under her key.
        (
            format!(r#""sub":"human:sso:bob","client_id":"cid",{ACT}"#),
            "human:sso:bob | agent:client:cid | bob | agent:client:cid",
        ),
        (
            r#""sub":"human:sso:ann","client_id":"https://a.test/c:1","act":{"sub":"agent:client:https://a.test/c:1"}"#
                .to_owned(),
            "human:sso:ann | agent:client:https://a.test/c:1 | human:sso:ann | agent:client:https://a.test/c:1",
        ),
        (
            format!(r#""sub":"human:sso:ann","client_id":"claude-local",{CLAUDE}"#),
            "human:sso:ann | agent:local:claude | alice | agent:local:claude",
        ),
        // In person: never by a token of ours.
        (r#""sub":"human:sso:ann""#.to_owned(), "token_invalid"),
        (r#""sub":"human:sso:ann","client_id":"cid""#.to_owned(), "token_invalid"),
        (r#""sub":"human:sso:ann","client_id":"claude-local""#.to_owned(), "token_invalid"),
        (r#""sub":"human:sso:ann","client_id":"cid","act":{}"#.to_owned(), "token_invalid"),
        // The actor is not the client.
        (format!(r#""sub":"human:sso:ann","client_id":"other",{ACT}"#), "agent_unknown"),
        (format!(r#""sub":"human:sso:ann","client_id":"CID",{ACT}"#), "agent_unknown"),
        (format!(r#""sub":"human:sso:ann",{ACT}"#), "agent_unknown"),
        (r#""sub":"human:sso:ann","client_id":"cid","act":{"sub":"agent:client:other"}"#.to_owned(), "agent_unknown"),
        (
            r#""sub":"human:sso:ann","client_id":"cid","act":{"sub":"agent:client:other","client_id":"cid"}"#
                .to_owned(),
            "agent_unknown",
        ),
        (r#""sub":"human:sso:ann","client_id":"cid","act":{"sub":"agent:client:"}"#.to_owned(), "agent_unknown"),
        // The client is a registered agent, and only that one may be named; nor may a registered one be borrowed.
        (
            r#""sub":"human:sso:ann","client_id":"claude-local","act":{"sub":"agent:client:claude-local"}"#.to_owned(),
            "agent_unknown",
        ),
        (
            r#""sub":"human:sso:ann","client_id":"claude-local","act":{"sub":"agent:local:release-bot"}"#.to_owned(),
            "agent_unknown",
        ),
        (format!(r#""sub":"human:sso:ann","client_id":"cid",{CLAUDE}"#), "agent_unknown"),
        (format!(r#""sub":"human:sso:ann",{CLAUDE}"#), "agent_unknown"),
        // Only an agent acts, and what is no client must be registered.
        (r#""sub":"human:sso:ann","client_id":"cid","act":{"sub":"human:sso:ann"}"#.to_owned(), "agent_unknown"),
        (r#""sub":"human:sso:ann","client_id":"cid","act":{"sub":"service:local:batch"}"#.to_owned(), "agent_unknown"),
        (r#""sub":"human:sso:ann","client_id":"cid","act":{"sub":"agent:local:gone"}"#.to_owned(), "agent_unknown"),
        (r#""sub":"human:sso:ann","client_id":"cid","act":{"sub":"cid"}"#.to_owned(), "agent_unknown"),
        (
            r#""sub":"human:sso:ann","client_id":"claude-local","act":{"sub":"claude-local"}"#.to_owned(),
            "agent_unknown",
        ),
        // Nobody but a person consents.
        (format!(r#""sub":"agent:local:release-bot","client_id":"cid",{ACT}"#), "agent_unknown"),
        (format!(r#""sub":"service:local:batch","client_id":"cid",{ACT}"#), "agent_unknown"),
        (r#""sub":"agent:client:cid","client_id":"cid""#.to_owned(), "agent_unknown"),
        // Not whole ids.
        (format!(r#""sub":"human:sso:","client_id":"cid",{ACT}"#), "token_invalid"),
        (format!(r#""sub":"human::ann","client_id":"cid",{ACT}"#), "token_invalid"),
        (format!(r#""sub":"human:ann","client_id":"cid",{ACT}"#), "token_invalid"),
        (format!(r#""sub":"Human:sso:ann","client_id":"cid",{ACT}"#), "token_invalid"),
    ] {
        assert_eq!(who(local(&format!("{{{claims}}}"))), expected, "{claims}");
    }
    // Another issuer cannot let a client act that nobody registered.
    let theirs = r#"{"sub":"ann","client_id":"cid","act":{"sub":"agent:client:cid"}}"#;
    assert_eq!(who(caller(r#"{"direct":true}"#, theirs)), "agent_unknown");
}

#[test]
fn what_is_said_of_a_person_stands_in_members_of_its_own() {
    for (rest, expected) in [
        (r#""email":"Ann@EXAMPLE.com""#, Some(("Ann@EXAMPLE.com", "example.com"))),
        ("", None),
        (r#""mail":"ann@example.com","preferred_username":"ann@example.com""#, None),
        (r#""claims":{"email":"ann@example.com"}"#, None),
        (r#""email":"not an address""#, None),
        (r#""email":["ann@example.com"]"#, None),
    ] {
        let subject = local(&of_ann(rest)).unwrap().subject;
        assert_eq!(subject.email.as_deref().zip(subject.domain.as_deref()), expected, "{rest}");
    }
    for (rest, expected) in [
        (r#""groups":["a","b"]"#, Some(Some("a b"))),
        (r#""groups":[]"#, Some(Some(""))),
        ("", None),
        (r#""claims":{"groups":["a"]}"#, None),
        (r#""roles":["a"]"#, None),
        (r#""_claim_names":{"groups":"unavailable"}"#, Some(None)),
        (r#""_claim_names":{"groups":"unavailable"},"groups":["a"]"#, Some(None)),
        (r#""groups":[1]"#, Some(None)),
    ] {
        let groups = local(&of_ann(rest)).unwrap().subject.groups;
        let groups = groups.map(|groups| match groups {
            Groups::Known(names) => Some(names.join(" ")),
            Groups::Unavailable(_) => None,
        });
        assert_eq!(groups.as_ref().map(|known| known.as_deref()), expected, "{rest}");
    }
    let claims = |rest: &str| text(&local(&of_ann(rest)).unwrap().subject.claims.into());
    assert_eq!(claims(""), "{}");
    assert_eq!(
        claims(r#""department":"it","claims":{"department":"hr","deep":{"x":1}}"#),
        r#"{"department":"hr","deep":{"x":1}}"#
    );
    assert_eq!(claims(r#""claims":{"n":1e999}"#), r#"{"n":{"unavailable":"a number has no exact meaning"}}"#);
    // Groups that were left out are unknown to a rule on the claim too.
    assert_eq!(
        claims(r#""_claim_names":{"groups":"unavailable"}"#),
        r#"{"groups":{"unavailable":"the claim is kept elsewhere"}}"#
    );
    assert_eq!(who(local(&of_ann(r#""claims":["department"]"#))), "token_invalid");
}

#[test]
fn nothing_is_said_of_agents_and_other_issuers_gain_nothing_by_our_words() {
    let agent =
        r#"{"sub":"agent:local:release-bot","email":"a@example.com","groups":["dev"],"claims":{"department":"it"}}"#;
    let subject = local(agent).unwrap().subject;
    assert_eq!((subject.email, subject.groups, text(&subject.claims.into())), (None, None, "{}".to_owned()));
    let theirs = r#"{"email":"a@example.com","groups":["dev"],"claims":{"department":"it"},"fam":"f","act":{"sub":"builder","third_party":"x"}}"#;
    let subject = caller("{}", theirs).unwrap().subject;
    assert_eq!((subject.email, subject.groups), (None, None));
    // To them it is a claim like any other, and does not stand for claims of the provider.
    assert_eq!(subject.claims.get("department"), None);
    let (token, _) = verified_by("{}", theirs).unwrap();
    assert_eq!((token.family, token.act[0].third_party.as_deref()), (None, None));
    let (token, _) = verified_by(OWN, &with_jti(&of_ann(r#""fam":"f1""#))).unwrap();
    assert_eq!((token.family.as_deref(), token.act[0].third_party.as_deref()), (Some("f1"), Some("app.test")));
    for odd in [r#""fam":7"#, r#""fam":"""#] {
        assert_eq!(verified_by(OWN, &with_jti(&of_ann(odd))).unwrap_err().reason.as_str(), "token_invalid");
    }
}

#[test]
fn an_agent_is_suspended_for_one_of_two_reasons() {
    let whole = snapshot_text("");
    let reason = |word: &str| {
        Snapshot::compile(whole.replace(r#""owner_inactive""#, word).as_bytes())
            .map(|snapshot| snapshot.agents["agent:who:builder"].suspended.map(Reason::as_str))
            .map_err(|error| error.path)
    };
    assert_eq!(reason(r#""owner_inactive""#), Ok(Some("owner_inactive")));
    assert_eq!(reason(r#""agent_suspended""#), Ok(Some("agent_suspended")));
    assert_eq!(reason("null"), Ok(None));
    for wrong in [r#""revoked""#, r#""""#, "true"] {
        assert_eq!(reason(wrong), Err("agents[2].suspended".to_owned()), "{wrong}");
    }
}
