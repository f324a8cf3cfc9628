//! How long a connection may keep us waiting.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// From the opening of a connection to the end of its TLS handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// From the first byte of a head to its end, and from the opening of a connection to the end of its first head.
pub const HEAD: Duration = Duration::from_secs(10);
/// How long a kept connection may lie idle.
pub const IDLE: Duration = Duration::from_secs(60);
/// How long a client may leave an answer untaken.
pub const WRITE: Duration = Duration::from_secs(60);
/// After a refusal: how long what the client still sends is read and dropped, so that the answer reaches it and is not
/// destroyed by a reset.
pub const LINGER: Duration = Duration::from_secs(1);

/// A timer that exists while it is needed.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once `deadline` has passed.
    pub fn poll_at(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    }

    /// Ready once `time` has passed since the first call.
    pub fn poll_after(&mut self, time: Duration, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.0.as_ref().map_or_else(|| Instant::now() + time, |sleep| sleep.deadline());
        self.poll_at(deadline, context)
    }

    /// Forgets the deadline.
    pub fn stop(&mut self) {
        self.0 = None;
    }
}
