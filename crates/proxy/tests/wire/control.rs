//! What reaches the control app, and what of its answers reaches a client.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::kit::{App, Folder, House, Plan, Reply, layout, token};

const TABLE: &str = r#","control":[["GET","/oauth/authorize","own"],["POST","/oauth/authorize","own"],
    ["POST","/oauth/token","any"],["OPTIONS","/oauth/token","any"],
    ["GET","/mcp/notes/.well-known/openid-configuration","any"]]"#;

struct Stage {
    house: House,
    app: App,
}

fn stage_with(gateway: &'static str) -> Stage {
    let app = App::new();
    let house = House::new(&Plan { whole: TABLE, gateway, ..Plan::default() }, "", Some(app.path.clone()));
    Stage { house, app }
}

fn stage() -> Stage {
    stage_with("")
}

/// A request as the app got it: its first line, its fields sorted with the id left out, and its body.
fn seen(text: &str) -> (String, Vec<String>, String) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().map(str::to_owned);
    let first = lines.next().unwrap();
    let mut fields: Vec<String> = lines.collect();
    let ids: Vec<String> = fields.extract_if(.., |field| field.starts_with("x-ostiary-request: ")).collect();
    assert!(ids.len() == 1 && ids[0].len() == "x-ostiary-request: ".len() + 36, "{ids:?}");
    fields.sort();
    (first, fields, body.to_owned())
}

