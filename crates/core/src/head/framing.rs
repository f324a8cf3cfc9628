//! Where a body ends: the one rule for the two fields that say so (RFC 9112 section 6).

use super::{Reason, Refusal};

/// The longest `Content-Length` in digits: every such number fits 64 bits.
const LENGTH_DIGITS: usize = 18;

/// How long the body of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// That many bytes; without any of the two fields there is none.
    Length(u64),
    /// As many as the chunks say.
    Chunked,
}

/// What the fields of one head said of the body so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Takes a `Content-Length`: once, and one plain number.
    pub fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return refused("`Content-Length` must not occur more than once.");
        }
        let plain = !value.is_empty() && value.len() <= LENGTH_DIGITS && value.iter().all(u8::is_ascii_digit);
        if !plain {
            return refused("`Content-Length` must be one plain number.");
        }
        let digits = value.iter().map(|digit| u64::from(digit.wrapping_sub(b'0')));
        self.length = Some(digits.fold(0, |sum, digit| sum * 10 + digit));
        self.agreed()
    }

    /// Takes a `Transfer-Encoding`: once, and spelled as everybody spells it. A reader that knew the coding and one
    /// that did not would see two bodies.
    pub fn coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return refused("`Transfer-Encoding` must not occur more than once.");
        }
        if value != b"chunked" {
            return refused("`Transfer-Encoding` must be `chunked`.");
        }
        self.chunked = true;
        self.agreed()
    }

    fn agreed(self) -> Result<(), Refusal> {
        if self.chunked && self.length.is_some() {
            return refused("`Content-Length` and `Transfer-Encoding` contradict each other.");
        }
        Ok(())
    }

    /// What the whole head says.
    pub fn body(self) -> Body {
        if self.chunked { Body::Chunked } else { Body::Length(self.length.unwrap_or(0)) }
    }
}

fn refused<T>(message: &str) -> Result<T, Refusal> {
    Err(Refusal::new(Reason::Header, message))
}
