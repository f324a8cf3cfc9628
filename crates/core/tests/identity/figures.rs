//! Not tests: `cargo test -p ostiary-core --test identity -- --ignored --nocapture figures`.

use std::hint::black_box;
use std::time::Duration;

use ostiary_core::seal::SealKey;
use ostiary_core::token::{Assertion, SigningKey, mint};

use super::kit::{KEYS, NOTES, NOW, issuers, sign, snapshot, verified};

/// Processor time of this thread so far: a busy machine does not count.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn each<T>(what: &str, mut work: impl FnMut() -> T) {
    const TIMES: u32 = 5_000;
    let begin = spent();
    for _ in 0..TIMES {
        black_box(work());
    }
    println!("{what}: {:?}", spent().saturating_sub(begin) / TIMES);
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let key = SigningKey::from_seed("k", &[1; 32]).unwrap();
    let claims = Assertion {
        iss: "https://gw.test",
        aud: NOTES.url,
        sub: "human:corp:alice@example.com",
        client_id: Some("claude-code"),
        act: &[],
        jti: "0198f000-0000-7000-8000-000000000000",
        server: "notes",
        tool: Some("echo"),
        args_sha256: Some("RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o"),
        task: None,
        purpose: None,
    };
    each("mint", || mint(&key, &claims, NOW));
    let snapshot = snapshot(&issuers());
    let payload = format!(
        r#"{{"iss":"https://idp.test","aud":"mcp-gw","sub":"alice@example.com","iat":{NOW},"exp":{}}}"#,
        NOW + 60
    );
    let token = sign(&KEYS.own, "RS256", r#"{"alg":"RS256","kid":"corp-1","typ":"at+jwt"}"#, &payload);
    each("verify RS256", || verified(&snapshot, &token).unwrap());
    let seal = SealKey::derive(&[1; 32], "session").unwrap();
    let sealed = seal.seal(&["notes", "alice"], &[7; 24], b"0123456789abcdef").unwrap();
    each("seal", || seal.seal(&["notes", "alice"], &[7; 24], b"0123456789abcdef"));
    each("open", || seal.open(&["notes", "alice"], &sealed).unwrap());
}
