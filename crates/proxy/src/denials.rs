//! Refusals without an identity, kept from flooding the log: above a rate they are counted, and the count is recorded.
//!
//! A refusal of a known caller is always a record of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostiary_core::deny::Reason;
use parking_lot::Mutex;

use crate::clock;
use crate::events::Event;
use crate::state::Shared;
use crate::trail;

/// Unidentified refusals recorded one by one, per second.
const SINGLY: u32 = 50;
const WINDOW: Duration = Duration::from_secs(1);

/// The budget of the running second, and what went over it.
#[derive(Debug)]
pub struct Denials(Mutex<State>);

#[derive(Debug)]
struct State {
    since: Instant,
    spent: u32,
    over: BTreeMap<&'static str, u64>,
}

impl Default for Denials {
    fn default() -> Self {
        Self(Mutex::new(State { since: Instant::now(), spent: 0, over: BTreeMap::new() }))
    }
}

impl Denials {
    /// Whether this refusal gets a record of its own. If not, it has been counted.
    pub fn singly(&self, reason: Reason) -> bool {
        let mut state = self.0.lock();
        if state.since.elapsed() >= WINDOW {
            state.since = Instant::now();
            state.spent = 0;
        }
        if state.spent < SINGLY {
            state.spent += 1;
            return true;
        }
        *state.over.entry(reason.as_str()).or_default() += 1;
        false
    }

    fn keep(&self, word: &'static str, count: u64) {
        *self.0.lock().over.entry(word).or_default() += count;
    }

    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.0.lock().over)
    }
}

/// Records once a second what went over the budget, for as long as the runtime lives.
pub async fn report(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(WINDOW);
    loop {
        ticks.tick().await;
        flush(&shared);
    }
}

/// Records what went over the budget so far. What cannot be recorded is counted on, for the next time.
pub fn flush(shared: &Shared) {
    for (word, count) in shared.denials.take() {
        let Some(reason) = Reason::from_word(word) else { continue };
        if let Err(fault) = trail::aggregated(shared, clock::now(), reason, count) {
            shared.denials.keep(word, count);
            shared.counters.journal_faults.add();
            shared.events.push(Event::JournalFailed, &fault.to_string());
        }
    }
}