#[test]
fn a_request_is_made_anew_from_a_closed_list_of_fields() {
    let Stage { house, app } = stage();
    let reply = house.request(
        "POST /oauth/token?a=%20b&c",
        &[
            "Host: GW.test",
            "Accept: text/html",
            "Accept: */*;q=0.1",
            "Accept-Language: de",
            "Accept-Encoding: gzip",
            "Authorization: Basic YTpi",
            "Content-Type: application/x-www-form-urlencoded",
            "Cookie: __Host-ostiary-session=1",
            "Cookie: b=2",
            "Origin: https://elsewhere.test",
            "User-Agent: probe/1",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Mode: cors",
            "Referer: http://gw.test/secret",
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-User: root",
            "Forwarded: for=203.0.113.9",
            "X-Ostiary-Client: 203.0.113.9",
            "x_ostiary_client: 203.0.113.9",
            "X-Ostiary_Client: 203.0.113.9",
            "X-OSTIARY-REQUEST: mine",
            "x-ostiary-anything: mine",
            "X-HTTP-Method-Override: GET",
            "Proxy-Authorization: Basic YTpi",
            "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ],
        "grant_type=x",
    );
    assert_eq!((reply.status(), reply.body()), (200, "ok"));
    let fields = [
        "accept-language: de",
        "accept: text/html, */*;q=0.1",
        "access-control-request-headers: authorization",
        "access-control-request-method: POST",
        "authorization: Basic YTpi",
        "content-length: 12",
        "content-type: application/x-www-form-urlencoded",
        "cookie: __Host-ostiary-session=1; b=2",
        "host: gw.test",
        "origin: https://elsewhere.test",
        "sec-fetch-site: cross-site",
        "user-agent: probe/1",
        "x-ostiary-client: 127.0.0.1",
    ];
    let (first, got, body) = seen(&app.got());
    assert_eq!((first.as_str(), body.as_str()), ("POST /oauth/token?a=%20b&c HTTP/1.1", "grant_type=x"));
    assert_eq!(got, fields);
    assert_eq!(house.records(), [], "the app records what it does");
}

#[test]
fn a_bare_request_is_handed_over_bare_and_no_credential_but_two_kinds_is() {
    let Stage { house, app } = stage();
    let bare = ["host: gw.test", "x-ostiary-client: 127.0.0.1"];
    for (sent, shown) in [
        (&[][..], None),
        (&["Authorization: bearer abc"], Some("authorization: bearer abc")),
        (&["Authorization: BASIC YTpi"], Some("authorization: BASIC YTpi")),
        (&["Authorization: Negotiate abc"], None),
        (&["Authorization: Basically abc"], None),
        (&["Authorization: Digest a=b"], None),
        (&["Connection: cookie, User-Agent", "Cookie: a=1", "User-Agent: x"], None),
        (&["Connection: x-ostiary-client", "Expect: 100-continue"], None),
    ] {
        assert_eq!(house.request("GET /oauth/authorize", sent, "").status(), 200, "{sent:?}");
        let (first, got, body) = seen(&app.got());
        let mut expected: Vec<&str> = shown.into_iter().chain(bare).collect();
        expected.sort_unstable();
        assert_eq!((first.as_str(), body.as_str()), ("GET /oauth/authorize HTTP/1.1", ""));
        assert_eq!(got, expected, "{sent:?}");
    }
}

#[test]
fn the_address_is_the_one_that_a_trusted_proxy_tells() {
    let Stage { house, app } = stage_with(r#","trusted_proxies":["127.0.0.0/8"]"#);
    let fields = ["X-Forwarded-For: 198.51.100.1, 203.0.113.9", "X-Ostiary-Client: 198.51.100.1"];
    assert_eq!(house.request("GET /oauth/authorize", &fields, "").status(), 200);
    assert_eq!(seen(&app.got()).1, ["host: gw.test", "x-ostiary-client: 203.0.113.9"]);
}

#[test]
fn an_answer_is_made_anew_from_a_closed_list_of_fields() {
    let Stage { house, app } = stage();
    let passed = [
        "content-type: text/html",
        "location: http://127.0.0.1:9/cb?code=x",
        "set-cookie: c=1; Path=/",
        "set-cookie: a=2; Path=/",
        "set-cookie: b=3; Path=/",
        "cache-control: no-store",
        "pragma: no-cache",
        "www-authenticate: Basic realm=\"x\"",
        "content-security-policy: default-src 'none'",
        "x-frame-options: DENY",
        "x-content-type-options: nosniff",
        "referrer-policy: same-origin",
        "permissions-policy: camera=()",
        "cross-origin-opener-policy: same-origin",
        "cross-origin-resource-policy: same-origin",
        "vary: Origin",
        "vary: Cookie",
        "retry-after: 3",
        "access-control-allow-origin: *",
        "access-control-max-age: 60",
    ];
    let dropped = [
        "server: uvicorn",
        "strict-transport-security: max-age=1",
        "clear-site-data: \"*\"",
        "x-ostiary-client: 203.0.113.9",
        "link: </x>; rel=preload",
        "refresh: 0; url=http://evil.test",
        "keep-alive: timeout=5",
    ];
    let fields = [&dropped[..3], &passed[..], &dropped[3..]].concat().join("\r\n");
    app.answers(format!("HTTP/1.1 302 Found\r\n{fields}\r\nContent-Length: 4\r\n\r\nbody"));
    let reply = house.request("GET /oauth/authorize", &[], "");
    assert_eq!((reply.status(), reply.body()), (302, "body"));
    let (mut got, mut expected) = (reply.fields(), passed.map(str::to_owned).to_vec());
    let cookies = |fields: &[String]| -> Vec<String> {
        fields.iter().filter(|field| field.starts_with("set-cookie")).cloned().collect()
    };
    assert_eq!(cookies(&got), cookies(&expected), "each of them, in order");
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
}

#[test]
fn only_the_table_leads_to_the_app() {
    let Stage { house, app } = stage();
    let foreign = "Origin: https://elsewhere.test";
    let form = "Content-Type: application/x-www-form-urlencoded";
    // The request, its fields, the status, and the reason under which it is recorded; none where it is handed over.
    for (line, fields, status, reason) in [
        ("GET /oauth/authorize?client_id=a", &[][..], 200, None),
        ("POST /oauth/authorize", &[form, "Origin: http://gw.test"], 200, None),
        ("POST /oauth/authorize", &[form, foreign], 403, Some("origin")),
        ("POST /oauth/authorize", &[form, "Origin: null"], 403, Some("origin")),
        ("POST /oauth/token", &[form, foreign], 200, None),
        ("POST /oauth/token", &[form, "Origin: null"], 200, None),
        ("OPTIONS /oauth/token", &[foreign], 200, None),
        ("GET /mcp/notes/.well-known/openid-configuration", &[foreign], 200, None),
        ("GET /oauth/token", &[foreign], 403, Some("origin")),
        ("POST /oauth/token", &[form, "Host: evil.test"], 421, Some("host")),
        ("GET /oauth/authorize", &["Host: gw.test:81"], 421, Some("host")),
        ("GET /oauth/token", &[], 405, Some("method")),
        ("HEAD /oauth/authorize", &[], 405, Some("method")),
        ("OPTIONS /oauth/authorize", &[], 405, Some("method")),
        ("PUT /oauth/token", &[], 405, Some("method")),
        ("GET /oauth", &[], 404, Some("route")),
        ("GET /oauth/authorize/", &[], 404, Some("route")),
        ("GET /oauth/Authorize", &[], 404, Some("route")),
        ("GET /OAUTH/AUTHORIZE", &[], 404, Some("route")),
        ("GET /oauth/authorize;x=1", &[], 404, Some("route")),
        ("GET /oauth/callback", &[], 404, Some("route")),
        ("GET /admin", &[], 404, Some("route")),
        ("GET /", &[], 404, Some("route")),
        ("GET /oauth/%61uthorize", &[], 400, Some("header")),
        ("GET /oauth//authorize", &[], 400, Some("header")),
        ("GET /oauth/../oauth/authorize", &[], 400, Some("header")),
        ("GET //oauth/authorize", &[], 400, Some("header")),
        ("GET http://gw.test/oauth/authorize", &[], 400, Some("header")),
        ("GET /mcp/other/.well-known/openid-configuration", &[], 404, Some("unknown_server")),
        ("GET /mcp/notes/.well-known/openid-configuration?x", &[], 400, Some("header")),
        ("POST /oauth/token", &["Origin: http://gw.test", foreign], 400, Some("header")),
        ("POST /oauth/token", &["Authorization: Basic a", "Authorization: Basic b"], 400, Some("header")),
        ("POST /oauth/token", &["User-Agent: a", "User-Agent: b"], 400, Some("header")),
        ("POST /oauth/token", &["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"], 400, Some("header")),
        ("POST /oauth/token", &["Content-Encoding: gzip"], 415, Some("media_type")),
    ] {
        let before = house.records().len();
        let reply = house.request(line, fields, "");
        assert_eq!(reply.status(), status, "{line} {fields:?}: {reply:?}");
        let recorded: Vec<_> =
            house.records().split_off(before).into_iter().map(|(kind, why, _)| (kind, why)).collect();
        let expected: Vec<_> = reason.iter().map(|why| ("deny".to_owned(), (*why).to_owned())).collect();
        assert_eq!(recorded, expected, "{line} {fields:?}");
        match reason {
            None => drop(app.got()),
            Some(_) => assert!(app.idle(), "{line} {fields:?}"),
        }
    }
    let allow = |line: &str| house.request(line, &[], "").field("allow");
    assert_eq!(allow("GET /oauth/token").as_deref(), Some("OPTIONS, POST"));
    assert_eq!(allow("HEAD /oauth/authorize").as_deref(), Some("GET, POST"));
    assert_eq!(allow("POST /.well-known/jwks.json").as_deref(), Some("GET, HEAD"));
    assert_eq!(allow("GET /oauth/authorise"), None);
}

#[test]
fn without_a_table_or_an_app_nothing_is_handed_over() {
    let app = App::new();
    let closed = House::new(&Plan::default(), "", Some(app.path.clone()));
    assert_eq!(closed.request("GET /oauth/authorize", &[], "").status(), 404);
    assert!(app.idle());
    let open = Plan { whole: TABLE, ..Plan::default() };
    for socket in [None, Some(app.path.with_file_name("nobody.sock")), Some("/".into())] {
        let house = House::new(&open, "", socket);
        let reply = house.request("GET /oauth/authorize", &[], "");
        assert_eq!((reply.status(), reply.field("content-type")), (503, Some("text/plain; charset=utf-8".to_owned())));
        assert_eq!(reply.body().lines().count(), 1);
        let recorded = [("deny".to_owned(), "upstream".to_owned(), "/oauth/authorize".to_owned())];
        assert_eq!(house.records(), recorded);
        assert!(house.gateway.events(Duration::from_secs(1)).concat().contains("control_fault"));
    }
}

/// The child of the next test: listens as another user, until it is killed.
#[test]
#[ignore = "runs as a child of another test"]
fn listen_for_another_test() {
    let Some(path) = std::env::var_os("OSTIARY_TEST_SOCKET") else { return };
    let listener = UnixListener::bind(path).unwrap();
    std::io::stderr().write_all(b"listening\n").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    std::io::stderr().write_all(format!("{} bytes\n", got.len()).as_bytes()).unwrap();
}

/// Only root can listen as somebody else, so elsewhere there is nothing to see.
#[test]
fn nothing_is_sent_to_a_socket_of_another_user() {
    let folder = Folder::new();
    if std::fs::metadata(&folder.0).unwrap().uid() != 0 {
        return;
    }
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o777)).unwrap();
    let path = folder.0.join("control.sock");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "control::listen_for_another_test"])
        .env("OSTIARY_TEST_SOCKET", &path)
        .uid(65_534)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "listening");
    let house = House::new(&Plan { whole: TABLE, ..Plan::default() }, "", Some(path));
    let reply = house.request("POST /oauth/token", &["Authorization: Basic YTpi"], "a=b");
    assert_eq!((reply.status(), said.next().unwrap().unwrap().as_str()), (503, "0 bytes"));
    assert!(house.gateway.events(Duration::from_secs(1)).concat().contains("user 65534"));
    child.wait().unwrap();
}

