//! What ends before its time: every identity that has been let in, whether it still stands, and when it was last used.
//!
//! Adding an epoch marks each identity that it speaks of, so that asking whether one still stands costs a single load,
//! and wakes what waits for it: an open stream ends at once. An identity that is let in at the same moment is entered
//! first and judged then, so that one of the two sees the other.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::epoch::{Epoch, Epochs, Key};
use ostiary_core::json;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::clock;

/// How many identities are entered before those that are gone are looked for.
const ENTRIES: usize = 1_024;

/// Whether one identity still stands, and when it was used.
#[derive(Debug)]
pub struct Standing {
    keys: Vec<Key>,
    /// When its token was issued, in seconds since 1970.
    iat: i64,
    revoked: AtomicBool,
    ended: Arc<Notify>,
    /// The principal ids whose use this is.
    used_by: Vec<String>,
    /// The second of the last request, or nothing that has not been told.
    used_at: AtomicI64,
}

const UNUSED: i64 = i64::MIN;

impl Standing {
    /// The standing of a token with these keys, issued at `iat`, that the principals `used_by` use.
    #[must_use]
    pub fn new(keys: Vec<Key>, iat: i64, used_by: Vec<String>) -> Self {
        Self {
            keys,
            iat,
            revoked: AtomicBool::new(false),
            ended: Arc::new(Notify::new()),
            used_by,
            used_at: AtomicI64::new(UNUSED),
        }
    }

    /// Whether it has been revoked, which it stays.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Returns once it has been revoked.
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        let ended = self.ended.notified();
        if !self.is_revoked() {
            ended.await;
        }
    }

    /// Takes note of a request at `now_s`.
    pub fn used(&self, now_s: i64) {
        // Most requests come within the second of the one before, and write nothing that other threads would have to read.
        if self.used_at.load(Ordering::Relaxed) != now_s {
            self.used_at.store(now_s, Ordering::Relaxed);
        }
    }

    fn judge(&self, epochs: &Epochs) {
        if epochs.revoke(&self.keys, self.iat) && !self.revoked.swap(true, Ordering::AcqRel) {
            self.ended.notify_waiters();
        }
    }
}

/// Watches one identity for a stream; the stream may go over to another one.
pub struct Watch {
    standing: Arc<Standing>,
    ended: Pin<Box<OwnedNotified>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches `standing`.
    #[must_use]
    pub fn new(standing: &Arc<Standing>) -> Self {
        let ended = Box::pin(Arc::clone(&standing.ended).notified_owned());
        Self { standing: Arc::clone(standing), ended }
    }

    /// Ready for as long as `standing`, which is watched from now on, is revoked.
    pub fn poll_ended(&mut self, standing: &Arc<Standing>, context: &mut Context<'_>) -> Poll<()> {
        if !Arc::ptr_eq(standing, &self.standing) {
            *self = Self::new(standing);
        }
        if self.standing.is_revoked() {
            return Poll::Ready(());
        }
        self.ended.as_mut().poll(context)
    }
}

/// The revocations that count, and what they can end.
#[derive(Debug)]
pub struct Revocations {
    epochs: RwLock<Epochs>,
    entered: Mutex<Entered>,
    begun: Instant,
    /// When the store was last heard of, in milliseconds since `begun`.
    heard_ms: AtomicU64,
    /// For how long it may be silent, in milliseconds; without end if zero.
    patience_ms: u64,
}

#[derive(Debug, Default)]
struct Entered {
    standings: Vec<Arc<Standing>>,
    /// How many may be there before those that are gone are looked for.
    room: usize,
    /// The last uses by what has gone since, by principal id.
    uses: HashMap<String, i64>,
}

impl Revocations {
    /// Begins with `epochs`. A store that is silent for longer than `patience`, unless that is zero, is lost.
    #[must_use]
    pub fn new(epochs: &[Epoch], patience: Duration) -> Self {
        let mut known = Epochs::default();
        known.add(epochs, clock::now().unix_s());
        Self {
            epochs: RwLock::new(known),
            entered: Mutex::new(Entered { room: ENTRIES, ..Entered::default() }),
            begun: Instant::now(),
            heard_ms: AtomicU64::new(0),
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Adds what the store says. When this returns every request and stream that it speaks of is refused or ending.
    pub fn add(&self, epochs: &[Epoch]) {
        if !epochs.is_empty() {
            let now_s = clock::now().unix_s();
            self.epochs.write().add(epochs, now_s);
            // What was entered before this was judged by older epochs, and needs no others.
            let mut added = Epochs::default();
            added.add(epochs, now_s);
            let standings = self.entered.lock().standings.clone();
            for standing in standings {
                standing.judge(&added);
            }
        }
        self.heard_ms.store(self.ms(Instant::now()), Ordering::Release);
    }

    /// Enters what has been let in, and judges it.
    pub fn enter(&self, standing: &Arc<Standing>) {
        self.entered.lock().add(Arc::clone(standing));
        standing.judge(&self.epochs.read());
    }

    /// Whether the store has been heard of lately enough, as of `now`.
    ///
    /// # Errors
    /// [`Refusal`] 5030 when it has been silent for too long: whether a caller was revoked is not known then.
    pub fn heard(&self, now: Instant) -> Result<(), Refusal> {
        let silent_ms = self.ms(now).saturating_sub(self.heard_ms.load(Ordering::Acquire));
        if self.patience_ms == 0 || silent_ms <= self.patience_ms {
            return Ok(());
        }
        let message = "The store of revocations cannot be reached, so nothing was forwarded; try again later.";
        Err(Refusal::new(Reason::Store, message))
    }

    fn ms(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// The principals that were there since this was last asked, with the second of their last request, as JSON.
    #[must_use]
    pub fn uses(&self) -> String {
        let mut text = Vec::from(b"{");
        for (id, second) in self.entered.lock().take_uses() {
            if text.len() > 1 {
                text.push(b',');
            }
            json::write_str(&id, &mut text);
            text.extend_from_slice(format!(":{second}").as_bytes());
        }
        text.push(b'}');
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Entered {
    fn add(&mut self, standing: Arc<Standing>) {
        if self.standings.len() >= self.room {
            self.sweep();
            self.room = ENTRIES.max(self.standings.len() * 2);
        }
        self.standings.push(standing);
    }

    /// Lets go of what nobody else holds any more, and keeps its use.
    fn sweep(&mut self) {
        let Self { standings, uses, .. } = self;
        standings.retain(|standing| {
            let held = Arc::strong_count(standing) > 1;
            if !held {
                note(uses, standing);
            }
            held
        });
    }

    fn take_uses(&mut self) -> BTreeMap<String, i64> {
        let Self { standings, uses, .. } = self;
        for standing in standings {
            note(uses, standing);
        }
        uses.drain().collect()
    }
}

/// Adds the use of `standing` that has not been told yet.
fn note(uses: &mut HashMap<String, i64>, standing: &Standing) {
    let second = standing.used_at.swap(UNUSED, Ordering::Relaxed);
    if second == UNUSED {
        return;
    }
    for id in &standing.used_by {
        let last = uses.entry(id.clone()).or_insert(second);
        *last = (*last).max(second);
    }
}
