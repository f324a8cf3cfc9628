//! Where one HTTP/1.1 message ends and the next begins, told from the bytes of a connection.
//!
//! A machine without input or output: bytes go in, cut anywhere, and out come only bytes that every reader of HTTP
//! understands the same way. A head is handed on whole, as it came, once all of it is judged. A body with a length
//! passes counted; one in chunks is framed anew, without extensions or trailers. The first thing that has two
//! readings ends the connection: nothing behind it can be trusted to be a message.
//!
//! Narrower than RFC 9112 on purpose: HTTP/1.1 alone, origin-form targets alone, no chunk extensions, and at most one
//! empty line before a request.

mod line;

use super::framing::{Body, Framing};
use super::{Reason, Refusal};

/// The largest head, and the largest trailer section, in bytes.
pub const HEAD_BYTES: usize = 32 * 1024;
/// The most fields of a head or a trailer section.
pub const HEAD_FIELDS: usize = 64;
/// The method under which a refused head is told of further on. The machine takes it from nobody.
pub const REFUSED: &str = "OSTIARY-REFUSED";

/// A chunk has at most eight digits, so it is below 4 GiB.
const SIZE_DIGITS: u8 = 8;

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Before a request: there is somebody to answer.
    Head(Box<Refused>),
    /// Within the body of a request whose head was handed on.
    Body(Refusal),
}

/// A head that was refused, with what could be read of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub refusal: Refusal,
    /// Empty if the request line itself was refused.
    pub method: String,
    /// The path of the target; empty if the request line itself was refused.
    pub path: String,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    /// So many bytes of a body.
    Length(u64),
    /// The line before a chunk: its value so far, its digits, and whether CR has come.
    Size {
        size: u64,
        digits: u8,
        cr: bool,
    },
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end after a chunk, and whether CR has come.
    DataEnd {
        cr: bool,
    },
    Trailers,
    Refused,
}

/// The reader of one connection.
#[derive(Debug)]
pub struct Framer {
    stage: Stage,
    /// The beginning of a head or trailer section whose end has not come.
    held: Vec<u8>,
    section: Section,
    /// An empty line has been passed over since the last message.
    skipped: bool,
}

impl Default for Framer {
    fn default() -> Self {
        Self { stage: Stage::Head, held: Vec::new(), section: Section::head(), skipped: false }
    }
}