#[test]
fn a_body_has_a_size_on_each_way() {
    let Stage { house, app } = stage();
    let fits = "x".repeat(64 * 1024);
    assert_eq!(house.request("POST /oauth/token", &[], &fits).status(), 200);
    assert_eq!(seen(&app.got()).2, fits);
    let chunked = |size: usize| {
        let mut text = layout("POST /oauth/token", &["Transfer-Encoding: chunked"], "");
        text.extend(format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size)).into_bytes());
        house.send(&text).status()
    };
    assert_eq!(chunked(64 * 1024), 200);
    assert_eq!(seen(&app.got()).2, fits);
    assert_eq!(house.request("POST /oauth/token", &[], &format!("{fits}x")).status(), 413);
    assert_eq!(chunked(64 * 1024 + 1), 413);
    assert!(app.idle());
    let answer = |size: usize| {
        app.answers(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{}", "y".repeat(size)));
        let reply = house.request("POST /oauth/token", &[], "a=b");
        drop(app.got());
        (reply.status(), reply.body().len())
    };
    assert_eq!(answer(1024 * 1024), (200, 1024 * 1024));
    assert_eq!(answer(1024 * 1024 + 1).0, 502);
    let reasons: Vec<String> = house.records().into_iter().map(|(_, why, _)| why).collect();
    assert_eq!(reasons, ["too_large", "too_large", "upstream"]);
}

