//! The journal: records go to disk in one chain, or the caller learns that they did not.
//!
//! One process writes, in one open segment; the folder is locked for as long as the journal lives. Appending writes
//! inline, which costs less than handing a record to another thread. Waiting for the disk is shared: one thread
//! syncs, and all who appended before a sync began are released by it.
//!
//! A write or sync error gives the segment up: its incomplete tail is cut, whoever waits for it is refused, and the
//! next append tries a new segment, which begins with a `recovery` record. Nothing acknowledged is taken back.

mod open;
mod read;
mod segment;
mod sync;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ostiary_core::audit::{self, Chain, Draft};
use ostiary_core::json::{Limits, Value, parse};
use ostiary_core::token::SigningKey;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

pub use read::read_segment;
use segment::{Folder, Segment};

/// Why a record was not taken. Whatever was to follow on it must not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    #[error("another process writes to the audit folder `{0}`")]
    Locked(String),
    #[error("audit segment `{segment}` is damaged: its last record {why}")]
    Damaged { segment: String, why: &'static str },
    #[error("cannot {action} the audit journal: {source}")]
    Io { action: &'static str, source: Arc<std::io::Error> },
    #[error("the record is not one to be taken: {0}")]
    Record(String),
    #[error("the audit journal is closed")]
    Closed,
}

impl JournalError {
    fn io(action: &'static str, source: std::io::Error) -> Self {
        Self::Io { action, source: Arc::new(source) }
    }
}

/// When segments and checkpoints end and begin.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A segment this long gets no more records.
    pub segment_bytes: u64,
    /// A checkpoint follows after this many records.
    pub checkpoint_records: u64,
    /// A checkpoint follows after this long with something new.
    pub checkpoint_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, checkpoint_records: 1024, checkpoint_every: Duration::from_secs(60) }
    }
}

/// What the journal has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalStats {
    /// Records written, the journal's own included.
    pub records: u64,
    /// Appends that were refused for an error.
    pub failures: u64,
    /// Segments given up for an error.
    pub retired: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
}

/// The open journal of this process.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    syncer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    gateway: String,
    options: Options,
    state: Mutex<State>,
    /// Tells the syncing thread that somebody waits, or that the journal closes.
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    folder: Folder,
    /// The open segment; `None` after it was given up, until the next append.
    segment: Option<Segment>,
    /// Segments that are full but whose last records may not be on disk.
    full: Vec<Arc<std::fs::File>>,
    chain: Chain,
    key: Option<Arc<SigningKey>>,
    since_checkpoint: u64,
    last_checkpoint: Instant,
    /// What the next segment has to begin with.
    lost: Vec<Lost>,
    /// Bytes written over all segments; waiters wait for a value of it to be synced.
    written: u64,
    waiters: Vec<(u64, Waiter)>,
    demand: bool,
    closing: bool,
    stats: JournalStats,
}

/// A segment that was given up, or had its last line cut.
#[derive(Debug)]
struct Lost {
    segment: String,
    why: String,
    cut_bytes: u64,
}

#[derive(Debug)]
enum Waiter {
    Task(oneshot::Sender<Result<(), JournalError>>),
    Thread(mpsc::SyncSender<Result<(), JournalError>>),
}

impl Waiter {
    /// A waiter that went away needs no answer.
    fn release(self, answer: Result<(), JournalError>) {
        match self {
            Self::Task(sender) => drop(sender.send(answer)),
            Self::Thread(sender) => drop(sender.send(answer)),
        }
    }
}

impl Journal {
    /// Opens the journal of `gateway` in `dir`, which is made if it is not there.
    ///
    /// Cuts an incomplete last line and records that, then goes on with the chain in a new segment. Without `key`
    /// there are no checkpoints.
    pub fn open(dir: &Path, gateway: &str, key: Option<SigningKey>) -> Result<Self, JournalError> {
        Self::open_with(dir, gateway, key, Options::default())
    }

