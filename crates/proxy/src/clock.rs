//! Time and fresh identifiers, which the pure rules take as arguments.

use std::cell::RefCell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use uuid::{Builder, Uuid};

/// One moment on both clocks: the calendar for records and tokens, the monotonic one for durations.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
    pub monotonic: Instant,
}

/// Now.
#[must_use]
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX), monotonic: Instant::now() }
}

impl Moment {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_s(self) -> i64 {
        self.unix_ms.div_euclid(1_000)
    }

    /// Milliseconds from this moment until now.
    #[must_use]
    pub fn elapsed_ms(self) -> u64 {
        u64::try_from(self.monotonic.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Random bytes that a thread takes from the system at once: asking for each id would be a system call a time.
const DRAWN: usize = 640;

thread_local! {
    static RANDOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Ten bytes that nobody else gets.
fn random() -> Option<[u8; 10]> {
    RANDOM.with_borrow_mut(|kept| {
        if kept.len() < 10 {
            kept.resize(DRAWN, 0);
            rand::fill(kept).inspect_err(|_| kept.clear()).ok()?;
        }
        let last: [u8; 10] = kept.last_chunk().copied()?;
        kept.truncate(kept.len() - last.len());
        Some(last)
    })
}

/// A decision id: UUID version 7 (RFC 9562 section 5.7), so that ids sort by time.
#[must_use]
pub fn decision_id() -> String {
    let made = random().map(|bytes| {
        let ms = u64::try_from(now().unix_ms).unwrap_or_default();
        Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid()
    });
    // Without randomness of ours the library asks the system once more.
    made.unwrap_or_else(Uuid::now_v7).to_string()
}
