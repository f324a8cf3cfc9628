//! What is open in sessions: requests that are under way, and requests of servers that wait for their client.
//!
//! Only what is open is kept, and only in memory: what a restart loses, the broken streams have lost already.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostiary_core::facts::Facts;
use ostiary_core::mcp::Id;
use parking_lot::Mutex;

use crate::exchange::Work;
use crate::message::{Message, Resumed};
use crate::state::Shared;
use crate::trail::Intent;

/// Requests of servers that may wait in one session; the oldest gives way.
const ASKS: usize = 64;
/// Sessions in which something may be open at once; above that nothing more is opened.
const SESSIONS: usize = 65_536;
/// How long a request of a server may wait for its client.
const PATIENCE: Duration = Duration::from_secs(600);
const SWEEP: Duration = Duration::from_secs(30);

/// Everything that is open, by session.
#[derive(Debug, Default)]
pub struct Dialogues(Mutex<HashMap<Arc<str>, Dialogue>>);

#[derive(Debug, Default)]
struct Dialogue {
    /// By the client's id: what the upstream knows the request as, and the progress token that came with it.
    flights: HashMap<Id, (String, Option<Id>)>,
    /// By the id under which the client was asked.
    asks: HashMap<String, OpenAsk>,
}

/// A request of a server that its client has been asked.
#[derive(Debug)]
pub struct OpenAsk {
    /// The id that the server gave it.
    pub server_id: Id,
    /// The progress token that came with it.
    pub progress: Option<Id>,
    /// Its record, which waits for the outcome.
    pub intent: Intent,
    /// What it was allowed from.
    pub facts: Facts,
    pub since: Instant,
}

/// A request under way in a session; dropping it forgets it.
#[derive(Debug)]
pub struct Registered {
    shared: Arc<Shared>,
    session: Arc<str>,
    client_id: Id,
    upstream_id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.dialogues.change(&self.session, |dialogue| {
            if dialogue.flights.get(&self.client_id).is_some_and(|(known, _)| *known == self.upstream_id) {
                dialogue.flights.remove(&self.client_id);
            }
        });
    }
}

/// The session that `work` belongs to: the handle that only this caller can open or, where the server keeps none, the
/// caller and the server.
#[must_use]
pub fn session_of(work: &Work) -> Arc<str> {
    match (&work.head.session, work.identity.caller()) {
        (Some(sealed), _) if work.session.is_some() => sealed.as_str().into(),
        (_, Ok(caller)) => {
            let actor = caller.actor.as_ref().map_or("", |actor| &actor.id);
            let client = caller.client_id.as_deref().unwrap_or_default();
            format!("{}\n{}\n{actor}\n{client}", work.endpoint.name, caller.subject.id).into()
        }
        (_, Err(_)) => "".into(),
    }
}

impl Dialogues {
    fn change<T>(&self, session: &str, change: impl FnOnce(&mut Dialogue) -> T) -> Option<T> {
        let mut all = self.0.lock();
        let dialogue = all.get_mut(session)?;
        let changed = change(dialogue);
        if dialogue.flights.is_empty() && dialogue.asks.is_empty() {
            all.remove(session);
        }
        Some(changed)
    }

    fn open<T>(&self, session: &Arc<str>, change: impl FnOnce(&mut Dialogue) -> T) -> Option<T> {
        let mut all = self.0.lock();
        if all.len() >= SESSIONS && !all.contains_key(session) {
            return None;
        }
        Some(change(all.entry(Arc::clone(session)).or_default()))
    }

    /// What the upstream knows the client's request as, where it is under way.
    #[must_use]
    pub fn flight(&self, session: &str, client_id: &Id) -> Option<String> {
        let all = self.0.lock();
        all.get(session)?.flights.get(client_id).map(|(upstream_id, _)| upstream_id.clone())
    }

    /// Whether a request with this progress token is under way.
    #[must_use]
    pub fn awaits_progress(&self, session: &str, token: &Id) -> bool {
        let all = self.0.lock();
        all.get(session).is_some_and(|open| open.flights.values().any(|(_, known)| known.as_ref() == Some(token)))
    }

    /// Whether a request of the server with this progress token waits.
    #[must_use]
    pub fn asked_with_progress(&self, session: &str, token: &Id) -> bool {
        let all = self.0.lock();
        all.get(session).is_some_and(|open| open.asks.values().any(|ask| ask.progress.as_ref() == Some(token)))
    }

    /// Keeps a request of a server under the id that the client is asked with. Where too many wait the oldest is dropped,
    /// which records it as cancelled.
    pub fn ask(&self, session: &Arc<str>, id: &str, ask: OpenAsk) {
        let dropped = self.open(session, |dialogue| {
            let oldest = dialogue.asks.iter().min_by_key(|(_, ask)| ask.since).map(|(id, _)| id.clone());
            let full = dialogue.asks.len() >= ASKS;
            let dropped = oldest.filter(|_| full).and_then(|oldest| dialogue.asks.remove(&oldest));
            dialogue.asks.insert(id.to_owned(), ask);
            dropped
        });
        // Its record is written outside the lock.
        drop(dropped);
    }

    /// Takes the request that a client answers.
    #[must_use]
    pub fn answered(&self, session: &str, id: &str) -> Option<OpenAsk> {
        self.change(session, |dialogue| dialogue.asks.remove(id))
            .flatten()
            .filter(|ask| ask.since.elapsed() <= PATIENCE)
    }

    /// Takes the request that its server withdraws, with the id that the client knows it by.
    #[must_use]
    pub fn withdrawn(&self, session: &str, server_id: &Id) -> Option<(String, OpenAsk)> {
        self.change(session, |dialogue| {
            let id = dialogue.asks.iter().find(|(_, ask)| ask.server_id == *server_id).map(|(id, _)| id.clone())?;
            dialogue.asks.remove_entry(&id)
        })
        .flatten()
    }

    /// Drops what has waited too long, and the sessions in which nothing is open after that: their clients may never
    /// come back.
    fn sweep(&self) {
        let mut late = Vec::new();
        self.0.lock().retain(|_, dialogue| {
            late.extend(dialogue.asks.extract_if(|_, ask| ask.since.elapsed() > PATIENCE));
            !(dialogue.flights.is_empty() && dialogue.asks.is_empty())
        });
        drop(late);
    }

    /// Drops everything, so that what is open when the gateway stops is recorded as cancelled.
    pub fn clear(&self) {
        let open = std::mem::take(&mut *self.0.lock());
        drop(open);
    }

    /// Forgets a session that has ended.
    pub fn end(&self, session: &str) {
        let ended = self.0.lock().remove(session);
        drop(ended);
    }
}

/// Drops what has waited too long, for as long as the runtime lives.
pub async fn sweep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        shared.dialogues.sweep();
    }
}

/// Keeps the request of `work`, sent as `upstream_id`, for as long as the guard lives: so that it can be cancelled. The
/// request of a stream that goes on is kept under the id that it was sent with.
#[must_use]
pub fn register(work: &Work, upstream_id: &str) -> Option<Registered> {
    work.session.as_ref()?;
    let request = work.message.answered_request()?;
    let upstream_id = match &work.message {
        Message::SessionStream(Resumed { request: Some((_, sent)), .. }) => sent,
        _ => upstream_id,
    };
    let session = session_of(work);
    let client_id = request.id.clone();
    let flight = (upstream_id.to_owned(), request.progress_token());
    work.shared.dialogues.open(&session, |dialogue| dialogue.flights.insert(client_id.clone(), flight))?;
    Some(Registered { shared: Arc::clone(&work.shared), session, client_id, upstream_id: upstream_id.to_owned() })
}
