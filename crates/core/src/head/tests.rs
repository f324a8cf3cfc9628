use super::*;

const PLAIN: [(&str, &str); 2] = [("host", "127.0.0.1:8811"), ("content-type", "application/json")];

fn read(extra: &[(&str, &str)]) -> Result<Head, Refusal> {
    let fields = PLAIN.iter().filter(|(name, _)| !extra.iter().any(|(other, _)| other == name)).chain(extra);
    Head::read("POST", "/mcp/notes", fields.map(|(name, value)| (*name, value.as_bytes())))
}

fn refused(extra: &[(&str, &str)]) -> Option<(u16, Option<i64>)> {
    read(extra).err().map(|refusal| (refusal.status, refusal.code))
}

#[test]
fn a_plain_head_is_read() {
    let head = read(&[
        ("Authorization", "bearer  a.b-c~d+e/f=="),
        ("MCP-Protocol-Version", " 2026-07-28 "),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        ("Mcp-Param-Region", "us-west1"),
        ("Accept", "application/json;q=0.9, text/event-stream"),
        ("Origin", "http://127.0.0.1:8811"),
        ("User-Agent", "probe/1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
        ("Connection", "keep-alive, X-Other"),
        ("X-Forwarded-User", "root"),
    ])
    .unwrap();
    assert_eq!(
        (head.method.as_str(), head.path.as_str(), head.host.as_str()),
        ("POST", "/mcp/notes", "127.0.0.1:8811")
    );
    assert_eq!(head.bearer.as_deref(), Some("a.b-c~d+e/f=="));
    assert_eq!(head.version.as_deref(), Some("2026-07-28"));
    assert_eq!(head.mcp_method.as_deref(), Some("tools/call"));
    assert_eq!(head.mcp_name.as_deref(), Some("Hello, 世界"));
    assert_eq!(head.mcp_params, [("region".to_owned(), "us-west1".to_owned())]);
    assert_eq!((head.accept_json, head.accept_sse), (true, true));
    assert_eq!(head.user_agent.as_deref(), Some("probe/1"));
    assert!(head.traceparent.is_some());
    assert_eq!(head.tracestate.as_deref(), Some("a=1,b=2"));
    let shown = format!("{head:?}");
    assert!(!shown.contains("a.b-c"), "{shown}");
}

#[test]
fn a_field_that_may_occur_once_occurs_once() {
    for (name, code) in [
        ("Host", None),
        ("Origin", None),
        ("Authorization", None),
        ("Content-Type", None),
        ("Content-Length", None),
        ("Transfer-Encoding", None),
        ("MCP-Protocol-Version", Some(HEADER_MISMATCH)),
        ("Mcp-Session-Id", Some(HEADER_MISMATCH)),
        ("Mcp-Method", Some(HEADER_MISMATCH)),
        ("Mcp-Name", Some(HEADER_MISMATCH)),
        ("Mcp-Param-Region", Some(HEADER_MISMATCH)),
    ] {
        let twice = [(name, "7"), (name, "7")];
        assert_eq!(refused(&twice), Some((400, code)), "{name}");
    }
}

#[test]
fn fields_with_an_underscore_do_not_exist() {
    let head = read(&[("Mcp_Name", "a"), ("mcp_method", "b"), ("X_Forwarded-User", "c"), ("Mcp-Name", "d")]).unwrap();
    assert_eq!((head.mcp_method, head.mcp_name.as_deref()), (None, Some("d")));
}

#[test]
fn connection_cannot_take_away_what_decides() {
    for option in ["Authorization", "host", "Content-Type", "content-length", "Mcp-Name", "mcp-param-x", "Origin"] {
        assert_eq!(refused(&[("Connection", &format!("close, {option}"))]), Some((400, None)), "{option}");
    }
    let head =
        read(&[("Accept", "*/*"), ("User-Agent", "x"), ("Connection", "close, accept,user-agent , x-y")]).unwrap();
    assert_eq!((head.accept_json, head.accept_sse, head.user_agent), (false, false, None));
}

#[test]
fn a_body_is_plain_json_in_utf8() {
    for good in [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
    ] {
        assert_eq!(refused(&[("content-type", good)]), None, "{good}");
    }
    for bad in [
        "",
        "text/plain",
        "application/jsonx",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; x=y",
        "application/json, text/plain",
        "application/json;",
        "application/vnd.api+json",
        "text/json",
    ] {
        assert_eq!(refused(&[("content-type", bad)]), Some((415, None)), "{bad}");
    }
    for coding in ["gzip", "identity", ""] {
        assert_eq!(refused(&[("Content-Encoding", coding)]), Some((415, None)));
    }
    let bare = [("host", b"h".as_slice())];
    assert_eq!(Head::read("POST", "/mcp/notes", bare.into_iter()).unwrap_err().status, 415);
    assert!(Head::read("GET", "/.well-known/jwks.json", bare.into_iter()).is_ok());
    assert!(Head::read("DELETE", "/mcp/notes", bare.into_iter()).is_ok());
}

#[test]
fn a_body_ends_in_one_way() {
    assert_eq!(refused(&[("content-length", "6")]), None);
    assert_eq!(refused(&[("transfer-encoding", "chunked")]), None);
    for bad in [
        &[("content-length", "6"), ("transfer-encoding", "chunked")][..],
        &[("transfer-encoding", "Chunked")],
        &[("content-length", "+6")],
        &[("content-length", "0x6")],
        &[("content-length", "6, 6")],
        &[("content-length", "")],
        &[("transfer-encoding", "xchunked")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "identity")],
    ] {
        assert_eq!(refused(bad), Some((400, None)), "{bad:?}");
    }
}

