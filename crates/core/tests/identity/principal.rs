//! Who a token speaks for: pins, registry and claims against the caller that comes of them.

use super::kit::{KEYS, NOW, merged, read, sign, snapshot, text, verified};
use ostiary_core::json::{Object, Value};
use ostiary_core::principal::{Caller, Groups, resolve};
use ostiary_core::snapshot::Snapshot;
use ostiary_core::token::{TokenError, Verified};

/// The issuer `who`, with its pin changed, gives a token with its claims changed.
pub fn caller(pin: &str, claims: &str) -> Result<Caller, TokenError> {
    let (token, snapshot) = verified_by(pin, claims)?;
    resolve(&token, snapshot.issuers.by_url("https://who.test").unwrap(), &snapshot)
}

pub fn verified_by(pin: &str, claims: &str) -> Result<(Verified, Snapshot), TokenError> {
    let base = format!(
        r#"{{"name":"who","issuer":"https://who.test","keys":[{}],"algorithms":["EdDSA"],"type":"human","audience":null,"servers":null,"typ":["at+jwt"],"max_ttl_s":3600,"claims":{{}},"email_domains":null,"scopes":null,"direct":true}}"#,
        KEYS.ed.jwk(None)
    );
    let pin = merged(read(&base).as_object().unwrap(), Some(&read(pin)));
    let base = format!(
        r#"{{"iss":"https://who.test","aud":"https://gw.test/mcp/notes","sub":"ann","iat":{NOW},"exp":{}}}"#,
        NOW + 60
    );
    let claims = merged(read(&base).as_object().unwrap(), Some(&read(claims)));
    let mut pin_text = text(&Value::Object(pin.clone()));
    // `merged` drops what is null, and a pin must have every member.
    for member in ["audience", "servers", "email_domains", "scopes"] {
        if pin.get(member).is_none() {
            pin_text = pin_text.replacen('{', &format!(r#"{{"{member}":null,"#), 1);
        }
    }
    let snapshot = snapshot(&pin_text);
    let token = sign(&KEYS.ed, "EdDSA", r#"{"alg":"EdDSA","typ":"at+jwt"}"#, &text(&Value::Object(claims)));
    let token = verified(&snapshot, &token)?;
    Ok((token, snapshot))
}

/// The pin by which `who` is the gateway itself.
pub const OWN: &str = r#"{"name":"local","type":"agent","direct":false}"#;

pub fn with_jti(claims: &str) -> String {
    claims.replacen('{', r#"{"jti":"j","#, 1).replace(",}", "}")
}

pub fn local(claims: &str) -> Result<Caller, TokenError> {
    caller(OWN, &with_jti(claims))
}

/// `subject | actor | owner | chain`, or the reason of the refusal.
pub fn who(caller: Result<Caller, TokenError>) -> String {
    match caller {
        Err(error) => error.reason.as_str().to_owned(),
        Ok(caller) => {
            assert!(caller.subject.id.starts_with(&format!("{}:", caller.subject.kind.as_str())));
            let actor = caller.actor.as_ref().map_or("-", |actor| &actor.id);
            let owner = caller.actor.as_ref().map(|actor| &actor.owner).or(caller.subject.owner.as_ref());
            format!("{} | {actor} | {} | {}", caller.subject.id, owner.map_or("-", |o| o), caller.act.join(" "))
        }
    }
}

#[test]
fn the_subject_and_the_actor_come_from_pin_and_registry() {
    const HUMAN: &str = r#"{"direct":true}"#;
    const CLIENTS: &str = r#"{"direct":["browser"]}"#;
    const NEVER: &str = r#"{"direct":false}"#;
    const AGENT: &str = r#"{"type":"agent","direct":false}"#;
    const SERVICE: &str = r#"{"type":"service","direct":false}"#;
    const BUILDER: &str = "agent:who:builder | agent:who:builder | alice | ";
    const VIA_CLAUDE: &str = "human:who:ann | agent:local:claude | alice | agent:local:claude";
    for (pin, claims, expected) in [
        (HUMAN, "{}", "human:who:ann | - | - | "),
        (HUMAN, r#"{"client_id":"anything"}"#, "human:who:ann | - | - | "),
        // attacks.md E13: the kind is the pin's, whatever the claims say
        (
            HUMAN,
            r#"{"actor_type":"agent","type":"service","sub":"agent:local:release-bot"}"#,
            "human:who:agent:local:release-bot | - | - | ",
        ),
        (AGENT, r#"{"actor_type":"human","sub":"human:corp:root"}"#, "agent_unknown"),
        (CLIENTS, r#"{"client_id":"browser"}"#, "human:who:ann | - | - | "),
        (CLIENTS, r#"{"client_id":"claude-code"}"#, VIA_CLAUDE),
        (CLIENTS, r#"{"client_id":"Browser"}"#, "agent_unknown"),
        (CLIENTS, r#"{"client_id":"unheard-of"}"#, "agent_unknown"),
        (CLIENTS, "{}", "agent_unknown"),
        (CLIENTS, r#"{"client_id":"ann"}"#, "agent_unknown"),
        (NEVER, r#"{"client_id":"claude-code"}"#, VIA_CLAUDE),
        (NEVER, "{}", "agent_unknown"),
        // A token with `act` is never direct.
        (HUMAN, r#"{"act":{"sub":"builder"}}"#, "human:who:ann | agent:who:builder | alice | agent:who:builder"),
        (HUMAN, r#"{"act":{"sub":"claude-code"}}"#, VIA_CLAUDE),
        (HUMAN, r#"{"act":{"sub":"x","client_id":"claude-code"}}"#, VIA_CLAUDE),
        (
            HUMAN,
            r#"{"act":{"sub":"builder"},"client_id":"builder-client"}"#,
            "human:who:ann | agent:who:builder | alice | agent:who:builder",
        ),
        (HUMAN, r#"{"act":{"sub":"builder"},"client_id":"claude-code"}"#, "agent_unknown"),
        (
            HUMAN,
            r#"{"act":{"sub":"builder","act":{"sub":"before"}}}"#,
            "human:who:ann | agent:who:builder | alice | agent:who:builder agent:who:before",
        ),
        (HUMAN, r#"{"act":{"sub":"unheard-of"}}"#, "agent_unknown"),
        (HUMAN, r#"{"act":{"sub":"agent:local:release-bot"}}"#, "agent_unknown"),
        (AGENT, r#"{"sub":"builder"}"#, BUILDER),
        (AGENT, r#"{"sub":"builder","client_id":"builder"}"#, BUILDER),
        (AGENT, r#"{"sub":"builder","client_id":"builder-client"}"#, BUILDER),
        (
            AGENT,
            r#"{"sub":"builder","client_id":"claude-code"}"#,
            "agent:who:builder | agent:local:claude | alice | agent:local:claude",
        ),
        (AGENT, r#"{"sub":"builder","client_id":"unheard-of"}"#, "agent_unknown"),
        (AGENT, r#"{"sub":"release-bot"}"#, "agent_unknown"),
        (SERVICE, r#"{"sub":"batch"}"#, "service:who:batch | - | - | "),
        (SERVICE, r#"{"sub":"batch","client_id":"batch"}"#, "service:who:batch | - | - | "),
        (
            SERVICE,
            r#"{"sub":"batch","client_id":"claude-code"}"#,
            "service:who:batch | agent:local:claude | alice | agent:local:claude",
        ),
    ] {
        assert_eq!(who(caller(pin, claims)), expected, "{pin} {claims}");
    }
}

#[test]
fn the_local_issuer_speaks_for_registered_agents_and_services() {
    const BOT: &str = "agent:local:release-bot | agent:local:release-bot | alice | ";
    for (claims, expected) in [
        (r#"{"sub":"agent:local:release-bot"}"#, BOT),
        (r#"{"sub":"agent:local:release-bot","client_id":"release-bot"}"#, BOT),
        (r#"{"sub":"agent:who:builder"}"#, "agent:who:builder | agent:who:builder | alice | "),
        (r#"{"sub":"service:local:batch"}"#, "service:local:batch | - | alice | "),
        (
            r#"{"sub":"agent:local:release-bot","act":{"sub":"agent:local:claude"}}"#,
            "agent:local:release-bot | agent:local:claude | alice | agent:local:claude",
        ),
        (r#"{"sub":"agent:local:release-bot","act":{"sub":"claude"}}"#, "agent_unknown"),
        (r#"{"sub":"agent:local:gone"}"#, "agent_unknown"),
        (r#"{"sub":"service:local:gone"}"#, "agent_unknown"),
        (r#"{"sub":"service:local:release-bot"}"#, "agent_unknown"),
        (r#"{"sub":"release-bot"}"#, "token_invalid"),
        (r#"{"sub":"robot:local:release-bot"}"#, "token_invalid"),
    ] {
        assert_eq!(who(local(claims)), expected, "{claims}");
    }
}

#[test]
fn an_address_is_a_fact_only_where_the_issuer_may_vouch_for_it() {
    const PIN: &str = r#"{"claims":{"email":"mail"},"email_domains":["Example.com"]}"#;
    for (pin, claims, expected) in [
        (PIN, r#"{"mail":"Ann@EXAMPLE.com"}"#, Some(("Ann@EXAMPLE.com", "example.com"))),
        (PIN, r#"{"mail":"a@b@example.com","email_verified":true}"#, Some(("a@b@example.com", "example.com"))),
        (PIN, r#"{"mail":"a@example.com","email_verified":"true"}"#, Some(("a@example.com", "example.com"))),
        (PIN, r#"{"mail":"a@example.com","email_verified":false}"#, None),
        (PIN, r#"{"mail":"a@example.com","email_verified":"false"}"#, None),
        (PIN, r#"{"mail":"a@example.com","email_verified":0}"#, None),
        (PIN, r#"{"mail":"a@sub.example.com"}"#, None),
        (PIN, r#"{"mail":"a@example.com.evil"}"#, None),
        (PIN, r#"{"mail":"a@example.com "}"#, None),
        (PIN, r#"{"mail":"a b@example.com"}"#, None),
        (PIN, r#"{"mail":"@example.com"}"#, None),
        (PIN, r#"{"mail":["a@example.com"]}"#, None),
        (PIN, r#"{"email":"a@example.com"}"#, None),
        (r#"{"claims":{"email":"mail"}}"#, r#"{"mail":"a@example.com"}"#, None),
        (r#"{"email_domains":["example.com"]}"#, r#"{"email":"a@example.com"}"#, None),
        (
            r#"{"claims":{"email":"mail"},"email_domains":["example.com"],"type":"service"}"#,
            r#"{"mail":"a@example.com"}"#,
            None,
        ),
    ] {
        let subject = caller(pin, claims).unwrap().subject;
        assert_eq!(subject.email.as_deref().zip(subject.domain.as_deref()), expected, "{pin} {claims}");
    }
}

#[test]
fn groups_that_were_left_out_are_unavailable_and_never_absent() {
    const PIN: &str = r#"{"claims":{"groups":"grp"}}"#;
    for (pin, claims, expected) in [
        (PIN, r#"{"grp":["a","b"]}"#, Some(Some("a b"))),
        (PIN, r#"{"grp":[]}"#, Some(Some(""))),
        (PIN, r#"{"grp":"a"}"#, Some(Some("a"))),
        (PIN, "{}", None),
        (PIN, r#"{"groups":["a"]}"#, None),
        ("{}", r#"{"grp":["a"],"groups":["b"]}"#, None),
        (PIN, r#"{"grp":[1]}"#, Some(None)),
        (PIN, r#"{"grp":{"a":true}}"#, Some(None)),
        (PIN, r#"{"_claim_names":{"grp":"src1"},"_claim_sources":{}}"#, Some(None)),
        (PIN, r#"{"_claim_names":{"grp":"src1"},"grp":["a"]}"#, Some(None)),
        (PIN, r#"{"_claim_names":"odd","grp":["a"]}"#, Some(None)),
        (PIN, r#"{"_claim_names":{"roles":"src1"},"grp":["a"]}"#, Some(Some("a"))),
        (PIN, r#"{"hasgroups":true}"#, Some(None)),
        (PIN, r#"{"hasgroups":"true","grp":["a"]}"#, Some(None)),
        (PIN, r#"{"hasgroups":false,"grp":["a"]}"#, Some(Some("a"))),
    ] {
        let groups = caller(pin, claims).unwrap().subject.groups;
        let groups = groups.map(|groups| match groups {
            Groups::Known(names) => Some(names.join(" ")),
            Groups::Unavailable(_) => None,
        });
        assert_eq!(groups.as_ref().map(|known| known.as_deref()), expected, "{pin} {claims}");
    }
}

#[test]
fn claims_without_an_exact_meaning_are_unavailable() {
    let claims =
        caller("{}", r#"{"n":1.50,"big":12345678901234567890,"deep":{"x":[1e999]},"_claim_names":{"far":"s"}}"#);
    let claims: Object = claims.unwrap().subject.claims;
    let unavailable = |name: &str| claims.get(name).unwrap().get("unavailable").is_some();
    assert_eq!(["big", "deep", "far"].map(unavailable), [true; 3]);
    assert_eq!(text(claims.get("n").unwrap()), "1.50");
}

#[test]
fn scopes_are_ours_as_they_are_or_as_the_map_says() {
    const MAP: &str =
        r#"{"scopes":{"files.read":["read","query"],"files.all":["read","update"],"mcp:admin":["read"]}}"#;
    for (pin, scope, expected) in [
        ("{}", "", ""),
        ("{}", "openid mcp:read mcp:odd", "openid mcp:read mcp:odd"),
        (MAP, "", "mcp:none"),
        (MAP, "openid", "openid mcp:none"),
        (MAP, "files.read openid", "openid files.read mcp:read mcp:query"),
        (MAP, "files.read files.all", "files.read files.all mcp:read mcp:query mcp:update"),
        (MAP, "mcp:update", "mcp:none"),
        (MAP, "mcp:admin", "mcp:read"),
        (r#"{"scopes":{}}"#, "mcp:read", "mcp:none"),
        (r#"{"scopes":{"nothing":[]}}"#, "nothing", "nothing mcp:none"),
    ] {
        let mut given: Vec<String> = caller(pin, &format!(r#"{{"scope":"{scope}"}}"#)).unwrap().scope;
        let mut wanted: Vec<&str> = expected.split_whitespace().collect();
        given.sort();
        wanted.sort_unstable();
        assert_eq!(given, wanted, "{pin} {scope}");
    }
}