#[test]
fn an_answer_that_is_none_is_not_passed_on() {
    let Stage { house, app } = stage();
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nBad Field: x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        app.answers(answer);
        let reply = house.request("GET /oauth/authorize", &[], "");
        assert_eq!((reply.status(), reply.body().lines().count()), (502, 1), "{answer:?}");
        drop(app.got());
    }
    app.answers("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(house.request("GET /oauth/authorize", &[], "").status(), 204);
}

#[test]
fn so_many_are_under_way_and_no_more() {
    let Stage { house, app } = stage();
    app.answers("");
    let ask = || house.open(&layout("POST /oauth/token", &[], "a=b"));
    let mut waiting: Vec<_> = (0..256).map(|_| ask()).collect();
    for _ in 0..256 {
        drop(app.got());
    }
    let reply = ask().finish();
    assert_eq!((reply.status(), reply.field("retry-after").as_deref()), (503, Some("1")));
    assert!(app.idle());
    assert_eq!(house.records(), [("deny".to_owned(), "limit".to_owned(), "/oauth/token".to_owned())]);
    app.answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    // Whoever goes makes room, and the app is not left to wait for nobody.
    waiting.clear();
    let served = |reply: Reply| reply.status() == 200;
    assert!((0..1_000).any(|_| served(ask().finish())));
}

#[test]
fn a_cookie_is_no_token() {
    let Stage { house, app } = stage();
    let cookie = format!("Cookie: access_token={}", token());
    let json = "Content-Type: application/json";
    let reply = house.request("POST /mcp/notes", &[&cookie, json], "{}");
    assert_eq!((reply.status(), app.idle()), (401, true));
    assert_eq!(house.records()[0].1, "token_missing");
}