#[test]
fn anything_but_one_bearer_token_is_no_token() {
    let long = format!("Bearer {}", "a".repeat(TOKEN_BYTES + 1));
    for none in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer a b",
        "Bearer a,Bearer b",
        "Bearer =",
        "Bearer a=b",
        "Bearer ä",
        &long,
    ] {
        let head = read(&[("authorization", none)]);
        assert!(head.is_err() || head.is_ok_and(|head| head.bearer.is_none()), "{none}");
    }
}

#[test]
fn mcp_fields_hold_visible_characters() {
    for name in ["MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method"] {
        for bad in ["", "a b", "a\tb", "é"] {
            assert_eq!(refused(&[(name, bad)]), Some((400, Some(HEADER_MISMATCH))), "{name}: {bad}");
        }
    }
    for name in ["Mcp-Name", "Mcp-Param-X"] {
        for bad in ["é", "a\u{1}", "=?base64?YQ?=", "=?base64?/w==?="] {
            assert_eq!(refused(&[(name, bad)]), Some((400, Some(HEADER_MISMATCH))), "{name}: {bad}");
        }
        assert_eq!(refused(&[(name, "two words")]), None);
    }
}

#[test]
fn a_host_is_named_in_its_plain_form() {
    for bad in ["", "api/health?x=", "user@host", "a b", "host:", "host:x", "[::1", "ho%73t", "a,b"] {
        assert_eq!(refused(&[("host", bad)]), Some((400, None)), "{bad}");
    }
    let none = [("content-type", b"application/json".as_slice())];
    assert_eq!(Head::read("POST", "/mcp/notes", none.into_iter()).unwrap_err().status, 400);
    assert_eq!(read(&[("host", "LocalHost:8811")]).unwrap().host, "localhost:8811");
}

#[test]
fn trace_fields_are_kept_only_when_well_formed() {
    for bad in [
        "",
        "00-0-0-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let head = read(&[("traceparent", bad), ("tracestate", "a=1")]).unwrap();
        assert_eq!((head.traceparent, head.tracestate), (None, None), "{bad}");
    }
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(read(&[("traceparent", good), ("traceparent", good)]).unwrap().traceparent, None);
}
