//! How a server knows us: by a credential of its own, which nobody sees.

use crate::kit::{House, Plan, Server, secrets};

const CANARY: &str = "Bearer canary-7f3a";

fn field(head: &str, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    head.lines().filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned)).collect()
}

#[test]
fn a_server_gets_exactly_what_it_is_declared_to_know_us_by() {
    for (identity, header, value) in [
        (r#"{"credential":"notes","header":"Authorization"}"#, "authorization", CANARY),
        (r#"{"credential":"key","header":"X-API-Key"}"#, "x-api-key", "k 1"),
        (r#""none""#, "x-api-key", ""),
    ] {
        let server = Server::new();
        let plan = Plan { url: server.url.clone(), identity, ..Plan::default() };
        let house = House::new(&plan, &format!(r#""notes":"{CANARY}","key":"k 1""#), None);
        let reply = house.call(&["X-API-Key: the client's", "Cookie: a=b"]);
        assert_eq!(reply.status(), 200, "{reply:?}");
        let head = server.got();
        let expected: Vec<&str> = Some(value).filter(|value| !value.is_empty()).into_iter().collect();
        assert_eq!(field(&head, header), expected, "{head}");
        assert_eq!(field(&head, "authorization").len(), usize::from(header == "authorization"), "{head}");
        assert_eq!(field(&head, "cookie"), [""; 0]);
    }
}

#[test]
fn without_its_credential_nothing_is_sent_and_a_new_one_counts_at_once() {
    let server = Server::new();
    let identity = r#"{"credential":"notes","header":"Authorization"}"#;
    let plan = Plan { url: server.url.clone(), identity, ..Plan::default() };
    let house = House::new(&plan, r#""other":"x""#, None);
    let reply = house.call(&[]);
    assert_eq!(reply.status(), 502);
    assert!(reply.body().contains(r#""code":5020"#) && reply.body().contains(r#""reason":"upstream""#), "{reply:?}");
    assert!(reply.body().contains("credential of this server is not set"), "{reply:?}");
    assert!(server.idle());
    for value in ["Bearer one", "Bearer two"] {
        house.gateway.apply(plan.snapshot(), &secrets(&format!(r#""notes":"{value}""#))).unwrap();
        assert_eq!(house.call(&[]).status(), 200);
        assert_eq!(field(&server.got(), "authorization"), [value]);
    }
    house.gateway.apply(plan.snapshot(), &secrets("")).unwrap();
    assert_eq!((house.call(&[]).status(), server.idle()), (502, true));
    let ends: Vec<(String, String)> = house.records().into_iter().map(|(kind, why, _)| (kind, why)).collect();
    let end = |outcome: &str| [("intent".to_owned(), String::new()), ("outcome".to_owned(), outcome.to_owned())];
    assert_eq!(ends, ["upstream", "ok", "ok", "upstream"].map(end).concat());
}

#[test]
fn a_credential_is_shown_nowhere() {
    let given = format!(r#""notes":"{CANARY}""#);
    let server = Server::new();
    let identity = r#"{"credential":"notes","header":"Authorization"}"#;
    let plan = Plan { url: server.url.clone(), identity, ..Plan::default() };
    let house = House::new(&plan, &given, None);
    let reply = house.call(&[]);
    assert_eq!(reply.status(), 200);
    let shown = [
        format!("{:?}", secrets(&given)),
        format!("{:?}", secrets(&given).credentials),
        format!("{:?}", house.gateway),
        format!("{:?}", plan.snapshot()),
        format!("{reply:?}"),
        house.records_text(),
    ];
    assert!(shown.iter().all(|text| !text.contains("canary")), "{shown:?}");
    assert!(server.got().contains(CANARY));
}

#[test]
fn what_is_no_header_value_is_no_credential_and_the_fault_does_not_show_it() {
    let base = |credentials: &str| {
        format!(
            r#"{{"signing":{{"kid":"k","alg":"EdDSA","seed":"{seed}"}},"jwks":{{"keys":[]}},"seal":"{seed}","credentials":{credentials}}}"#,
            seed = "A".repeat(43)
        )
    };
    let read = |credentials: &str| ostiary_proxy::secrets::Secrets::read(&base(credentials));
    for good in ["null", "{}", r#"{"a":"Bearer x y"}"#] {
        assert!(read(good).is_ok(), "{good}");
    }
    for bad in [
        "[]",
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"{"a":""}"#,
        r#"{"a":" canary"}"#,
        r#"{"a":"canary "}"#,
        r#"{"a":"canary\r\nX: y"}"#,
        r#"{"a":"canary\u0000"}"#,
        r#"{"a":"canaryé"}"#,
    ] {
        let fault = read(bad).unwrap_err().to_string();
        assert!(fault.contains("credential") && !fault.contains("canary"), "{bad}: {fault}");
    }
}