impl Framer {
    /// Takes `input` and gives `out` what may be read on, in pieces, in order. After a fault nothing more comes out.
    ///
    /// # Errors
    /// [`Fault`] at the first byte that breaks the framing.
    pub fn feed(&mut self, mut input: &[u8], out: &mut impl FnMut(&[u8])) -> Result<(), Fault> {
        while !input.is_empty() {
            let taken = match self.stage {
                Stage::Head => self.head(input, out),
                Stage::Size { size, digits, cr } => self.size(input, (size, digits, cr), out),
                Stage::Length(left) | Stage::Data(left) => Ok(self.pass(left, input, out)),
                Stage::DataEnd { cr } => self.data_end(input, cr, out),
                Stage::Trailers => self.trailers(input, out),
                Stage::Refused => return Ok(()),
            };
            let taken = taken.inspect_err(|_| {
                self.stage = Stage::Refused;
                self.held = Vec::new();
            })?;
            input = input.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether a head has begun and not ended.
    #[must_use]
    pub fn in_head(&self) -> bool {
        self.stage == Stage::Head && !self.held.is_empty()
    }

    /// Whether the next byte begins a message.
    #[must_use]
    pub fn between_messages(&self) -> bool {
        self.stage == Stage::Head && self.held.is_empty()
    }

    /// How many bytes may be read on without being shown; [`Framer::passed`] tells how many were.
    #[must_use]
    pub fn passing(&self) -> u64 {
        if let Stage::Length(left) = self.stage { left } else { 0 }
    }

    /// Counts bytes of a body that were read on without being shown.
    pub fn passed(&mut self, count: u64) {
        if let Stage::Length(left) = self.stage {
            self.stage = left_of(Stage::Length(left.saturating_sub(count)));
        }
    }

    /// Refuses the head that has begun, as if it had broken the framing.
    pub fn refuse(&mut self, refusal: Refusal) -> Refused {
        self.stage = Stage::Refused;
        let held = std::mem::take(&mut self.held);
        Refused::of(refusal, held.get(..self.section.line).unwrap_or_default())
    }

    fn head(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) -> Result<usize, Fault> {
        let (text, before, whole) = joined(&mut self.held, input);
        let end = match self.section.read(text) {
            Err(refusal) => {
                let lines = text.get(..self.section.line).unwrap_or_default();
                return Err(Fault::Head(Box::new(Refused::of(refusal, lines))));
            }
            Ok(None) => {
                if before == 0 {
                    self.held.extend_from_slice(input);
                }
                return Ok(whole);
            }
            Ok(Some(end)) => end,
        };
        if self.section.blank() {
            if self.skipped {
                let refusal = Refusal::new(Reason::Header, "There are empty lines before the request.");
                return Err(Fault::Head(Box::new(Refused::of(refusal, b""))));
            }
            self.skipped = true;
        } else {
            out(text.get(..end).unwrap_or_default());
            self.skipped = false;
            self.stage = match self.section.framing.body() {
                Body::Length(length) => left_of(Stage::Length(length)),
                Body::Chunked => Stage::Size { size: 0, digits: 0, cr: false },
            };
        }
        self.held.clear();
        self.section = Section::head();
        Ok(end.saturating_sub(before))
    }

    fn pass(&mut self, left: u64, input: &[u8], out: &mut impl FnMut(&[u8])) -> usize {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let piece = input.get(..most).unwrap_or(input);
        out(piece);
        let left = left - piece.len() as u64;
        self.stage = left_of(if let Stage::Data(_) = self.stage { Stage::Data(left) } else { Stage::Length(left) });
        piece.len()
    }

    fn size(
        &mut self,
        input: &[u8],
        (size, digits, cr): (u64, u8, bool),
        out: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Fault> {
        let byte = input.first().copied().unwrap_or_default();
        self.stage = match (byte, char::from(byte).to_digit(16)) {
            (_, Some(digit)) if !cr && digits < SIZE_DIGITS => {
                Stage::Size { size: (size << 4) | u64::from(digit), digits: digits + 1, cr }
            }
            (b'\r', _) if !cr && digits > 0 => Stage::Size { size, digits, cr: true },
            (b'\n', _) if cr && size == 0 => {
                self.section = Section::trailers();
                Stage::Trailers
            }
            (b'\n', _) if cr => {
                out(format!("{size:x}\r\n").as_bytes());
                Stage::Data(size)
            }
            _ => return broken("A chunk must begin with its size, as one to eight hexadecimal digits."),
        };
        Ok(1)
    }

    fn data_end(&mut self, input: &[u8], cr: bool, out: &mut impl FnMut(&[u8])) -> Result<usize, Fault> {
        self.stage = match (input.first(), cr) {
            (Some(b'\r'), false) => Stage::DataEnd { cr: true },
            (Some(b'\n'), true) => {
                out(b"\r\n");
                Stage::Size { size: 0, digits: 0, cr: false }
            }
            _ => return broken("A chunk must end where its size says."),
        };
        Ok(1)
    }

    fn trailers(&mut self, input: &[u8], out: &mut impl FnMut(&[u8])) -> Result<usize, Fault> {
        let (text, before, whole) = joined(&mut self.held, input);
        let Some(end) = self.section.read(text).map_err(Fault::Body)? else {
            if before == 0 {
                self.held.extend_from_slice(input);
            }
            return Ok(whole);
        };
        out(b"0\r\n\r\n");
        self.held.clear();
        self.stage = Stage::Head;
        self.section = Section::head();
        Ok(end.saturating_sub(before))
    }
}

/// What is held with `input` behind it, how much of it was held, and how much of `input` is in it. Nothing is copied
/// where nothing was held; otherwise no more than a section may have.
fn joined<'a>(held: &'a mut Vec<u8>, input: &'a [u8]) -> (&'a [u8], usize, usize) {
    let before = held.len();
    if before == 0 {
        return (input, 0, input.len());
    }
    let room = (HEAD_BYTES + 2).saturating_sub(before).max(1);
    let piece = input.get(..room).unwrap_or(input);
    held.extend_from_slice(piece);
    (held, before, piece.len())
}

/// The stage after a body or chunk of which nothing is left.
fn left_of(stage: Stage) -> Stage {
    match stage {
        Stage::Length(0) => Stage::Head,
        Stage::Data(0) => Stage::DataEnd { cr: false },
        more => more,
    }
}

fn broken<T>(message: &str) -> Result<T, Fault> {
    Err(Fault::Body(Refusal::new(Reason::Header, message)))
}

impl Refused {
    /// A refusal of the head that begins with `lines`, each of them whole.
    fn of(refusal: Refusal, lines: &[u8]) -> Self {
        let first = memchr::memchr(b'\r', lines).and_then(|end| lines.get(..end)).unwrap_or_default();
        let (method, target) = line::request(first).unwrap_or_default();
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { refusal, method: text(method), path: text(path) }
    }
}

/// The lines of a head or of a trailer section, up to the empty one.
#[derive(Debug)]
struct Section {
    /// A request line comes first.
    is_head: bool,
    /// Where the current line begins.
    line: usize,
    /// Before this there is no line end that has not been looked at.
    scanned: usize,
    /// Lines so far, the empty one not counted.
    lines: usize,
    framing: Framing,
}

impl Section {
    fn head() -> Self {
        Self { is_head: true, line: 0, scanned: 0, lines: 0, framing: Framing::default() }
    }

    fn trailers() -> Self {
        Self { is_head: false, ..Self::head() }
    }

    /// Whether there was nothing before the empty line.
    fn blank(&self) -> bool {
        self.lines == 0
    }

    /// Judges the lines of `text` that have not been judged yet; `text` may only have grown since the last time.
    /// Gives the end of the section once it has come.
    fn read(&mut self, text: &[u8]) -> Result<Option<usize>, Refusal> {
        loop {
            let rest = text.get(self.scanned..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'\r', b'\n', rest) else {
                self.scanned = text.len();
                return if text.len() > HEAD_BYTES { Err(too_large()) } else { Ok(None) };
            };
            let end = self.scanned + found;
            if end >= HEAD_BYTES {
                return Err(too_large());
            }
            match (text.get(end), text.get(end + 1)) {
                (Some(b'\r'), Some(b'\n')) => {}
                (Some(b'\r'), None) => {
                    self.scanned = end;
                    return Ok(None);
                }
                _ => return Err(Refusal::new(Reason::Header, "Lines must end in CR and LF, and hold neither.")),
            }
            let line = text.get(self.line..end).unwrap_or_default();
            (self.line, self.scanned) = (end + 2, end + 2);
            if line.is_empty() {
                return Ok(Some(end + 2));
            }
            self.judge(line)?;
        }
    }

    fn judge(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.lines += 1;
        if self.is_head && self.lines == 1 {
            return line::request(line).map(|_| ());
        }
        if self.lines - usize::from(self.is_head) > HEAD_FIELDS {
            return Err(too_large());
        }
        let (name, value) = line::field(line)?;
        if self.is_head { line::frame(&mut self.framing, name, value) } else { Ok(()) }
    }
}

/// RFC 6585 section 5.
fn too_large() -> Refusal {
    let message = format!("A head has at most {HEAD_BYTES} bytes and {HEAD_FIELDS} fields.");
    let mut refusal = Refusal::new(Reason::Header, message);
    refusal.status = 431;
    refusal
}

#[cfg(test)]
mod tests;