    /// The same with other sizes.
    pub fn open_with(
        dir: &Path,
        gateway: &str,
        key: Option<SigningKey>,
        options: Options,
    ) -> Result<Self, JournalError> {
        let state = Mutex::new(open::open(dir, key.map(Arc::new))?);
        let shared = Arc::new(Shared { gateway: gateway.to_owned(), options, state, wake: Condvar::new() });
        shared.note_losses(&mut shared.state.lock())?;
        let syncing = Arc::clone(&shared);
        let syncer = std::thread::Builder::new()
            .name("journal-sync".to_owned())
            .spawn(move || sync::run(&syncing))
            .map_err(|source| JournalError::io("start the syncing thread of", source))?;
        Ok(Self { shared, syncer: Mutex::new(Some(syncer)) })
    }

    /// Hands a record to the operating system: it survives this process, not the machine. Does not wait.
    pub fn append_os(&self, draft: Draft) -> Result<(), JournalError> {
        self.shared.append(&mut self.shared.state.lock(), draft)
    }

    /// Puts a record on disk.
    ///
    /// Cancel safety: the record is written at the first poll. A caller that goes away before the end leaves it in
    /// the journal, and has to close it with an outcome.
    pub async fn append_disk(&self, draft: Draft) -> Result<(), JournalError> {
        let (sender, answer) = oneshot::channel();
        self.append_and_wait(draft, Waiter::Task(sender))?;
        answer.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Puts a record on disk and blocks until it is there; for callers outside the runtime.
    pub fn append_blocking(&self, draft: Draft) -> Result<(), JournalError> {
        let (sender, answer) = mpsc::sync_channel(1);
        self.append_and_wait(draft, Waiter::Thread(sender))?;
        answer.recv().unwrap_or(Err(JournalError::Closed))
    }

    /// Puts a control or admin record, given as JSON text, on disk and blocks until it is there. Gives its id.
    pub fn append_control(&self, record: &str) -> Result<String, JournalError> {
        let fault = |why: String| JournalError::Record(why);
        let given = parse(record.as_bytes(), &Limits::DEFAULT).map_err(|error| fault(error.to_string()))?;
        let given = given.as_object().ok_or_else(|| fault("not a JSON object".to_owned()))?;
        let id = new_id();
        let draft = audit::control(given, &id, now_ms(), &self.shared.gateway);
        self.append_blocking(draft.map_err(|error| fault(error.to_string()))?)?;
        Ok(id)
    }

    /// Signs checkpoints with another key from now on.
    pub fn set_key(&self, key: Arc<SigningKey>) {
        self.shared.state.lock().key = Some(key);
    }

    /// The name that records carry.
    pub fn gateway(&self) -> &str {
        &self.shared.gateway
    }

    /// What was done since the journal was opened.
    pub fn stats(&self) -> JournalStats {
        self.shared.state.lock().stats
    }

    /// Ends the chain with a checkpoint, puts everything on disk and frees the folder. Records that come later are
    /// refused. Blocks for the last sync; gives its error, if any. A second call does nothing.
    pub fn close(&self) -> Result<(), JournalError> {
        let Some(syncer) = self.syncer.lock().take() else { return Ok(()) };
        let (sender, answer) = mpsc::sync_channel(1);
        {
            let mut state = self.shared.state.lock();
            let checkpoint = self.shared.checkpoint(&mut state);
            state.closing = true;
            let end = state.written;
            match checkpoint {
                Ok(()) => state.waiters.push((end, Waiter::Thread(sender))),
                Err(error) => Waiter::Thread(sender).release(Err(error)),
            }
            state.demand = true;
            self.shared.wake.notify_one();
        }
        let closed = answer.recv().unwrap_or(Err(JournalError::Closed));
        // The thread has no way to panic; if it did all the same, there is nothing left to do here.
        let _ = syncer.join();
        closed
    }

    fn append_and_wait(&self, draft: Draft, waiter: Waiter) -> Result<(), JournalError> {
        let mut state = self.shared.state.lock();
        self.shared.append(&mut state, draft)?;
        let end = state.written;
        state.waiters.push((end, waiter));
        if !std::mem::replace(&mut state.demand, true) {
            self.shared.wake.notify_one();
        }
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Whoever wanted to know how it ended called `close`.
        let _ = self.close();
    }
}

impl Shared {
    /// Writes a record as the next of the chain, with whatever has to stand before it.
    fn append(&self, state: &mut State, draft: Draft) -> Result<(), JournalError> {
        if state.closing {
            return Err(JournalError::Closed);
        }
        let checkpoint = state.since_checkpoint >= self.options.checkpoint_records;
        let written = self.write(state, Some(draft), checkpoint);
        if written.is_err() {
            state.stats.failures += 1;
        }
        written
    }

