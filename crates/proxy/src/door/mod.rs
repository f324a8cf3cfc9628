//! One connection as the HTTP library sees it: only bytes that the reader of raw heads has passed.
//!
//! A refused head is not swallowed and not answered here. The library is given a head in its place that no client can
//! send, so that the refusal is answered in its turn and recorded like every other, by the pipeline. A body that breaks
//! its framing fails the read. Waiting has limits here as far as the library cannot see what it waits for: a head that
//! has begun, a connection that never says anything, and a client that does not take its answer.

pub mod peers;
mod reader;
pub mod second;
pub mod times;
pub mod tls;
mod wire;

use std::sync::Arc;

use http::{Method, Request, Uri};
use ostiary_core::head::frame::{REFUSED, Refused};
use parking_lot::Mutex;

pub use reader::Door;
pub use wire::Wire;

/// The refused head of one connection, on its way to the pipeline past the library.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<Mutex<Option<Box<Refused>>>>);

impl Verdict {
    fn set(&self, refused: Box<Refused>) {
        *self.0.lock() = Some(refused);
    }

    /// If `request` stands for a refused head, lays the refusal in its extensions, and what could be read of the head
    /// in the place of the stand-in.
    pub fn deliver<B>(&self, request: &mut Request<B>) {
        if request.method().as_str() != REFUSED {
            return;
        }
        if let Some(refused) = self.0.lock().take() {
            request.headers_mut().clear();
            *request.method_mut() = Method::from_bytes(refused.method.as_bytes()).unwrap_or_default();
            *request.uri_mut() = refused.path.parse().unwrap_or_else(|_| Uri::default());
            request.extensions_mut().insert(refused);
        }
    }
}
