//! What the reader of raw heads passes on has one reading, however its input was cut; and the attacks of
//! `tests/attacks/raw` are refused by it, or by the reader of heads behind it.
//!
//! The bytes are made from sound messages by small damage, with a generator of our own, since it takes millions of
//! them; `OSTIARY_FRAMES=5000000` asks for as many. A failure prints the bytes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;

use ostiary_core::head::Head;
use ostiary_core::head::frame::{Fault, Framer, HEAD_BYTES, HEAD_FIELDS, REFUSED};
use ostiary_core::json::{self, Limits, Number, Value};
use regex::bytes::Regex;

/// One message as the second parser reads it.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// A parser that shares nothing with the first but the standard: whole texts, patterns, and no state.
struct Second {
    request: Regex,
    field: Regex,
    chunk: Regex,
}

impl Second {
    fn new() -> Self {
        let tchar = r"[!#$%&'*+.^_`|~0-9A-Za-z-]";
        let target = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*";
        Self {
            request: Regex::new(&format!(r"(?-u)\A({tchar}{{1,32}}) ({target}) HTTP/1\.1\z")).unwrap(),
            field: Regex::new(&format!(r"(?s-u)\A({tchar}+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\z")).unwrap(),
            chunk: Regex::new(r"(?-u)\A([1-9a-f][0-9a-f]{0,7})\r\n").unwrap(),
        }
    }

    /// Reads all messages of `text`; the last may be cut off within its body, and is then not given.
    fn read(&self, mut text: &[u8]) -> Result<Vec<Message>, String> {
        let mut messages = Vec::new();
        while !text.is_empty() {
            let end = find(text, b"\r\n\r\n").ok_or("a head without an end")?;
            let mut message = self.head(&text[..end])?;
            text = &text[end + 4..];
            let one = |name: &str| {
                let mut values = message.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
                let value = values.next().cloned();
                if values.next().is_some() { Err(format!("two {name}")) } else { Ok(value) }
            };
            let rest = match (one("content-length")?, one("transfer-encoding")?) {
                (Some(_), Some(_)) => return Err("two framings".to_owned()),
                (None, None) => Some((Vec::new(), text)),
                (Some(length), None) => {
                    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                        return Err("a length that is none".to_owned());
                    }
                    let length: usize = String::from_utf8(length).unwrap().parse().map_err(|_| "a huge length")?;
                    (length <= text.len()).then(|| (text[..length].to_vec(), &text[length..]))
                }
                (None, Some(coding)) if coding == b"chunked" => self.chunks(text)?,
                (None, Some(_)) => return Err("another coding".to_owned()),
            };
            let Some((body, after)) = rest else { break };
            message.body = body;
            text = after;
            messages.push(message);
        }
        Ok(messages)
    }

    fn head(&self, head: &[u8]) -> Result<Message, String> {
        if head.len() + 4 > HEAD_BYTES + 2 {
            return Err("a head that is too large".to_owned());
        }
        let lines = split(head);
        let first = self.request.captures(lines[0]).ok_or("a request line that is none")?;
        let text = |at: usize| String::from_utf8(first[at].to_vec()).unwrap();
        if text(1) == REFUSED || lines.len() > HEAD_FIELDS + 1 {
            return Err("a head that must not pass".to_owned());
        }
        let mut fields = Vec::new();
        for line in &lines[1..] {
            let field = self.field.captures(line).ok_or_else(|| format!("{line:?} is no field"))?;
            fields.push((String::from_utf8_lossy(&field[1]).to_ascii_lowercase(), field[2].to_vec()));
        }
        Ok(Message { method: text(1), target: text(2), fields, body: Vec::new() })
    }

    /// The body in chunks and what follows it; none if it is cut off.
    fn chunks<'a>(&self, mut text: &'a [u8]) -> Result<Option<Unchunked<'a>>, String> {
        let mut body = Vec::new();
        loop {
            if let Some(rest) = text.strip_prefix(b"0\r\n\r\n") {
                return Ok(Some((body, rest)));
            }
            let Some(found) = self.chunk.captures(text) else {
                return if text.is_empty() { Ok(None) } else { Err("a chunk that is none".to_owned()) };
            };
            let size = usize::from_str_radix(std::str::from_utf8(&found[1]).unwrap(), 16).unwrap();
            text = &text[found[0].len()..];
            if text.len() < size + 2 {
                return Ok(None);
            }
            body.extend_from_slice(&text[..size]);
            text = text[size..].strip_prefix(b"\r\n").ok_or("a chunk without an end")?;
        }
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

