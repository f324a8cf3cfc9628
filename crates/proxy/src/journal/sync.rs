//! The thread that puts records on disk, for all who wait at once.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::MutexGuard;

use super::{JournalError, Shared, State, Waiter};

/// What one round has to sync, and up to where that brings the disk.
struct Round {
    folder: Option<Arc<File>>,
    files: Vec<Arc<File>>,
    open_segment: Option<u32>,
    end: u64,
}

/// Syncs on demand, and writes a checkpoint when one is due, until the journal closes.
pub(super) fn run(shared: &Shared) {
    let mut state = shared.state.lock();
    loop {
        wait(shared, &mut state);
        let round = Round::begin(&mut state);
        let closing = state.closing;
        // Appending goes on meanwhile: those who come now are the next round.
        let done = MutexGuard::unlocked(&mut state, || round.sync());
        round.end(&mut state, done);
        if closing {
            let rest = std::mem::take(&mut state.waiters);
            release(rest, &Err(JournalError::Closed));
            state.segment = None;
            // Whoever opens the folder next must find it free, even while this journal's value still lives.
            let _ = state.folder.handle.unlock();
            return;
        }
    }
}

/// Sleeps until somebody waits for the disk. A checkpoint that falls due is on disk in the next round too.
fn wait(shared: &Shared, state: &mut MutexGuard<'_, State>) {
    while !state.demand {
        let due = state.last_checkpoint + shared.options.checkpoint_every;
        if Instant::now() < due {
            shared.wake.wait_until(state, due);
            continue;
        }
        state.last_checkpoint = Instant::now();
        // If it cannot be written now, the next one says the same and more.
        state.demand = state.since_checkpoint > 0 && shared.checkpoint(state).is_ok();
    }
    state.demand = false;
}

impl Round {
    fn begin(state: &mut State) -> Self {
        let mut files = std::mem::take(&mut state.full);
        files.extend(state.segment.as_ref().map(|segment| Arc::clone(&segment.file)));
        let folder = std::mem::take(&mut state.folder.changed).then(|| Arc::clone(&state.folder.handle));
        Self { folder, files, open_segment: state.segment.as_ref().map(|segment| segment.number), end: state.written }
    }

    fn sync(&self) -> io::Result<()> {
        // Data first: a folder that names a segment says nothing of what is in it.
        self.files.iter().try_for_each(|file| file.sync_data())?;
        self.folder.as_ref().map_or(Ok(()), |folder| folder.sync_all())
    }

    /// Releases whom this round was for. After an error nobody can say what the disk holds, and a later sync that
    /// succeeds would not say it either, so everybody who waits is refused and the segment is given up.
    fn end(self, state: &mut State, done: io::Result<()>) {
        match done {
            Ok(()) => {
                state.stats.syncs += 1;
                let (ready, rest) = std::mem::take(&mut state.waiters).into_iter().partition(|(at, _)| *at <= self.end);
                state.waiters = rest;
                release(ready, &Ok(()));
            }
            Err(source) => {
                if state.segment.as_ref().map(|segment| segment.number) == self.open_segment {
                    state.retire_unsynced(&source);
                }
                state.folder.changed |= self.folder.is_some();
                let error = JournalError::io("sync", source);
                let refused = std::mem::take(&mut state.waiters);
                state.stats.failures += refused.len() as u64;
                release(refused, &Err(error));
            }
        }
    }
}

fn release(waiters: Vec<(u64, Waiter)>, answer: &Result<(), JournalError>) {
    for (_, waiter) in waiters {
        waiter.release(answer.clone());
    }
}

#[cfg(test)]
mod tests {
    use ostiary_core::audit::{Draft, Kind, Record};

    use super::super::{Journal, Options, mpsc, new_id, read_segment};
    use super::*;

    fn draft(tool: &str) -> Draft {
        Record { tool: Some(tool), ..Record::new(Kind::Deny, "id", 0, "gw", "") }.draft()
    }

    #[test]
    fn a_failed_sync_refuses_who_waits_and_gives_the_segment_up() {
        let dir = std::env::temp_dir().join(format!("ostiary-sync-{}", new_id()));
        let journal = Journal::open_with(&dir, "gw", None, Options::default()).unwrap();
        journal.append_blocking(draft("before")).unwrap();
        let (sender, answer) = mpsc::sync_channel(1);
        {
            // What the thread does when the disk fails, while it is kept out.
            let mut state = journal.shared.state.lock();
            journal.shared.append(&mut state, draft("waiting")).unwrap();
            let round = Round::begin(&mut state);
            let end = state.written;
            state.waiters.push((end, Waiter::Thread(sender)));
            round.end(&mut state, Err(io::Error::other("the disk is gone")));
        }
        assert!(matches!(answer.recv().unwrap(), Err(JournalError::Io { .. })));
        journal.append_blocking(draft("after")).unwrap();
        assert_eq!((journal.stats().retired, journal.stats().failures), (1, 1));
        journal.close().unwrap();
        let first = read_segment(&dir.join("00000001.jsonl"), None).unwrap();
        let second = read_segment(&dir.join("00000002.jsonl"), first.last_hash.as_deref()).unwrap();
        assert_eq!((first.records, first.bad, second.records, second.bad), (2, None, 2, None));
        let begins = std::fs::read_to_string(dir.join("00000002.jsonl")).unwrap();
        assert!(begins.contains("sync failed: the disk is gone"), "{begins}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
