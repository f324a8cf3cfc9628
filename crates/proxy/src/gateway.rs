//! The running data plane: started, given new snapshots, asked for news, and stopped.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ostiary_core::epoch::Epoch;
use ostiary_core::snapshot::Snapshot;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::control;
use crate::journal::Journal;
use crate::listen::{self, Stop};
use crate::revocations::Revocations;
use crate::secrets::Secrets;
use crate::state::{ApplyError, Shared};

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on `{address}`: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot start the worker threads: {0}")]
    Threads(io::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// One listener with its worker threads.
#[derive(Debug)]
pub struct Gateway {
    runtime: Mutex<Option<Runtime>>,
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Mutex<Option<oneshot::Sender<Stop>>>,
}

impl Gateway {
    /// Binds `listen` and serves `snapshot` on `threads` worker threads. `control` is the socket of the control app;
    /// `revocations` count from the first request on.
    ///
    /// # Errors
    /// When the address cannot be bound, the threads cannot be started, or the secrets do not fit.
    pub fn start(
        listen: &str,
        snapshot: Arc<Snapshot>,
        secrets: &Secrets,
        journal: Arc<Journal>,
        threads: usize,
        control: Option<PathBuf>,
        revocations: Revocations,
    ) -> Result<Self, StartError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("ostiary")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let refused = |source| StartError::Listen { address: listen.to_owned(), source };
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared::new(snapshot, secrets, journal, control::App::new(control), revocations)?);
        let (stop, stopped) = oneshot::channel();
        runtime.spawn(listen::serve(listener, Arc::clone(&shared), stopped));
        runtime.spawn(crate::denials::report(Arc::clone(&shared)));
        runtime.spawn(crate::dialogue::sweep(Arc::clone(&shared)));
        Ok(Self { runtime: Mutex::new(Some(runtime)), shared, address, stop: Mutex::new(Some(stop)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts a new snapshot in force for every request that is not yet being sent upstream.
    ///
    /// # Errors
    /// [`ApplyError`]; the old snapshot then stays in force.
    pub fn apply(&self, snapshot: Arc<Snapshot>, secrets: &Secrets) -> Result<u64, ApplyError> {
        self.shared.apply(snapshot, secrets)
    }

    /// Takes the word of the store: from now on what these epochs speak of is refused, and its open streams end. That
    /// there is nothing new is a word too.
    pub fn revoke(&self, epochs: &[Epoch]) {
        self.shared.revocations.add(epochs);
    }

    /// The principals that were there since this was last asked, with the second of their last request, as JSON.
    #[must_use]
    pub fn uses(&self) -> String {
        self.shared.revocations.uses()
    }

    /// News for the control plane, as JSON texts; waits up to `timeout` for some.
    #[must_use]
    pub fn events(&self, timeout: Duration) -> Vec<String> {
        self.shared.events.take(timeout)
    }

    /// The counters by name.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.read()
    }

    /// Stops accepting, lets requests finish for up to `grace`, then cuts. True if nothing was cut.
    pub fn stop(&self, grace: Duration) -> bool {
        let Some(stop) = self.stop.lock().take() else { return true };
        let (done, drained) = oneshot::channel();
        let asked = stop.send((grace, done)).is_ok();
        let Some(runtime) = self.runtime.lock().take() else { return true };
        let clean = asked && runtime.block_on(drained).unwrap_or(false);
        runtime.shutdown_timeout(Duration::from_secs(1));
        self.shared.dialogues.clear();
        crate::denials::flush(&self.shared);
        clean
    }
}
