//! How many streams one caller may hold open at once, so that none can take them all.

use std::collections::HashMap;
use std::sync::Arc;

use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::json::Object;
use parking_lot::Mutex;

use crate::exchange::Work;
use crate::state::Shared;

/// Streams that stay open (a session's own, and `subscriptions/listen`), for each pair of subject and actor.
const STREAMS: usize = 64;
/// Seconds after which it may be tried again.
const RETRY_S: i64 = 30;

/// The open streams, counted by caller.
#[derive(Debug, Default)]
pub struct Streams(Mutex<HashMap<String, usize>>);

/// One open stream; dropping it gives its place back.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    caller: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.shared.streams.0.lock();
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

/// A place for the stream that the message of `work` asks for, if it asks for one that stays open.
///
/// # Errors
/// [`Refusal`] 4290 when the caller holds as many as it may.
pub fn open_stream(work: &Work) -> Result<Option<Slot>, Refusal> {
    if !work.message.stays_open() {
        return Ok(None);
    }
    let caller = work.identity.caller()?;
    let key = format!("{}\n{}", caller.subject.id, caller.actor.as_ref().map_or("", |actor| &actor.id));
    let mut open = work.shared.streams.0.lock();
    let count = open.entry(key.clone()).or_default();
    if *count >= STREAMS {
        let mut data = Object::new();
        data.insert("retry_after", RETRY_S.into());
        return Err(Refusal::new(
            Reason::Limit,
            format!("{STREAMS} streams are open already; close one, then try again."),
        )
        .with_data(data.into()));
    }
    *count += 1;
    drop(open);
    Ok(Some(Slot { shared: Arc::clone(&work.shared), caller: key }))
}
