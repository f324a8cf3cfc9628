//! The public listener: accepts connections, hands each request to the pipeline, and drains on stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use crate::door::{Door, Verdict};
use crate::pipeline;
use crate::state::Shared;

/// Connections served at once; one more waits in the kernel's queue.
const CONNECTIONS: usize = 8_192;
/// How long a kept connection may lie idle.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What stops the listener: the time to drain, and where to say whether every request was finished.
pub type Stop = (Duration, oneshot::Sender<bool>);

/// Serves `listener` until `stop` arrives, then drains.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: oneshot::Receiver<Stop>) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let order = loop {
        let accepted = tokio::select! {
            order = &mut stop => break order.ok(),
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let verdict = Verdict::default();
        let door = Door::new(stream, verdict.clone());
        let service = service_fn(move |mut request| {
            let shared = Arc::clone(&shared);
            verdict.deliver(&mut request);
            async move { Ok::<_, Infallible>(pipeline::answer(shared, peer, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIME)
            .serve_connection(door, service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // An error is the client's broken connection; what became of its requests is recorded elsewhere.
            let _ = connection.await;
            drop(slot);
        });
    };
    drop(listener);
    if let Some((grace, done)) = order {
        let drained = tokio::time::timeout(grace, graceful.shutdown()).await.is_ok();
        let _ = done.send(drained);
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    let (stream, peer) = listener.accept().await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some((stream, peer, slot))
}
