//! The one reading of a JSON text.
//!
//! RFC 8259 as narrowed by I-JSON (RFC 7493), with budgets for everything that a sender can make grow.

use super::Number;
use super::number;
use super::scan::plain_len;
use super::value::{self, Key, Object, Value};

/// Objects up to this size look for a duplicate key by comparing with each; larger ones sort once.
const FEW: usize = 16;

/// What one text may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep arrays and objects may nest.
    pub depth: usize,
    /// How many keys and elements there may be in all.
    pub members: usize,
    /// How long one string or key may be, in bytes after unescaping.
    pub string_bytes: usize,
    /// Whether `__proto__` may be a key. JavaScript readers set an object's prototype by it, or drop it.
    pub prototype: bool,
}

impl Limits {
    /// For what clients send.
    pub const DEFAULT: Self = Self { depth: 64, members: 10_000, string_bytes: 4 << 20, prototype: false };

    /// For what upstreams answer: results are larger than requests, and just as little to be trusted.
    pub const ANSWER: Self = Self { depth: 128, members: 250_000, string_bytes: 16 << 20, prototype: true };
}

/// Why a text was not read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct JsonError {
    /// Offset of the byte at which reading stopped.
    pub at: usize,
    pub kind: JsonErrorKind,
}

/// What was wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    #[error("a byte order mark is not allowed (RFC 8259 section 8.1)")]
    ByteOrderMark,
    #[error("the text is not UTF-8")]
    Utf8,
    #[error("the text ends inside a value")]
    End,
    #[error("unexpected character")]
    Unexpected,
    #[error("more text follows the value")]
    Trailing,
    #[error("a control character must be escaped in a string")]
    Control,
    #[error("unknown escape in a string")]
    Escape,
    #[error("a surrogate stands alone in a string")]
    Surrogate,
    #[error("not a number of RFC 8259")]
    Number,
    #[error("the exponent is out of range")]
    NumberRange,
    #[error("a key occurs twice in one object")]
    Duplicate,
    #[error("`__proto__` as a key is not the same to every reader")]
    Prototype,
    #[error("nested too deep")]
    Depth,
    #[error("too many keys and elements")]
    Members,
    #[error("a string is too long")]
    StringLength,
}

/// Reads `bytes` as exactly one JSON text (RFC 8259).
///
/// Refused besides syntax errors: a byte order mark, invalid UTF-8, duplicate keys at any depth (compared after
/// unescaping), lone surrogates, anything but white space after the value, and whatever exceeds `limits`.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError { at: 0, kind: JsonErrorKind::ByteOrderMark });
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| JsonError { at: error.valid_up_to(), kind: JsonErrorKind::Utf8 })?;
    let mut reader = Reader { text, bytes, at: 0, limits, depth: 0, members: 0 };
    reader.white_space();
    let value = reader.value()?;
    reader.white_space();
    if reader.at < bytes.len() { Err(reader.error(JsonErrorKind::Trailing)) } else { Ok(value) }
}

struct Reader<'a> {
    /// The same bytes as `bytes`, known to be UTF-8.
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
    depth: usize,
    members: usize,
}

