//! Taking up a chain where the last process left it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ostiary_core::audit::{self, Chain, Hash};
use ostiary_core::token::SigningKey;

use super::read::each_line;
use super::segment::{Folder, Segment, name_of};
use super::{JournalError, JournalStats, Lost, State, is_checkpoint};

/// How much is read at once when looking for a line's beginning from the end.
const STEP: u64 = 1 << 16;

/// Locks the folder, finds the end of its chain and a segment to go on in.
pub(super) fn open(dir: &Path, key: Option<Arc<SigningKey>>) -> Result<State, JournalError> {
    let mut folder = Folder::lock(dir)?;
    let numbers = folder.segments().map_err(|source| JournalError::io("list", source))?;
    folder.last = numbers.last().copied().unwrap_or(0);
    let mut lost = Vec::new();
    let mut end: Option<Hash> = None;
    let mut reusable = None;
    for number in numbers.iter().rev().copied() {
        let file = OpenOptions::new().read(true).append(true).open(folder.path_of(number));
        let mut file = file.map_err(|source| JournalError::io("open a segment of", source))?;
        let (length, line) = last_line(&mut file).map_err(|source| JournalError::io("read", source))?;
        lost.extend(cut(&file, length, number)?);
        if let Some(line) = line {
            end = Some(hash_of(&line, number)?);
            break;
        }
        if number == folder.last {
            reusable = Some(Segment::new(number, file));
        }
    }
    let (count, since_checkpoint) = count(&folder, &numbers).map_err(|source| JournalError::io("read", source))?;
    let mut state = State {
        folder,
        segment: reusable,
        full: Vec::new(),
        chain: end.map_or(Chain::START, |last| Chain { last, count }),
        key,
        since_checkpoint,
        last_checkpoint: Instant::now(),
        lost,
        written: 0,
        waiters: Vec::new(),
        demand: false,
        closing: false,
        stats: JournalStats::default(),
    };
    state.make_room(u64::MAX)?;
    Ok(state)
}

/// Cuts what follows the last whole line, and says so.
fn cut(file: &File, length: u64, number: u32) -> Result<Option<Lost>, JournalError> {
    let cut = || -> io::Result<u64> {
        let torn = file.metadata()?.len() - length;
        if torn > 0 {
            file.set_len(length)?;
            file.sync_all()?;
        }
        Ok(torn)
    };
    let cut_bytes = cut().map_err(|source| JournalError::io("cut the tail of", source))?;
    let why = "the last line was incomplete".to_owned();
    Ok((cut_bytes > 0).then(|| Lost { segment: name_of(number), why, cut_bytes }))
}

fn hash_of(line: &[u8], number: u32) -> Result<Hash, JournalError> {
    let damaged = |why| JournalError::Damaged { segment: name_of(number), why };
    let hash = audit::last_hash(line).map_err(damaged)?;
    hash.as_bytes().try_into().map_err(|_| damaged("has a hash of the wrong length"))
}

/// The length of a file up to its last line end, and the line before that.
fn last_line(file: &mut File) -> io::Result<(u64, Option<Vec<u8>>)> {
    let length = file.metadata()?.len();
    let end = find_end(file, length)?;
    if end == 0 {
        return Ok((0, None));
    }
    let begin = find_end(file, end - 1)?;
    let mut line = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.take(end - 1 - begin).read_to_end(&mut line)?;
    Ok((end, Some(line)))
}

/// The offset just behind the last line end before `until`, or zero.
fn find_end(file: &mut File, until: u64) -> io::Result<u64> {
    let mut until = until;
    let mut step = Vec::new();
    while until > 0 {
        let from = until.saturating_sub(STEP);
        step.clear();
        file.seek(SeekFrom::Start(from))?;
        file.by_ref().take(until - from).read_to_end(&mut step)?;
        if let Some(at) = step.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        until = from;
    }
    Ok(0)
}

/// How many records the chain has, and how many of them stand after the last checkpoint.
///
/// Goes back from the last segment until one has a checkpoint, which says how many there were before it.
fn count(folder: &Folder, numbers: &[u32]) -> io::Result<(u64, u64)> {
    let mut later = 0;
    for number in numbers.iter().rev().copied() {
        let (mut records, mut counted) = (0, None);
        each_line(File::open(folder.path_of(number))?, |line| {
            records += 1;
            if let Some(before) = is_checkpoint(line) {
                counted = Some((before + 1, records));
            }
            true
        })?;
        if let Some((known, at)) = counted {
            let since = records - at + later;
            return Ok((known + since, since));
        }
        later += records;
    }
    Ok((later, later))
}
