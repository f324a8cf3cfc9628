//! What the data plane tells the control plane, and the numbers that `/metrics` shows.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ostiary_core::json::{self, Object, Value};
use parking_lot::{Condvar, Mutex};

/// Events kept for a control plane that does not ask; older ones give way and are counted.
const KEPT: usize = 1_024;
/// How often it is told of an issuer that tokens ask for unknown keys of it: anybody can send such tokens.
const KEY_TOLD: Duration = Duration::from_secs(1);

/// Something that a person should hear about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A record could not be written; calls are refused until one can.
    JournalFailed,
    /// A request handler panicked; the caller got 500.
    Panic,
    /// An upstream could not be reached, broke off or spoke nonsense.
    UpstreamFault,
    /// The control app could not be reached, broke off, or took too long.
    ControlFault,
    /// A token asked for a key of the issuer in `detail` that is not among its keys.
    UnknownKey,
}

impl Event {
    const fn word(self) -> &'static str {
        match self {
            Self::JournalFailed => "journal_failed",
            Self::Panic => "panic",
            Self::UpstreamFault => "upstream_fault",
            Self::ControlFault => "control_fault",
            Self::UnknownKey => "unknown_key",
        }
    }
}

/// A bounded queue of events, as JSON texts.
#[derive(Debug, Default)]
pub struct Events {
    queue: Mutex<VecDeque<String>>,
    filled: Condvar,
    keys_told: Mutex<HashMap<String, Instant>>,
}

impl Events {
    /// Adds an event with one line of detail; never blocks.
    pub fn push(&self, event: Event, detail: &str) {
        let mut object = Object::new();
        object.insert("kind", event.word().into());
        object.insert("detail", detail.into());
        let mut text = Vec::new();
        json::write(&Value::Object(object), &mut text);
        let mut queue = self.queue.lock();
        if queue.len() == KEPT {
            queue.pop_front();
        }
        queue.push_back(String::from_utf8_lossy(&text).into_owned());
        self.filled.notify_one();
    }

    /// Adds that a token asked for an unknown key of the pinned issuer `name`, unless that was told a moment ago.
    pub fn unknown_key(&self, name: &str) {
        let now = Instant::now();
        let mut told = self.keys_told.lock();
        if told.get(name).is_some_and(|at| now.duration_since(*at) < KEY_TOLD) {
            return;
        }
        told.insert(name.to_owned(), now);
        drop(told);
        self.push(Event::UnknownKey, name);
    }

    /// Takes what there is, waiting up to `timeout` for something.
    pub fn take(&self, timeout: Duration) -> Vec<String> {
        let mut queue = self.queue.lock();
        if queue.is_empty() {
            self.filled.wait_for(&mut queue, timeout);
        }
        queue.drain(..).collect()
    }
}

macro_rules! counters {
    ($($name:ident: $meaning:literal),+ $(,)?) => {
        /// Numbers that only grow, since the process started.
        #[derive(Debug, Default)]
        pub struct Counters { $(#[doc = $meaning] pub $name: Counter),+ }

        impl Counters {
            /// Every counter with its name.
            #[must_use]
            pub fn read(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get())),+]
            }
        }
    };
}

counters! {
    requests: "Requests whose head was read.",
    allowed: "Messages that were forwarded.",
    denied: "Messages that were refused after the caller was known.",
    turned_away: "Connections that were closed because their address had too many.",
    handshakes_failed: "Connections whose TLS handshake failed.",
    rejected: "Requests that were refused before the caller was known.",
    upstream_faults: "Forwarded messages whose upstream failed.",
    control_faults: "Requests for the control app that it gave no answer to.",
    journal_faults: "Requests refused because no record could be written.",
    superseded: "Decisions taken anew because something changed before the first upstream byte.",
    cancelled: "Calls that the caller broke off.",
    panics: "Handlers that panicked.",
}

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