impl Reader<'_> {
    fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError { at: self.at, kind }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The error for a byte that does not belong here, or for there being none.
    fn unexpected(&self) -> JsonError {
        self.error(if self.at < self.bytes.len() { JsonErrorKind::Unexpected } else { JsonErrorKind::End })
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Value::String(self.string()?))
            }
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.error(JsonErrorKind::Unexpected));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let len = number::scan(self.rest()).map_err(|kind| self.error(kind))?;
        let text = self.text.get(self.at..self.at + len).unwrap_or_default();
        self.at += len;
        Ok(Value::Number(Number::from_scanned(text)))
    }

    fn enter(&mut self) -> Result<(), JsonError> {
        if self.depth >= self.limits.depth {
            return Err(self.error(JsonErrorKind::Depth));
        }
        self.depth += 1;
        self.at += 1;
        self.white_space();
        Ok(())
    }

    /// Counts one key or element against the budget.
    fn count(&mut self) -> Result<(), JsonError> {
        if self.members >= self.limits.members {
            return Err(self.error(JsonErrorKind::Members));
        }
        self.members += 1;
        Ok(())
    }

    /// Whether another member follows: a comma says so, `close` ends the container.
    fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        self.white_space();
        let more = match self.peek() {
            Some(b',') => true,
            Some(byte) if byte == close => false,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        if more {
            self.white_space();
        } else {
            self.depth -= 1;
        }
        Ok(more)
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        self.enter()?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.count()?;
            items.push(self.value()?);
            if !self.more(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        self.enter()?;
        let mut members: Vec<(Key, Value)> = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(Value::Object(Object(members)));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            self.count()?;
            let start = self.at;
            self.at += 1;
            let key = self.key()?;
            if key == "__proto__" && !self.limits.prototype {
                return Err(JsonError { at: start, kind: JsonErrorKind::Prototype });
            }
            if members.len() < FEW && members.iter().any(|(name, _)| *name == key) {
                return Err(JsonError { at: start, kind: JsonErrorKind::Duplicate });
            }
            self.white_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected());
            }
            self.at += 1;
            self.white_space();
            let value = self.value()?;
            members.push((key, value));
            if !self.more(b'}')? {
                break;
            }
        }
        if members.len() > FEW {
            let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
            keys.sort_unstable();
            if keys.is_sorted_by(|left, right| left < right) {
                return Ok(Value::Object(Object(members)));
            }
            return Err(self.error(JsonErrorKind::Duplicate));
        }
        Ok(Value::Object(Object(members)))
    }

    /// Takes the run of plain characters that begins here.
    fn run(&mut self) -> &str {
        let start = self.at;
        self.at += plain_len(self.rest());
        // A run ends before an ASCII byte or at the end, so it is always a whole number of characters.
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Reads a key whose opening quote has been taken.
    fn key(&mut self) -> Result<Key, JsonError> {
        let start = self.at;
        let len = self.run().len();
        if self.peek() == Some(b'"') && len <= self.limits.string_bytes {
            let key = value::key(self.text.get(start..self.at).unwrap_or_default());
            self.at += 1;
            return Ok(key);
        }
        self.at = start;
        self.string().map(Key::Owned)
    }

    /// Reads a string whose opening quote has been taken.
    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.at - 1;
        let mut out = self.run().to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    if out.len() > self.limits.string_bytes {
                        return Err(JsonError { at: start, kind: JsonErrorKind::StringLength });
                    }
                    return Ok(out);
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    out.push(character);
                    out.push_str(self.run());
                }
                Some(_) => return Err(self.error(JsonErrorKind::Control)),
                None => return Err(self.error(JsonErrorKind::End)),
            }
        }
    }

    /// Reads one escape, a surrogate pair included, with the cursor on its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(start);
            }
            Some(_) => return Err(JsonError { at: start, kind: JsonErrorKind::Escape }),
            None => return Err(self.error(JsonErrorKind::End)),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self, start: usize) -> Result<char, JsonError> {
        let lone = JsonError { at: start, kind: JsonErrorKind::Surrogate };
        let first = self.hex4(start)?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.rest().starts_with(b"\\u") {
                    return Err(lone);
                }
                self.at += 2;
                let second = self.hex4(start)?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(lone);
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            _ => first,
        };
        // What is left of the surrogate range here is a low one on its own.
        char::from_u32(code).ok_or(lone)
    }

    fn hex4(&mut self, start: usize) -> Result<u32, JsonError> {
        let digits = self.rest().first_chunk::<4>().ok_or(self.error(JsonErrorKind::End))?;
        let mut code = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16);
            code = code * 16 + digit.ok_or(JsonError { at: start, kind: JsonErrorKind::Escape })?;
        }
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: impl AsRef<[u8]>) -> Option<JsonErrorKind> {
        parse(text.as_ref(), &Limits::DEFAULT).err().map(|error| error.kind)
    }

    #[test]
    fn what_is_not_one_strict_text_is_refused() {
        use JsonErrorKind::*;
        for (text, expected) in [
            (&b""[..], End),
            (b" ", End),
            (b"\xef\xbb\xbf{}", ByteOrderMark),
            (b"{\"a\":\"\xff\"}", Utf8),
            (b"{\"a\":\"\xc0\xaf\"}", Utf8),
            (b"{\"a\":\"\xed\xa0\x80\"}", Utf8),
            (b"\xff\xfe{\0}\0", Utf8),
            (b"{\0}\0", Unexpected),
            (b"{} {}", Trailing),
            (b"{}\0", Trailing),
            (b"{}]", Trailing),
            (b"{\"a\":1,\"a\":2}", Duplicate),
            (b"{\"a\":{\"b\":[{\"c\":1,\"\\u0063\":2}]}}", Duplicate),
            (b"{\"a\":NaN}", Unexpected),
            (b"[Infinity]", Unexpected),
            (b"[-Infinity]", Number),
            (b"[1.]", Number),
            (b"[01]", Number),
            (b"[1e9999999]", NumberRange),
            (b"[1,]", Unexpected),
            (b"{\"a\":1,}", Unexpected),
            (b"{,}", Unexpected),
            (b"{a:1}", Unexpected),
            (b"{'a':1}", Unexpected),
            (b"[1 2]", Unexpected),
            (b"[1", End),
            (b"{\"a\"", End),
            (b"{\"a\":", End),
            (b"\"a", End),
            (b"\"a\nb\"", Control),
            (b"\"\0\"", Control),
            (b"\"\\x\"", Escape),
            (b"\"\\u12g4\"", Escape),
            (b"\"\\u+123\"", Escape),
            (b"\"\\u12", End),
            (b"\"\\", End),
            (b"\"\\ud800\"", Surrogate),
            (b"\"\\ud800\\n\"", Surrogate),
            (b"\"\\ud800\\ud800\"", Surrogate),
            (b"\"\\udc00\"", Surrogate),
            (b"tru", Unexpected),
            (b"truex", Trailing),
            (b"True", Unexpected),
            (b"// x\n{}", Unexpected),
            (b"\x0b{}", Unexpected),
            (b"\xc2\xa0{}", Unexpected),
        ] {
            assert_eq!(kind(text), Some(expected), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn escapes_are_read_as_rfc_8259_says() {
        let value = parse(br#" "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000 plain" "#, &Limits::DEFAULT).unwrap();
        assert_eq!(value.as_str(), Some("\"\\/\u{8}\u{c}\n\r\té😀\0 plain"));
    }

    #[test]
    fn budgets_hold_at_their_edge() {
        let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(kind(nest(64)), None);
        assert_eq!(kind(nest(65)), Some(JsonErrorKind::Depth));
        assert_eq!(kind("[".repeat(200_000)), Some(JsonErrorKind::Depth));
        let side = "[[],".repeat(60) + "[]" + &"]".repeat(60);
        assert_eq!(kind(side), None);

        let limits = Limits { depth: 4, members: 3, string_bytes: 3, prototype: true };
        let kind = |text: &str| parse(text.as_bytes(), &limits).err().map(|error| error.kind);
        assert_eq!(kind(r#"{"a":[1,2]}"#), None);
        assert_eq!(kind(r#"{"a":[1,2,3]}"#), Some(JsonErrorKind::Members));
        assert_eq!(kind(r#"["abc"]"#), None);
        assert_eq!(kind(r#"["\u0061\u0062\u0063"]"#), None);
        assert_eq!(kind(r#"["abcd"]"#), Some(JsonErrorKind::StringLength));
        assert_eq!(kind(r#"{"éé":1}"#), Some(JsonErrorKind::StringLength));
    }

    #[test]
    fn a_duplicate_among_many_keys_is_found() {
        let object = |last: &str| {
            let keys: Vec<String> = (0..5000).map(|at| format!("\"k{at}\":1")).collect();
            format!("{{{},\"{last}\":2}}", keys.join(","))
        };
        assert_eq!(kind(object("other")), None);
        assert_eq!(kind(object("k0")), Some(JsonErrorKind::Duplicate));
        assert_eq!(kind(object("k4999")), Some(JsonErrorKind::Duplicate));
    }

    #[test]
    fn an_error_is_one_clear_line() {
        let error = parse(b"{\"a\":1,\"a\":2}", &Limits::DEFAULT).unwrap_err();
        assert_eq!(error.to_string(), "a key occurs twice in one object at byte 7");
    }
}
