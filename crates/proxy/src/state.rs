//! What every request reads: the snapshot in force with all that hangs on it, swapped whole.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use ostiary_core::audit::Redaction;
use ostiary_core::seal::SealKey;
use ostiary_core::snapshot::{Known, Server, Snapshot};
use ostiary_core::token::SigningKey;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use rustls::ServerConfig;
use tokio_rustls::TlsConnector;

use crate::control;
use crate::denials::Denials;
use crate::dialogue::Dialogues;
use crate::events::{Counters, Events};
use crate::identity::Identity;
use crate::journal::Journal;
use crate::quota::Streams;
use crate::revocations::Revocations;
use crate::secrets::Secrets;
use crate::upstream::{self, Fault, Lease, Upstream};
use crate::wellknown::{self, Documents};

/// Verified tokens remembered, per snapshot.
const IDENTITIES: usize = 10_000;

/// Why a snapshot could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("server `{server}`: {fault}")]
    Server { server: String, fault: Fault },
    #[error("TLS: {0}")]
    Tls(Fault),
}

/// The data plane's whole state.
pub struct Shared {
    live: ArcSwap<Live>,
    generation: AtomicU64,
    /// One snapshot is put in force at a time.
    applying: Mutex<()>,
    pub journal: Arc<Journal>,
    pub counters: Counters,
    pub events: Events,
    pub denials: Denials,
    pub dialogues: Dialogues,
    pub streams: Streams,
    pub control: control::App,
    pub revocations: Revocations,
    tls: TlsConnector,
}

/// One snapshot in force, with the keys, caches and connections that belong to it.
#[derive(Debug)]
pub struct Live {
    pub generation: u64,
    pub snapshot: Arc<Snapshot>,
    pub signer: Arc<SigningKey>,
    pub seal: Arc<SealKey>,
    pub digest_key: Arc<[u8]>,
    pub redaction: Redaction,
    /// How new connections are met; without it, plainly.
    pub tls: Option<Arc<ServerConfig>>,
    /// By (server, token text): a token is verified once for each server and snapshot.
    pub identities: Cache<(Arc<str>, String), Arc<Identity>>,
    pub documents: Documents,
    endpoints: HashMap<String, Endpoint>,
}

/// One server as requests meet it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub name: Arc<str>,
    /// The resource indicator: what clients call, and what tokens have as audience.
    pub resource: Arc<str>,
    /// Where its protected-resource metadata stands.
    pub metadata: Arc<str>,
    pub upstream: Arc<Upstream>,
    pub server: Arc<Server>,
    /// What the server knows us by, where that is a credential and it has been set. It is marked as sensitive.
    credential: Option<Arc<HeaderValue>>,
}

impl Endpoint {
    /// What the server knows us by.
    ///
    /// # Errors
    /// [`Fault::Credential`] where none has been set.
    pub fn credential(&self) -> Result<&HeaderValue, Fault> {
        self.credential.as_deref().ok_or(Fault::Credential)
    }

    /// A connection to the server, unless there is nothing to be known by there.
    ///
    /// # Errors
    /// As [`Endpoint::credential`] and [`Upstream::checkout`].
    pub async fn checkout(&self) -> Result<Lease, Fault> {
        if let Known::Credential { .. } = self.server.identity {
            self.credential()?;
        }
        self.upstream.checkout().await
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Live {
    /// The endpoint of `server`.
    #[must_use]
    pub fn endpoint(&self, server: &str) -> Option<&Endpoint> {
        self.endpoints.get(server)
    }
}

impl Shared {
    /// The first state, with `snapshot` in force.
    ///
    /// # Errors
    /// [`ApplyError`] if the snapshot's issuers or servers, or the secrets, cannot be used.
    pub fn new(
        snapshot: Arc<Snapshot>,
        secrets: &Secrets,
        journal: Arc<Journal>,
        control: control::App,
        revocations: Revocations,
    ) -> Result<Self, ApplyError> {
        let tls = upstream::tls_client().map_err(ApplyError::Tls)?;
        let live = prepare(1, snapshot, secrets, &tls, &HashMap::new())?;
        Ok(Self {
            live: ArcSwap::from_pointee(live),
            generation: AtomicU64::new(1),
            applying: Mutex::new(()),
            journal,
            counters: Counters::default(),
            events: Events::default(),
            denials: Denials::default(),
            dialogues: Dialogues::default(),
            streams: Streams::default(),
            control,
            revocations,
            tls,
        })
    }

    /// The snapshot in force.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The generation in force: one load, for the check right before the first upstream byte.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts `snapshot` in force and gives its generation. Connections to servers that stay are kept.
    ///
    /// # Errors
    /// [`ApplyError`]; the old snapshot then stays in force.
    pub fn apply(&self, snapshot: Arc<Snapshot>, secrets: &Secrets) -> Result<u64, ApplyError> {
        let _one_at_a_time = self.applying.lock();
        let old = self.live();
        let generation = old.generation + 1;
        let live = prepare(generation, snapshot, secrets, &self.tls, &old.endpoints)?;
        self.live.store(Arc::new(live));
        self.generation.store(generation, Ordering::Release);
        // A rotated key signs checkpoints too.
        self.journal.set_key(Arc::clone(&secrets.signer));
        Ok(generation)
    }
}

fn prepare(
    generation: u64,
    snapshot: Arc<Snapshot>,
    secrets: &Secrets,
    tls: &TlsConnector,
    old: &HashMap<String, Endpoint>,
) -> Result<Live, ApplyError> {
    let mut endpoints = HashMap::new();
    for server in snapshot.servers.values() {
        let kept = old.get(&server.name).filter(|known| known.upstream.url() == server.url);
        let upstream = match kept {
            Some(known) => Arc::clone(&known.upstream),
            None => Arc::new(
                Upstream::new(&server.url, tls)
                    .map_err(|fault| ApplyError::Server { server: server.name.clone(), fault })?,
            ),
        };
        let endpoint = Endpoint {
            name: server.name.as_str().into(),
            resource: format!("{}/mcp/{}", snapshot.gateway.url, server.name).into(),
            metadata: wellknown::metadata_url(&snapshot.gateway.url, &server.name).into(),
            upstream,
            server: Arc::new(server.clone()),
            credential: match &server.identity {
                Known::Credential { credential, .. } => secrets.credentials.get(credential).cloned().map(Arc::new),
                Known::Jwt | Known::Nobody => None,
            },
        };
        endpoints.insert(server.name.clone(), endpoint);
    }
    Ok(Live {
        generation,
        documents: Documents::new(&snapshot, &secrets.jwks),
        signer: Arc::clone(&secrets.signer),
        seal: Arc::clone(&secrets.session_key),
        digest_key: Arc::clone(&secrets.digest_key),
        redaction: snapshot.audit.redaction(),
        tls: secrets.tls.clone(),
        identities: Cache::new(IDENTITIES),
        endpoints,
        snapshot,
    })
}
