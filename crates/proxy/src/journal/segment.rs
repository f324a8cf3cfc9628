//! The files: `NNNNNNNN.jsonl`, each the continuation of the one before it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{JournalError, Lost, State};

/// The audit folder, held exclusively: the lock is on the folder itself, so that no lock file stands among segments.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    pub handle: Arc<File>,
    /// The number of the last segment, open or not.
    pub last: u32,
    /// Whether a segment was made that the folder's own sync has not covered.
    pub changed: bool,
}

impl Folder {
    /// Makes the folder if need be, and locks it.
    pub fn lock(path: &Path) -> Result<Self, JournalError> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(path);
        make.map_err(|source| JournalError::io("make the folder of", source))?;
        let handle = File::open(path).map_err(|source| JournalError::io("open the folder of", source))?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(path.display().to_string())),
            Err(TryLockError::Error(source)) => return Err(JournalError::io("lock the folder of", source)),
        }
        Ok(Self { path: path.to_owned(), handle: Arc::new(handle), last: 0, changed: false })
    }

    /// The numbers of the segments, in order.
    pub fn segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).filter(|digits| digits.len() == 8);
            numbers.extend(number.and_then(|digits| digits.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where a segment is.
    pub fn path_of(&self, number: u32) -> PathBuf {
        self.path.join(name_of(number))
    }

    /// Makes the next segment.
    fn make_next(&mut self) -> io::Result<Segment> {
        let number = self.last + 1;
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.path_of(number))?;
        self.last = number;
        self.changed = true;
        Ok(Segment::new(number, file))
    }
}

/// The file name of a segment.
pub(super) fn name_of(number: u32) -> String {
    format!("{number:08}.jsonl")
}

/// The segment that records go to.
#[derive(Debug)]
pub(super) struct Segment {
    pub number: u32,
    pub file: Arc<File>,
    /// Its length in whole lines.
    bytes: u64,
    /// Why it gets no more records; its tail past `bytes` is still to be cut.
    fault: Option<String>,
}

impl Segment {
    /// An empty one.
    pub fn new(number: u32, file: File) -> Self {
        Self { number, file: Arc::new(file), bytes: 0, fault: None }
    }
}

impl State {
    /// Sees to it that there is a segment to write to.
    ///
    /// One that failed first has its incomplete tail cut, since a line that was refused must not be read as written.
    /// It is given up then, unless it is empty: a disk that stays full would otherwise fill with empty files.
    pub(super) fn make_room(&mut self, segment_bytes: u64) -> Result<(), JournalError> {
        if let Some(segment) = &mut self.segment {
            if let Some(why) = &segment.fault {
                segment.file.set_len(segment.bytes).map_err(|source| JournalError::io("cut the tail of", source))?;
                if segment.bytes == 0 {
                    segment.fault = None;
                } else {
                    self.lost.push(Lost { segment: name_of(segment.number), why: why.clone(), cut_bytes: 0 });
                    // Somebody may still wait for what it holds.
                    self.full.push(Arc::clone(&segment.file));
                    self.segment = None;
                    self.stats.retired += 1;
                }
            } else if segment.bytes >= segment_bytes {
                self.full.push(Arc::clone(&segment.file));
                self.segment = None;
            }
        }
        if self.segment.is_none() {
            let made = self.folder.make_next();
            self.segment = Some(made.map_err(|source| JournalError::io("begin a segment of", source))?);
        }
        Ok(())
    }

    /// Writes whole lines at the end of the open segment; on an error they are cut off again.
    pub(super) fn put(&mut self, lines: &[u8]) -> Result<(), JournalError> {
        let Some(segment) = &mut self.segment else { return Err(JournalError::Closed) };
        let length = lines.len() as u64;
        if let Err(source) = segment.file.as_ref().write_all(lines) {
            // Cut at once, so that a reader of the live folder sees whole lines; `make_room` cuts again, and does
            // not go on before that has worked.
            let _ = segment.file.set_len(segment.bytes);
            segment.fault = Some(format!("write failed: {source}"));
            return Err(JournalError::io("write to", source));
        }
        segment.bytes += length;
        self.written += length;
        Ok(())
    }

    /// Gives the open segment up after a sync of it failed: what it holds is whole, but may never reach the disk.
    pub(super) fn retire_unsynced(&mut self, source: &io::Error) {
        if let Some(segment) = &self.segment {
            let why = format!("sync failed: {source}");
            self.lost.push(Lost { segment: name_of(segment.number), why, cut_bytes: 0 });
            self.segment = None;
            self.stats.retired += 1;
        }
    }
}
