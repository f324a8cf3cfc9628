//! The public listener: accepts connections, hands each request to the pipeline, and drains on stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::door::peers::{Peers, Place};
use crate::door::second::{self, BEAT, Streams};
use crate::door::times::{HANDSHAKE, HEAD, IDLE, WRITE};
use crate::door::{Door, Verdict, Wire, tls};
use crate::pipeline;
use crate::state::Shared;

/// Connections served at once; one more waits in the kernel's queue.
const CONNECTIONS: usize = 8_192;
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a connection of HTTP/2 that is to end is looked after, and how long after its last answer a client that does
/// not go by itself is cut.
const LAST_BEAT: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(3);

/// What stops the listener: the time to drain, and where to say whether every request was finished.
pub type Stop = (Duration, oneshot::Sender<bool>);

/// Serves `listener` until `stop` arrives, then drains.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: oneshot::Receiver<Stop>) {
    let (draining, stopping) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Peers::default();
    let order = loop {
        let accepted = tokio::select! {
            order = &mut stop => break order.ok(),
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = peers.admit(peer.ip(), &shared.live().snapshot.gateway.trusted_proxies) else {
            shared.counters.turned_away.add();
            continue;
        };
        let connection =
            Connection { peer, shared: Arc::clone(&shared), stopping: stopping.clone(), _room: (slot, place) };
        tokio::spawn(connection.run(stream));
    };
    drop((listener, stopping));
    if let Some((grace, done)) = order {
        let _ = draining.send(true);
        let drained = tokio::time::timeout(grace, draining.closed()).await.is_ok();
        let _ = done.send(drained);
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    let (stream, peer) = listener.accept().await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some((stream, peer, slot))
}

/// One connection, whatever is spoken on it.
struct Connection {
    peer: SocketAddr,
    shared: Arc<Shared>,
    /// True once no new request is taken. Dropped when the connection is over, which is what draining waits for.
    stopping: watch::Receiver<bool>,
    _room: (OwnedSemaphorePermit, Place),
}

impl Connection {
    /// Errors are the client's broken connection; what became of its requests is recorded elsewhere.
    async fn run(mut self, stream: TcpStream) {
        let Some(config) = self.shared.live().tls.clone() else {
            return self.first(stream).await;
        };
        let accepting = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream));
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            _ = self.stopping.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(tls::H2) => self.second(stream).await,
            Ok(Ok(stream)) => self.first(stream).await,
            // Not TLS, no common version or protocol, or too slow.
            Ok(Err(_)) | Err(_) => self.shared.counters.handshakes_failed.add(),
        }
    }

    /// HTTP/1.1, behind the reader of raw heads.
    async fn first<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S) {
        let verdict = Verdict::default();
        let door = Door::new(stream, verdict.clone());
        let (shared, peer) = (Arc::clone(&self.shared), self.peer);
        let service = service_fn(move |mut request| {
            let shared = Arc::clone(&shared);
            verdict.deliver(&mut request);
            async move { Ok::<_, Infallible>(pipeline::answer(shared, peer, request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
        let mut connection = pin!(builder.serve_connection(door, service));
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            _ = self.stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    /// HTTP/2. The library knows no idle time, so that is kept here.
    async fn second<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S) {
        let streams = Arc::new(Streams::default());
        let (shared, peer, opening) = (Arc::clone(&self.shared), self.peer, Arc::clone(&streams));
        let service = service_fn(move |mut request| {
            let (shared, open) = (Arc::clone(&shared), opening.open());
            second::level(&mut request);
            let only_head = request.method() == Method::HEAD;
            async move {
                let mut answer = pipeline::answer(shared, peer, request).await;
                if only_head {
                    second::leave_out_body(&mut answer);
                }
                Ok::<_, Infallible>(answer.map(|body| open.answered(body)))
            }
        });
        let mut connection = pin!(second::builder().serve_connection(TokioIo::new(Wire::new(stream)), service));
        let mut quiet = Quiet::new();
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let end = tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                _ = self.stopping.wait_for(|stopping| *stopping), if !quiet.ending => true,
                () = streams.flooded.notified() => return,
                // The connection has one reference, and its service another.
                now = beat.tick() => match quiet.judge(streams.beat(2), streams.waiting(), now) {
                    Step::Wait => false,
                    Step::End => true,
                    Step::Cut => return,
                },
            };
            if end {
                quiet.ending = true;
                connection.as_mut().graceful_shutdown();
                beat = tokio::time::interval_at(Instant::now() + LAST_BEAT, LAST_BEAT);
            }
        }
    }
}

/// How long nothing has been asked on a connection, or nothing of its answers been taken.
struct Quiet {
    since: Instant,
    taken: (u64, Instant),
    used: bool,
    ending: bool,
}

/// What is to be done about it.
enum Step {
    Wait,
    End,
    Cut,
}

impl Quiet {
    fn new() -> Self {
        let now = Instant::now();
        Self { since: now, taken: (0, now), used: false, ending: false }
    }

    /// Ends a connection that is idle. Cuts one that has been told so and has had time to send what was left, and one
    /// whose client takes none of its answers. `waiting` is how many pieces it took, if there is more for it.
    fn judge(&mut self, busy: bool, waiting: Option<u64>, now: Instant) -> Step {
        match waiting {
            Some(taken) if taken == self.taken.0 => {
                if now.duration_since(self.taken.1) >= WRITE {
                    return Step::Cut;
                }
            }
            other => self.taken = (other.unwrap_or(self.taken.0), now),
        }
        if busy {
            (self.since, self.used) = (now, true);
            return Step::Wait;
        }
        if self.ending {
            return if now.duration_since(self.since) < LAST { Step::Wait } else { Step::Cut };
        }
        let most = if self.used { IDLE } else { HEAD };
        if now.duration_since(self.since) < most { Step::Wait } else { Step::End }
    }
}
