//! What a token can be revoked by, and when an epoch ends it.

use super::kit::NOW;
use super::principal::{OWN, verified_by, with_jti};
use ostiary_core::epoch::{self, Epoch, EpochKind, Epochs, Key, MEMORY_S};
use ostiary_core::principal::resolve;

fn key(kind: EpochKind, value: &str) -> Key {
    Key { kind, value: value.to_owned() }
}

/// `kind=value`, in order.
fn keys(pin: &str, claims: &str) -> String {
    let (token, snapshot) = verified_by(pin, claims).unwrap();
    let issuer = snapshot.issuers.by_url("https://who.test").unwrap();
    let caller = resolve(&token, issuer, &snapshot).ok();
    let word = |kind| EpochKind::ALL.iter().find(|(known, _)| *known == kind).unwrap().1;
    let mut keys: Vec<String> = epoch::keys(&token, caller.as_ref(), &snapshot)
        .iter()
        .map(|key| format!("{}={}", word(key.kind), key.value))
        .collect();
    keys.sort();
    keys.join(" ")
}

#[test]
fn a_token_is_revoked_by_everything_that_it_stands_for_and_by_nothing_else() {
    for (claims, expected) in [
        (
            r#"{"sub":"human:sso:ann","client_id":"cid","fam":"f","act":{"sub":"agent:client:cid","third_party":"app.test"}}"#,
            "agent=agent:client:cid client=cid family=f owner=human:sso:ann subject=human:sso:ann third_party=app.test token=j",
        ),
        // A declared owner is known under both names.
        (
            r#"{"sub":"human:sso:bob","client_id":"cid","act":{"sub":"agent:client:cid"}}"#,
            "agent=agent:client:cid client=cid owner=bob owner=human:sso:bob subject=human:sso:bob token=j",
        ),
        // A registered agent is its owner's, whomever it acts for.
        (
            r#"{"sub":"human:sso:bob","client_id":"claude-local","act":{"sub":"agent:local:claude"}}"#,
            "agent=agent:local:claude client=claude-local owner=alice subject=human:sso:bob third_party=anthropic.test token=j",
        ),
        (
            r#"{"sub":"agent:local:release-bot","client_id":"agent:local:release-bot"}"#,
            "agent=agent:local:release-bot client=agent:local:release-bot owner=alice subject=agent:local:release-bot token=j",
        ),
        // Whoever acts for an agent, and whoever acted before, ends with it.
        (
            r#"{"sub":"agent:local:release-bot","act":{"sub":"agent:local:claude","act":{"sub":"agent:local:before"}}}"#,
            "agent=agent:local:before agent=agent:local:claude agent=agent:local:release-bot owner=alice subject=agent:local:release-bot third_party=anthropic.test token=j",
        ),
        (r#"{"sub":"service:local:batch"}"#, "subject=service:local:batch token=j"),
        // Nobody is known behind it, and it can be ended all the same.
        (r#"{"sub":"agent:local:gone","client_id":"c","fam":"f"}"#, "client=c family=f token=j"),
    ] {
        assert_eq!(keys(OWN, &with_jti(claims)), expected, "{claims}");
    }
    for (pin, claims, expected) in [
        // A human in person is no agent's owner.
        ("{}", r#"{"jti":"x","client_id":"c"}"#, "client=c subject=human:who:ann token=x"),
        (
            "{}",
            r#"{"fam":"f","act":{"sub":"builder","third_party":"x"}}"#,
            "agent=agent:who:builder owner=alice subject=human:who:ann",
        ),
        (r#"{"type":"service","direct":true}"#, "{}", "subject=service:who:ann"),
    ] {
        assert_eq!(keys(pin, claims), expected, "{pin} {claims}");
    }
}

#[test]
fn an_epoch_ends_what_was_issued_until_then_and_nothing_later() {
    let mut epochs = Epochs::default();
    let mine = [key(EpochKind::Token, "j"), key(EpochKind::Agent, "agent:local:a")];
    assert!(!epochs.revoke(&mine, NOW));
    epochs.add(&[Epoch { key: key(EpochKind::Agent, "agent:local:a"), at: NOW - 10 }], NOW);
    for (iat, revoked) in [(NOW - 11, true), (NOW - 10, true), (NOW - 9, false)] {
        assert_eq!(epochs.revoke(&mine, iat), revoked, "{iat}");
    }
    for (kind, value) in [
        (EpochKind::Subject, "agent:local:a"),
        (EpochKind::Owner, "agent:local:a"),
        (EpochKind::Agent, "agent:local:A"),
        (EpochKind::Agent, "agent:local:ab"),
    ] {
        assert!(!epochs.revoke(&[key(kind, value)], NOW - 10), "{kind:?} {value}");
    }
    // The latest counts, in whatever order they come.
    epochs.add(&[Epoch { key: mine[1].clone(), at: NOW - 5 }, Epoch { key: mine[1].clone(), at: NOW - 20 }], NOW);
    assert!(epochs.revoke(&mine, NOW - 5) && !epochs.revoke(&mine, NOW - 4));
}

#[test]
fn what_no_token_can_be_as_old_as_is_forgotten() {
    let mut epochs = Epochs::default();
    epochs.add(&[Epoch { key: key(EpochKind::Token, "old"), at: NOW - MEMORY_S }], NOW);
    assert!(epochs.is_empty());
    epochs.add(&[Epoch { key: key(EpochKind::Token, "new"), at: NOW - MEMORY_S + 1 }], NOW);
    assert_eq!(epochs.len(), 1);
    epochs.add(&[], NOW + 1);
    assert!(epochs.is_empty());
    // A clock that was set back forgets nothing.
    epochs.add(&[Epoch { key: key(EpochKind::Token, "ahead"), at: NOW + 3_600 }], NOW);
    assert_eq!(epochs.len(), 1);
}

#[test]
fn epochs_are_read_strictly() {
    let read = |text: &str| epoch::read(text).map(|epochs| epochs.len()).map_err(|error| error.path);
    assert_eq!(read("[]"), Ok(0));
    let every: Vec<String> =
        EpochKind::ALL.iter().map(|(_, word)| format!(r#"{{"kind":"{word}","value":"v","epoch":1}}"#)).collect();
    assert_eq!(read(&format!("[{}]", every.join(","))), Ok(7));
    assert_eq!(read(r#"[{"kind":"token","value":"j","epoch":1,"reason":"lost"}]"#), Ok(1));
    for (text, path) in [
        ("", ""),
        ("{}", ""),
        ("[7]", "[0]"),
        (r#"[{"kind":"all","value":"v","epoch":1}]"#, "[0].kind"),
        (r#"[{"kind":"Token","value":"v","epoch":1}]"#, "[0].kind"),
        (r#"[{"value":"v","epoch":1}]"#, "[0].kind"),
        (r#"[{"kind":"token","value":"","epoch":1}]"#, "[0].value"),
        (r#"[{"kind":"token","value":7,"epoch":1}]"#, "[0].value"),
        (r#"[{"kind":"token","value":"v"}]"#, "[0].epoch"),
        (r#"[{"kind":"token","value":"v","epoch":1.5}]"#, "[0].epoch"),
        (r#"[{"kind":"token","value":"v","epoch":"1"}]"#, "[0].epoch"),
        (r#"[{"kind":"token","value":"v","epoch":-1}]"#, "[0].epoch"),
        (r#"[{"kind":"token","value":"v","epoch":1,"until":2}]"#, "[0].until"),
        (r#"[{"kind":"token","value":"v","epoch":1},{"kind":"x"}]"#, "[1].kind"),
    ] {
        assert_eq!(read(text), Err(path.to_owned()), "{text}");
    }
}