fn split(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = find(text, b"\r\n") {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    lines.push(text);
    lines
}

/// A body, and what follows it.
type Unchunked<'a> = (Vec<u8>, &'a [u8]);

/// `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a [u8]]) -> &'a [u8] {
        of[self.below(of.len())]
    }
}

const MESSAGES: [&[u8]; 8] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /mcp/notes HTTP/1.1\r\nHost: a:1\r\nContent-Length: 11\r\n\r\n{\"a\":\"b\\n\"}",
    b"POST /m?x=1 HTTP/1.1\r\nContent-Length: 0\r\nX-Y:\tz \r\n\r\n",
    b"POST /mcp/n HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /mcp/n HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n001\r\nh\r\nA\r\n0123456789\r\n00\r\nT: x\r\n\r\n",
    b"DELETE /mcp/n HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX: y\r\n\r\n",
    b"\r\nGET /a/b HTTP/1.1\r\nX: \xe9\r\n\r\n",
];

const PIECES: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\xc3\xa9",
    b"0",
    b"1",
    b"7",
    b"f",
    b"+",
    b"-",
    b"0x",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET ",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OSTIARY-REFUSED / HTTP/1.1\r\n",
    b"http://a/",
    b"#",
    b"\\",
    b"Content-Length: 5\r\n",
    b"Content-Length: 00\r\n",
    b"content-length:1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: Chunked\r\n",
    b"transfer-encoding:chunked\r\n",
    b"Expect: x\r\n",
    b" folded\r\n",
    b"ffffffff\r\n",
    b"0\r\n\r\n",
];

/// Some sound messages, one behind the other, with a little damage.
fn bytes(chance: &mut Chance) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..=chance.below(3) {
        text.extend_from_slice(chance.one(&MESSAGES));
    }
    for _ in 0..chance.below(4) {
        let at = chance.below(text.len() + 1);
        let end = (at + chance.below(6)).min(text.len());
        match chance.below(5) {
            0 => drop(text.splice(at..at, chance.one(&PIECES).iter().copied())),
            1 => drop(text.splice(at..end, chance.one(&PIECES).iter().copied())),
            2 => drop(text.drain(at..end)),
            3 => text.splice(at..at, [chance.next() as u8]).for_each(drop),
            _ => {
                let piece = text[at..end].to_vec();
                text.splice(at..at, piece);
            }
        }
    }
    // Now and then something that is too large, or nearly.
    if chance.below(200) == 0 {
        let at = chance.below(text.len() + 1);
        let size = HEAD_BYTES - 40 + chance.below(80);
        let filling: Vec<u8> = match chance.below(3) {
            0 => vec![b'a'; size],
            1 => b"X: y\r\n".repeat(HEAD_FIELDS - 4 + chance.below(8)),
            _ => b"\r\nX: yy".repeat(size / 8),
        };
        text.splice(at..at, filling);
    }
    text
}

fn fed(pieces: &[&[u8]]) -> (Vec<u8>, Option<Fault>) {
    let (mut framer, mut out, mut fault) = (Framer::default(), Vec::new(), None);
    for piece in pieces {
        if let Err(found) = framer.feed(piece, &mut |passed| out.extend_from_slice(passed)) {
            assert!(fault.is_none(), "a second fault");
            fault = Some(found);
        }
    }
    (out, fault)
}

