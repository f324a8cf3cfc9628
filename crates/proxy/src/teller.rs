//! Answers to requests that a server made on a stream, sent one after the other: a server that asks much may not take all
//! connections to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::mpsc;

use crate::clock;
use crate::flight::{Flight, Purpose};
use crate::upstream::Upstream;

/// Answers of one stream that may wait to be sent.
const WAITING: usize = 64;
/// How long a server may take to receive one, and how much it may say to that, in bytes.
const TIME: Duration = Duration::from_secs(5);
const BYTES: usize = 64 * 1024;

/// Sends the answers of one stream. What waits is sent even when the stream has ended.
#[derive(Debug, Default)]
pub struct Teller(Option<mpsc::Sender<Request<Full<Bytes>>>>);

impl Teller {
    /// Sends `body` as a message of the session of `flight`. False if too many wait already.
    pub fn tell(&mut self, flight: &Flight, body: Vec<u8>) -> bool {
        let purpose = Purpose::Answer { id: clock::decision_id() };
        let Ok(request) = flight.request(Bytes::from(body), &purpose) else { return true };
        let queue = self.0.get_or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(WAITING);
            tokio::spawn(send_all(Arc::clone(&flight.work.endpoint.upstream), waiting));
            queue
        });
        queue.try_send(request).is_ok()
    }
}

async fn send_all(upstream: Arc<Upstream>, mut waiting: mpsc::Receiver<Request<Full<Bytes>>>) {
    while let Some(request) = waiting.recv().await {
        // If it does not arrive, the server waits in vain and the caller's own limits end the call.
        let Ok(lease) = upstream.checkout().await else { continue };
        if let Ok((response, lease)) = upstream.send(lease, request, TIME, || true).await
            && let Ok(Ok(_)) = tokio::time::timeout(TIME, Limited::new(response.into_body(), BYTES).collect()).await
        {
            upstream.put(lease);
        }
    }
}
