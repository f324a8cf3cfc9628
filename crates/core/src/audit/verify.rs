//! Reading the chain again: is every record as it was written, and where it was written?

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::chain::{GENESIS, hex};
use crate::json::{Limits, Object, Value, canonical, parse};

/// Records hold arguments twice, wrapped in some more levels, and were judged when they came in.
const LIMITS: Limits = Limits { depth: 160, members: 1_000_000, string_bytes: 64 << 20, prototype: true };

/// Where a chain breaks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Which record of the segment, from zero.
    pub index: u64,
    pub why: &'static str,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentReport {
    /// Records found good.
    pub records: u64,
    /// The `prev` of the first record.
    pub first_prev: Option<String>,
    /// The hash of the last good record.
    pub last_hash: Option<String>,
    /// Whether the segment ends in the middle of a line.
    pub torn: bool,
    /// Checkpoints found.
    pub checkpoints: u64,
    /// The count of the last checkpoint, and how many records of this segment stand after it, itself included.
    pub counted: Option<(u64, u64)>,
    /// The first record that is not as it must be. Nothing after it is looked at.
    pub bad: Option<Bad>,
}

/// Takes the lines of one segment in order.
#[derive(Debug)]
pub struct Verifier {
    prev: Option<String>,
    report: SegmentReport,
}

impl Verifier {
    /// For the segment that follows the record with hash `prev`; `None` where that is not known.
    #[must_use]
    pub fn new(prev: Option<&str>) -> Self {
        Self { prev: prev.map(str::to_owned), report: SegmentReport::default() }
    }

    /// Takes one line without its end; says whether it was good. After a bad one there is nothing to go on with.
    pub fn line(&mut self, line: &[u8]) -> bool {
        if self.report.bad.is_none() {
            match self.check(line) {
                Ok(()) => self.report.records += 1,
                Err(why) => self.report.bad = Some(Bad { index: self.report.records, why }),
            }
        }
        self.report.bad.is_none()
    }

    /// Ends the segment; `torn` if bytes without a line end were left.
    #[must_use]
    pub fn finish(mut self, torn: bool) -> SegmentReport {
        self.report.torn = torn;
        self.report
    }

    fn check(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let record = read(line)?;
        let prev = record.get("prev").and_then(Value::as_str).ok_or("has no `prev`")?;
        if self.prev.as_deref().is_some_and(|expected| expected != prev) {
            return Err("does not follow the record before it");
        }
        let hash = check_hash(line, &record)?;
        if record.get("kind").and_then(Value::as_str) == Some("checkpoint") {
            self.report.counted = Some((self.check_checkpoint(&record, prev)?, 0));
            self.report.checkpoints += 1;
        }
        if let Some((_, after)) = &mut self.report.counted {
            *after += 1;
        }
        self.report.first_prev.get_or_insert_with(|| prev.to_owned());
        self.report.last_hash = Some(hash.clone());
        self.prev = Some(hash);
        Ok(())
    }

    /// A checkpoint must say what the chain shows: the hash before it, and a count that fits earlier ones.
    fn check_checkpoint(&self, record: &Object, prev: &str) -> Result<u64, &'static str> {
        let count = record.get("count").and_then(Value::as_number).and_then(crate::json::Number::as_i64);
        let count = count.and_then(|count| u64::try_from(count).ok()).ok_or("is a checkpoint without a count")?;
        let from_start = self.report.first_prev.as_deref().unwrap_or(prev).as_bytes() == GENESIS;
        let expected = match self.report.counted {
            Some((counted, after)) => Some(counted + after),
            None => from_start.then_some(self.report.records),
        };
        if expected.is_some_and(|expected| expected != count) {
            return Err("is a checkpoint whose count is not that of the chain");
        }
        let payload = record
            .get("jws")
            .and_then(Value::as_str)
            .and_then(|jws| jws.split('.').nth(1))
            .and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok())
            .and_then(|payload| parse(&payload, &LIMITS).ok())
            .ok_or("is a checkpoint without a signed statement")?;
        let agrees = ["count", "gateway", "prev"].iter().all(|name| payload.get(name) == record.get(name));
        if agrees { Ok(count) } else { Err("is a checkpoint whose signed statement is of another chain") }
    }
}

/// The hash of a segment's last whole line, if that is a record whose own hash is right.
pub fn last_hash(line: &[u8]) -> Result<String, &'static str> {
    check_hash(line, &read(line)?)
}

fn read(line: &[u8]) -> Result<Object, &'static str> {
    let Ok(Value::Object(record)) = parse(line, &LIMITS) else { return Err("is not one JSON object") };
    Ok(record)
}

/// Recomputes the hash over the record's canonical form, which must be the very bytes of the line: any other form
/// would say the same under the same hash, and lines are compared by tools that do not parse them.
fn check_hash(line: &[u8], record: &Object) -> Result<String, &'static str> {
    let mut bare = record.clone();
    let Some(Value::String(hash)) = bare.remove("hash") else { return Err("has no `hash`") };
    let mut bytes = Vec::with_capacity(line.len());
    canonical(&Value::Object(bare), &mut bytes);
    let mut digest = Context::new(&SHA256);
    digest.update(&bytes);
    if hex(digest.finish().as_ref()) != *hash.as_bytes() {
        return Err("does not have the hash that it states");
    }
    bytes.clear();
    canonical(&Value::Object(record.clone()), &mut bytes);
    if bytes == line { Ok(hash) } else { Err("is not in canonical form") }
}