fn cut<'a>(text: &'a [u8], chance: &mut Chance) -> Vec<&'a [u8]> {
    let most = [1, 2, 7, 40, 20_000][chance.below(5)];
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + chance.below(most)).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[test]
fn what_passes_has_one_reading_however_it_was_cut() {
    let asked = std::env::var("OSTIARY_FRAMES").ok().and_then(|count| count.parse().ok());
    let count: u64 = asked.unwrap_or(60_000);
    let second = Second::new();
    let (mut passed, mut refused) = (0, 0);
    for seed in 0..count {
        let mut chance = Chance(seed);
        let text = bytes(&mut chance);
        let shown = || text.escape_ascii().to_string().chars().take(2_000).collect::<String>();
        let (out, fault) = fed(&[&text]);
        let same = fed(&cut(&text, &mut chance)) == (out.clone(), fault.clone());
        assert!(same, "seed {seed} depends on how it is cut: {}", shown());
        let messages = second.read(&out).unwrap_or_else(|why| panic!("seed {seed}: {why}: {}", shown()));
        passed += messages.len();
        refused += u64::from(fault.is_some());
        // What was passed passes again, as it is.
        assert!(fed(&[&out]) == (out, None), "seed {seed} does not pass again: {}", shown());
    }
    assert!(passed as u64 > count / 2 && refused > count / 4, "{passed} messages, {refused} refusals");
}

#[test]
fn bytes_without_any_sense_are_survived() {
    let second = Second::new();
    for seed in 0..20_000 {
        let mut chance = Chance(seed);
        let text: Vec<u8> = (0..chance.below(80)).map(|_| chance.next() as u8 & 0x7f).collect();
        let (out, fault) = fed(&[&text]);
        assert_eq!(fed(&cut(&text, &mut chance)), (out.clone(), fault));
        second.read(&out).unwrap();
    }
}

fn plain(raw: &Value) -> Vec<u8> {
    let fields = "Host: $HOST\r\nContent-Type: application/json\r\nAuthorization: Bearer a.b.c\r\n";
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let piece = |piece: &Value| {
        if let Some(text) = piece.as_str() {
            return text.to_owned();
        }
        let times = piece.get("times").and_then(Value::as_number).and_then(Number::as_i64).unwrap();
        piece.get("repeat").and_then(Value::as_str).unwrap().repeat(usize::try_from(times).unwrap())
    };
    let mut text: String = raw.as_array().map_or_else(|| piece(raw), |pieces| pieces.iter().map(piece).collect());
    for (word, meaning) in [
        ("$POST", format!("POST /mcp/notes HTTP/1.1\r\n{fields}").as_str()),
        ("$GET", "GET /.well-known/jwks.json HTTP/1.1\r\nHost: $HOST\r\n"),
        ("$FRAMED", "Content-Length: $LENGTH\r\n\r\n$BODY"),
        ("$CHUNKS", "Transfer-Encoding: chunked\r\n\r\n$SIZE\r\n$BODY\r\n"),
        ("$FIELDS", fields),
        ("$BODY", body),
        ("$LENGTH", &body.len().to_string()),
        ("$SIZE", &format!("{:x}", body.len())),
        ("$HOST", "127.0.0.1:8811"),
    ] {
        text = text.replace(word, meaning);
    }
    if let Some(rest) = text.strip_prefix("$LF") {
        text = rest.replace("\r\n", "\n");
    }
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect()
}

/// Whether every message of `raw` gets past the readers of heads.
fn passes(raw: &[u8]) -> Result<(), String> {
    let (out, fault) = fed(&[raw]);
    if let Some(fault) = fault {
        return Err(format!("{fault:?}"));
    }
    for message in Second::new().read(&out)? {
        let fields = message.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        Head::read(&message.method, &message.target, fields).map_err(|refusal| format!("{refusal:?}"))?;
    }
    Ok(())
}

#[test]
fn every_attack_on_the_framing_is_refused_and_its_twin_passes() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/attacks/raw/http1.json");
    let cases = json::parse(&std::fs::read(file).unwrap(), &Limits::ANSWER).unwrap();
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let id = case.get("id").and_then(Value::as_str).unwrap();
        let reasons = case.get("must").unwrap().get("reasons").unwrap().as_array().unwrap();
        let here = reasons.contains(&"header".into());
        match passes(&plain(case.get("raw").unwrap())) {
            Ok(()) if here => wrong.push(format!("{id} passed")),
            Err(why) if !here => wrong.push(format!("{id}: {why}")),
            _ => {}
        }
        if let Some(Err(why)) = case.get("twin").map(|twin| passes(&plain(twin))) {
            wrong.push(format!("{id}: its twin is refused: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
