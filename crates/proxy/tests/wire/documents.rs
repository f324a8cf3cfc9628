//! The metadata of a server and the challenge for a first token, with and without an authorization server of our own.

use crate::kit::{House, Plan};

const CORP: &str = r#"{"name":"corp","issuer":"https://idp.test","keys":[],"algorithms":["RS256"],"type":"human",
    "audience":null,"servers":null,"typ":["at+jwt"],"max_ttl_s":3600,"claims":{},"email_domains":null,"scopes":null,
    "direct":true},"#;
const ALL: &str = r#""mcp:read","mcp:query","mcp:update","mcp:admin""#;
const WHERE: &str = r#"resource_metadata="http://gw.test/.well-known/oauth-protected-resource/mcp/notes""#;

#[test]
fn clients_are_told_where_to_get_a_token_and_what_to_ask_for() {
    let two = r#""mcp:read","mcp:query""#;
    let own = r#","authorization_server":true,"issues_tokens":true,"default_scopes":["mcp:read","mcp:query"]"#;
    let machines = r#","authorization_server":false,"issues_tokens":true,"default_scopes":["mcp:read","mcp:query"]"#;
    let nothing = r#","authorization_server":true,"default_scopes":[]"#;
    let (idp, gw) = (r#""https://idp.test""#, r#""http://gw.test""#);
    for (gateway, issuers, servers, scopes, scope) in [
        ("", "", vec![], ALL, ""),
        ("", CORP, vec![idp], ALL, ""),
        (r#","authorization_server":false,"issues_tokens":null"#, CORP, vec![idp], ALL, ""),
        (own, CORP, vec![gw], two, "mcp:read mcp:query"),
        (own, "", vec![gw], two, "mcp:read mcp:query"),
        (machines, CORP, vec![idp, gw], ALL, ""),
        (machines, "", vec![gw], ALL, ""),
        (nothing, "", vec![gw], "", ""),
    ] {
        let house = House::new(&Plan { gateway, issuers, ..Plan::default() }, "", None);
        let foreign = house.request("GET /.well-known/oauth-protected-resource/mcp/notes", &[], "");
        let list = |name: &str, items: &str| match items {
            "" => String::new(),
            items => format!(r#","{name}":[{items}]"#),
        };
        let (servers, scopes) = (list("authorization_servers", &servers.join(",")), list("scopes_supported", scopes));
        let document = format!(
            r#"{{"resource":"http://gw.test/mcp/notes"{servers}{scopes},"bearer_methods_supported":["header"],"resource_name":"notes"}}"#
        );
        assert_eq!((foreign.status(), foreign.body()), (200, document.as_str()));
        assert_eq!(foreign.field("access-control-allow-origin").as_deref(), Some("*"));
        let challenge = |token: &[&str]| {
            let reply = house.request("GET /mcp/notes", token, "");
            assert_eq!(reply.status(), 401);
            reply.field("www-authenticate").unwrap()
        };
        let scope = if scope.is_empty() { String::new() } else { format!(r#"scope="{scope}", "#) };
        assert_eq!(challenge(&[]), format!("Bearer {scope}{WHERE}"));
        let bad = challenge(&["Authorization: Bearer x"]);
        let (start, described) = bad.split_once(r#", error_description=""#).unwrap();
        assert_eq!(start, format!(r#"Bearer error="invalid_token", {scope}{WHERE}"#));
        assert_eq!(described.find('"'), Some(described.len() - 1));
    }
}

#[test]
fn the_key_set_stays_public_whatever_the_table_says() {
    let table = r#","control":[["GET","/.well-known/oauth-authorization-server","any"]]"#;
    let house = House::new(&Plan { whole: table, ..Plan::default() }, "", None);
    let reply = house.request("GET /.well-known/jwks.json", &[], "");
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.field("access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(reply.field("cache-control").as_deref(), Some("public, max-age=60"));
    assert_eq!(house.request("GET /.well-known/oauth-authorization-server", &[], "").status(), 503);
}