    /// Records what was cut when the journal was opened.
    fn note_losses(&self, state: &mut State) -> Result<(), JournalError> {
        state.demand = !state.lost.is_empty();
        if state.demand { self.write(state, None, false) } else { Ok(()) }
    }

    /// Writes a checkpoint if there is anything new since the last.
    fn checkpoint(&self, state: &mut State) -> Result<(), JournalError> {
        if state.since_checkpoint > 0 && state.key.is_some() { self.write(state, None, true) } else { Ok(()) }
    }

    /// Writes what was lost before, a checkpoint if it is time for one, and `draft`: all of them or nothing.
    fn write(&self, state: &mut State, draft: Option<Draft>, checkpoint: bool) -> Result<(), JournalError> {
        state.make_room(self.options.segment_bytes)?;
        let key = if checkpoint { state.key.as_deref() } else { None };
        let mut chain = state.chain;
        let mut since_checkpoint = state.since_checkpoint;
        let mut lines = Vec::new();
        for lost in &state.lost {
            let mut note =
                audit::recovery(&lost.segment, &lost.why, lost.cut_bytes, &new_id(), now_ms(), &self.gateway);
            chain = push(chain, &mut note, &mut lines);
            since_checkpoint += 1;
        }
        if let Some(key) = key {
            chain = push(chain, &mut audit::checkpoint(&chain, key, &new_id(), now_ms(), &self.gateway), &mut lines);
            since_checkpoint = 0;
        }
        let is_checkpoint = key.is_some();
        match draft {
            // The common case: one record, straight from where it was laid out.
            Some(mut draft) if lines.is_empty() => {
                let (line, next) = chain.next(&mut draft);
                state.put(line)?;
                chain = next;
                since_checkpoint += 1;
            }
            Some(mut draft) => {
                chain = push(chain, &mut draft, &mut lines);
                since_checkpoint += 1;
                state.put(&lines)?;
            }
            None => state.put(&lines)?,
        }
        if is_checkpoint {
            state.last_checkpoint = Instant::now();
        }
        state.since_checkpoint = since_checkpoint;
        state.stats.records += chain.count - state.chain.count;
        state.chain = chain;
        state.lost.clear();
        Ok(())
    }
}

fn push(chain: Chain, draft: &mut Draft, lines: &mut Vec<u8>) -> Chain {
    let (line, next) = chain.next(draft);
    lines.extend_from_slice(line);
    next
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A fresh `UUIDv7`.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// How many records stand before a line, if it is a checkpoint.
fn is_checkpoint(line: &[u8]) -> Option<u64> {
    // Only a checkpoint begins so: request records begin with `act`, and this spares parsing those.
    if !line.starts_with(b"{\"count\":") {
        return None;
    }
    let record = parse(line, &Limits::ANSWER).ok()?;
    (record.get("kind").and_then(Value::as_str) == Some("checkpoint"))
        .then(|| record.get("count")?.as_number()?.as_str().parse().ok())?
}
