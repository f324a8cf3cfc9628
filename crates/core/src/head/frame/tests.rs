#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

const PLAIN: &str = "POST /mcp/notes HTTP/1.1\r\nHost: a\r\n";

/// What comes out for `input`, and how it ended.
fn fed(input: &[u8]) -> (String, Result<(), (&'static str, u16)>) {
    let mut out = Vec::new();
    let result = Framer::default().feed(input, &mut |piece| out.extend_from_slice(piece));
    let result = result.map_err(|fault| match fault {
        Fault::Head(refused) => ("head", refused.refusal.status),
        Fault::Body(refusal) => ("body", refusal.status),
    });
    (String::from_utf8_lossy(&out).into_owned(), result)
}

fn refused_head(head: &str) -> u16 {
    match fed(head.as_bytes()) {
        (out, Err(("head", status))) if out.is_empty() => status,
        other => panic!("{head:?}: {other:?}"),
    }
}

#[test]
fn a_plain_message_passes_as_it_came() {
    for message in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("{PLAIN}Content-Length: 5\r\n\r\nhello"),
        format!("{PLAIN}Content-Length: 0\r\nExpect: 100-Continue\r\nX:\r\nY: \t a\tb \u{e9}\r\n\r\n"),
        format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ] {
        assert_eq!(fed(message.as_bytes()), (message.clone(), Ok(())));
        let twice = message.repeat(2);
        assert_eq!(fed(twice.as_bytes()), (twice.clone(), Ok(())));
        let line_between = format!("\r\n{message}\r\n{message}");
        assert_eq!(fed(line_between.as_bytes()), (twice, Ok(())));
    }
}

#[test]
fn chunks_are_framed_anew() {
    let sent = format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\n00000005\r\nhello\r\nA\r\n0123456789\r\n0000\r\n");
    let gone = format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n");
    assert_eq!(fed(format!("{sent}Authorization: Bearer evil\r\n").as_bytes()), (gone.clone(), Ok(())));
    let ended = fed(format!("{sent}Authorization: Bearer evil\r\n\r\n").as_bytes());
    assert_eq!(ended, (format!("{gone}0\r\n\r\n"), Ok(())));
}

#[test]
fn a_head_with_two_readings_is_refused() {
    for line in [
        "",
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / x HTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{0}T / HTTP/1.1",
        "OSTIARY-REFUSED / HTTP/1.1",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1",
        "GET http://a/ HTTP/1.1",
        "GET * HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
        "GET /#x HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\\x HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET / http/1.1",
    ] {
        assert_eq!(refused_head(&format!("{line}\r\nHost: a\r\n\r\n{line}\r\n\r\n")), 400, "{line:?}");
    }
    for version in ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "HTTP/"] {
        assert_eq!(refused_head(&format!("GET / {version}\r\nHost: a\r\n\r\n")), 505, "{version}");
    }
    assert_eq!(refused_head("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    for field in [
        "X",
        ": x",
        "X : x",
        "X\t: x",
        " X: x",
        "\tX: x",
        "X(: x",
        "X\u{e9}: x",
        "X: \u{0}",
        "X: \u{1f}",
        "X: \u{7f}",
        "X: a\rb",
        "X: a\nb",
        "X: a\n\r",
        "X: a\r\r",
        "Content-Length: +6",
        "Content-Length: 0x6",
        "Content-Length: ",
        "Content-Length: 6, 6",
        "Content-Length: 6\r\nContent-Length: 6",
        "Content-Length: 1234567890123456789",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;x=1",
        "Transfer-Encoding:",
    ] {
        assert_eq!(refused_head(&format!("{PLAIN}{field}\r\n\r\n")), 400, "{field:?}");
    }
    assert_eq!(refused_head(&format!("{PLAIN}Expect: the worst\r\n\r\n")), 417);
    assert_eq!(refused_head("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(refused_head("\nGET / HTTP/1.1\r\n\r\n"), 400);
}

#[test]
fn a_head_is_refused_as_soon_as_it_can_be() {
    assert_eq!(refused_head("GET / HTTP/1.1\n"), 400);
    assert_eq!(refused_head("GET / HTTP/1.1\rH"), 400);
    assert_eq!(refused_head("G(T / HTTP/1.1\r\n"), 400);
    assert_eq!(refused_head(&format!("GET /{}", "a".repeat(HEAD_BYTES))), 431);
    assert_eq!(refused_head(&format!("{PLAIN}{}", "X: x\r\n".repeat(HEAD_FIELDS))), 431);
    let most = format!("{PLAIN}{}\r\n", "X: x\r\n".repeat(HEAD_FIELDS - 1));
    assert_eq!(fed(most.as_bytes()), (most.clone(), Ok(())));
}

#[test]
fn a_refused_head_is_told_as_far_as_it_could_be_read() {
    let mut framer = Framer::default();
    framer.feed(b"POST /mcp/notes?x HTTP/1.1\r\nHo", &mut |_| {}).unwrap();
    assert!(framer.in_head());
    let Err(Fault::Head(refused)) = framer.feed(b"st : a\r\n", &mut |_| {}) else { panic!() };
    assert_eq!((refused.method.as_str(), refused.path.as_str()), ("POST", "/mcp/notes"));
    assert_eq!(framer.feed(b"GET / HTTP/1.1\r\n\r\n", &mut |_| panic!()), Ok(()));
    let Err(Fault::Head(refused)) = Framer::default().feed(b"POST / mcp HTTP/1.1\r\n", &mut |_| {}) else { panic!() };
    assert_eq!((refused.method.as_str(), refused.path.as_str()), ("", ""));
}

#[test]
fn a_body_that_breaks_its_framing_goes_no_further() {
    let head = format!("{PLAIN}Transfer-Encoding: chunked\r\n\r\n");
    for (body, passed) in [
        ("\r\n", ""),
        ("+5\r\nhello", ""),
        ("0x5\r\nhello", ""),
        (" 5\r\nhello", ""),
        ("5 \r\nhello", ""),
        ("5;a=b\r\nhello", ""),
        ("5;\nhello", ""),
        ("5\nhello", ""),
        ("5\rhello", ""),
        ("000000005\r\nhello", ""),
        ("5\r\nhello\n", "5\r\nhello"),
        ("5\r\nhello\rX", "5\r\nhello"),
        ("5\r\nhelloX\r\n", "5\r\nhello"),
        ("0\r\nX : y\r\n", ""),
        ("0\r\nX: y\n\r\n", ""),
        ("0\r\n X: y\r\n", ""),
        ("0\r\nX\r\n", ""),
        ("0\r\nX: \0\r\n", ""),
    ] {
        assert_eq!(
            fed(format!("{head}{body}").as_bytes()),
            (format!("{head}{passed}"), Err(("body", 400))),
            "{body:?}"
        );
    }
    let endless = format!("{head}0\r\n{}", "X: x\r\n".repeat(HEAD_FIELDS + 1));
    assert_eq!(fed(endless.as_bytes()), (head, Err(("body", 431))));
}

#[test]
fn the_next_message_is_judged_on_its_own() {
    let first = format!("{PLAIN}Content-Length: 5\r\n\r\nhello");
    let (out, result) = fed(format!("{first}GET /admin HTTP/1.1\r\nX : y\r\n\r\n").as_bytes());
    assert_eq!((out, result), (first, Err(("head", 400))));
}
