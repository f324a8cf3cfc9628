//! A record that is laid out but for its place in the chain, and the place itself.

use aws_lc_rs::digest::{Context, SHA256};

/// A record's hash as 64 hexadecimal digits.
pub type Hash = [u8; 64];

/// What the first record of a chain has as `prev`.
pub const GENESIS: Hash = [b'0'; 64];

/// The member that `hash` makes, comma included; what the digest leaves out.
const HASH_MEMBER: &[u8] = br#""hash":"0000000000000000000000000000000000000000000000000000000000000000","#;

/// One finished line, with gaps for `hash` and `prev`. Everything but `prev` is known, so all before it is digested
/// already, and little is left to do under the chain's lock.
pub struct Draft {
    line: Vec<u8>,
    hash_at: usize,
    prev_at: usize,
    head: Context,
}

/// Builds the line of a [`Draft`] member by member, in RFC 8785 order.
pub(super) struct Lines {
    pub out: Vec<u8>,
    hash_at: usize,
    prev_at: usize,
}

impl Lines {
    pub fn new(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self { out, hash_at: 0, prev_at: 0 }
    }

    /// Leaves the gap for `hash`. Another member must follow, as `id` does in every record.
    pub fn hash(&mut self) {
        self.hash_at = self.out.len();
        self.out.extend_from_slice(HASH_MEMBER);
    }

    /// Leaves the gap for `prev`.
    pub fn prev(&mut self) {
        self.out.extend_from_slice(br#""prev":""#);
        self.prev_at = self.out.len();
        self.out.extend_from_slice(&GENESIS);
        self.out.extend_from_slice(b"\",");
    }

    /// The object by itself, where it is no record.
    pub fn into_object(mut self) -> Vec<u8> {
        self.out.pop();
        self.out.push(b'}');
        self.out
    }

    /// Closes the record in place of the last comma.
    pub fn finish(mut self) -> Draft {
        self.out.pop();
        self.out.extend_from_slice(b"}\n");
        let mut head = Context::new(&SHA256);
        let after = self.hash_at + HASH_MEMBER.len();
        head.update(self.out.get(..self.hash_at).unwrap_or_default());
        head.update(self.out.get(after..self.prev_at).unwrap_or_default());
        Draft { line: self.out, hash_at: self.hash_at, prev_at: self.prev_at, head }
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Draft").field(&String::from_utf8_lossy(&self.line)).finish()
    }
}

impl Draft {
    /// How long the line is, its end included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Never: a draft is at least a pair of braces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Puts the record behind the one with hash `prev`, and gives its own.
    fn complete(&mut self, prev: &Hash) -> Hash {
        let mut digest = self.head.clone();
        if let Some(gap) = self.line.get_mut(self.prev_at..self.prev_at + prev.len()) {
            gap.copy_from_slice(prev);
        }
        // Up to the line's end, which is no part of the record.
        digest.update(self.line.get(self.prev_at..self.line.len() - 1).unwrap_or_default());
        let hash = hex(digest.finish().as_ref());
        let at = self.hash_at + br#""hash":""#.len();
        if let Some(gap) = self.line.get_mut(at..at + hash.len()) {
            gap.copy_from_slice(&hash);
        }
        hash
    }
}

/// Lower-case hexadecimal digits of a SHA-256.
pub(super) fn hex(digest: &[u8]) -> Hash {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = GENESIS;
    for (pair, byte) in out.chunks_exact_mut(2).zip(digest) {
        if let [high, low] = pair {
            *high = DIGITS.get(usize::from(byte >> 4)).copied().unwrap_or(b'0');
            *low = DIGITS.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
        }
    }
    out
}

/// The end of a chain: what the next record has as `prev`, and how many came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    pub last: Hash,
    pub count: u64,
}

impl Chain {
    /// A chain without records.
    pub const START: Self = Self { last: GENESIS, count: 0 };

    /// Completes `draft` as the next record. The chain as it is after that comes back beside the line: it holds
    /// only once the line is written, and is forgotten if it could not be.
    #[must_use]
    pub fn next<'d>(&self, draft: &'d mut Draft) -> (&'d [u8], Self) {
        let last = draft.complete(&self.last);
        (&draft.line, Self { last, count: self.count + 1 })
    }

    /// The last hash as text.
    #[must_use]
    pub fn last_text(&self) -> &str {
        std::str::from_utf8(&self.last).unwrap_or_default()
    }
}
