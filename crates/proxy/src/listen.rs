//! The public listener: accepts connections, hands each request to the pipeline, and drains on stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use crate::pipeline;
use crate::state::Shared;
use crate::trail;

/// Connections served at once; one more waits in the kernel's queue.
const CONNECTIONS: usize = 8_192;
/// The largest request head (request line and fields), in bytes; a larger one is answered with 431.
const HEAD_BYTES: usize = 32 * 1024;
const HEAD_FIELDS: usize = 64;
/// How long a client may take to send a head, an idle kept connection included.
const HEAD_TIME: Duration = Duration::from_secs(60);
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
        let reporting = Arc::clone(&shared);
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(pipeline::answer(shared, peer, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_headers(HEAD_FIELDS)
            .max_header_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Other errors are the client's broken connection; what became of its requests is recorded elsewhere.
            if connection.await.is_err_and(|error| error.is_parse()) {
                trail::unreadable(&reporting, peer);
            }
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
