//! Reading segments: verification of any size, line by line, also while they are written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use ostiary_core::audit::{SegmentReport, Verifier};

/// No record is longer: bodies are bounded, and a record holds their arguments twice.
const MAX_LINE_BYTES: u64 = 128 << 20;

/// Verifies one segment. `prev` is the last hash of the segment before it, where that is known.
///
/// A segment that is being written may end in the middle of a line; that is reported, and is no fault by itself.
pub fn read_segment(path: &Path, prev: Option<&str>) -> io::Result<SegmentReport> {
    let mut verifier = Verifier::new(prev);
    let torn = each_line(File::open(path)?, |line| verifier.line(line))?;
    Ok(verifier.finish(torn))
}

/// Gives every whole line to `take`, until that says no. Says whether bytes without a line end are left.
pub(super) fn each_line(file: File, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        let Some(whole) = line.strip_suffix(b"\n") else { return Ok(!line.is_empty()) };
        if !take(whole) {
            return Ok(false);
        }
    }
}
