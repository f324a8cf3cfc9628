//! Members that came later: what they mean, and that a snapshot from before them is still read.

use super::{Known, Snapshot};

/// A snapshot as the first version wrote it, with more members of `gateway` and of the whole, and what `notes` knows us by.
fn compile(gateway: &str, whole: &str, identity: &str) -> Result<Snapshot, String> {
    let text = format!(
        r#"{{"format":1,"partial":false,"lockdown":false{whole},
        "gateway":{{"url":"https://gw.test","hosts":[],"origins":[],"refusals":"error"{gateway}}},
        "audit":{{"durability":"by_class","redact":[]}},"issuers":[],"people":[],"agents":[],"services":[],
        "servers":[{{"name":"notes","url":"http://127.0.0.1:1/mcp","owner":"alice","environment":null,
          "identity":{identity},"default_class":"admin","tools":{{}},"timeout_s":60,"max_response_bytes":1000}}],
        "policy":{{"timezone":"UTC","rules":[]}}}}"#
    );
    Snapshot::compile(text.as_bytes()).map_err(|error| error.path)
}

#[test]
fn what_is_missing_means_what_it_meant_before() {
    let snapshot = compile("", "", r#""jwt""#).unwrap();
    let gateway = &snapshot.gateway;
    assert!(!gateway.authorization_server && !gateway.issues_tokens);
    assert!(
        gateway.default_scopes.is_empty() && gateway.first_scopes().is_empty() && gateway.trusted_proxies.is_empty()
    );
    assert_eq!(snapshot.control, super::Control::default());
    let null = r#","authorization_server":null,"issues_tokens":null,"default_scopes":null,"trusted_proxies":null"#;
    assert_eq!(compile(null, r#","control":null"#, r#""jwt""#).unwrap().gateway, *gateway);
}

#[test]
fn only_an_authorization_server_names_scopes_to_begin_with() {
    let scopes = r#","default_scopes":["mcp:read","mcp:query"]"#;
    for (more, expected) in [
        ("", &[][..]),
        (r#","issues_tokens":true"#, &[]),
        (r#","authorization_server":true"#, &["mcp:read", "mcp:query"]),
    ] {
        let snapshot = compile(&format!("{scopes}{more}"), "", r#""jwt""#).unwrap();
        assert_eq!(snapshot.gateway.first_scopes(), expected, "{more}");
    }
}

#[test]
fn how_we_are_known_to_a_server_is_one_of_three() {
    let known = |identity: &str| compile("", "", identity).map(|snapshot| snapshot.servers["notes"].identity.clone());
    let credential = |header: &str| Known::Credential { credential: "notes".to_owned(), header: header.to_owned() };
    assert_eq!(known(r#""jwt""#), Ok(Known::Jwt));
    assert_eq!(known(r#""none""#), Ok(Known::Nobody));
    for (header, as_sent) in
        [("Authorization", "authorization"), ("X-API-Key", "x-api-key"), ("api_key", "api_key"), ("Cookie", "cookie")]
    {
        let identity = format!(r#"{{"credential":"notes","header":"{header}"}}"#);
        assert_eq!(known(&identity), Ok(credential(as_sent)));
    }
    for (bad, path) in [
        (r#""oauth""#, ""),
        (r#""JWT""#, ""),
        ("null", ""),
        ("[]", ""),
        (r#"{"credential":"notes"}"#, ".header"),
        (r#"{"header":"Authorization"}"#, ".credential"),
        (r#"{"credential":"","header":"Authorization"}"#, ".credential"),
        (r#"{"credential":"notes","header":"Authorization","value":"x"}"#, ".value"),
    ] {
        assert_eq!(known(bad), Err(format!("servers[0].identity{path}")), "{bad}");
    }
    for header in [
        "",
        "a b",
        "a:",
        "é",
        "Host",
        "Content-Length",
        "content-type",
        "Transfer-Encoding",
        "Connection",
        "Mcp-Session-Id",
        "Mcp-Param-X",
        "Accept",
        "accept-encoding",
        "traceparent",
        "TE",
    ] {
        let identity = format!(r#"{{"credential":"notes","header":"{header}"}}"#);
        assert_eq!(known(&identity), Err("servers[0].identity.header".to_owned()), "{header}");
    }
}

#[test]
fn a_later_member_of_the_wrong_kind_is_refused_with_its_path() {
    for (gateway, whole, path) in [
        (r#","authorization_server":"yes""#, "", "gateway.authorization_server"),
        (r#","issues_tokens":1"#, "", "gateway.issues_tokens"),
        (r#","default_scopes":"mcp:read""#, "", "gateway.default_scopes"),
        (r#","default_scopes":["mcp:read mcp:query"]"#, "", "gateway.default_scopes"),
        (r#","default_scopes":["\""]"#, "", "gateway.default_scopes"),
        (r#","default_scopes":[""]"#, "", "gateway.default_scopes"),
        ("", r#","control":{}"#, "control"),
        ("", r#","control":[["GET","/a","any"],["GET","/a/","all"]]"#, "control[1]"),
        ("", r#","controls":[]"#, "controls"),
    ] {
        assert_eq!(compile(gateway, whole, r#""jwt""#).err().as_deref(), Some(path), "{gateway}{whole}");
    }
}
