//! Remembered answers.
//!
//! A decision is a function of its projection and the Snapshot, so an answer may be given again for the same
//! projection under the same Snapshot: the memory lives and dies with it. It is bounded in bytes. What changes without
//! the facts changing (lockdown, registration, expiry) is never asked here.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Finding;

/// Whether a decision may be answered from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    On,
    Off,
}

/// What is kept in all, in bytes.
const CAPACITY: u64 = 32 << 20;
/// What is kept in number, at most: the cache sizes its tables by it.
const ITEMS: usize = 65_536;
/// A larger projection is not worth keeping.
const KEY: usize = 4_096;

/// Answers by projection.
#[derive(Debug)]
pub(crate) struct Answers {
    kept: Cache<Arc<[u8]>, Arc<Finding>, Bytes>,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Arc<[u8]>, Arc<Finding>> for Bytes {
    fn weight(&self, key: &Arc<[u8]>, finding: &Arc<Finding>) -> u64 {
        let rules = finding.rules.len() + finding.shadow.as_ref().map_or(0, |shadow| shadow.rules.len());
        (key.len() + 8 * rules + 256) as u64
    }
}

impl Answers {
    /// An empty memory.
    pub fn new() -> Self {
        Self { kept: Cache::with_weighter(ITEMS, CAPACITY, Bytes) }
    }

    /// The answer for a projection, with the one copy of the projection that is kept.
    pub fn get(&self, projection: &Arc<[u8]>) -> Option<Arc<Finding>> {
        self.kept.get(projection)
    }

    /// Keeps an answer.
    pub fn put(&self, projection: &Arc<[u8]>, finding: &Arc<Finding>) {
        if projection.len() <= KEY {
            self.kept.insert(Arc::clone(projection), Arc::clone(finding));
        }
    }
}
