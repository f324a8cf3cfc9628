//! Time and fresh identifiers, which the pure rules take as arguments.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

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

/// A decision id: UUID version 7 (RFC 9562 section 5.7), so that ids sort by time.
#[must_use]
pub fn decision_id() -> String {
    Uuid::now_v7().to_string()
}
