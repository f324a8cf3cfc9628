//! Connections to one upstream server: opening them, lending them, and never sending a request twice.
//!
//! A tool call may have run even when its answer was lost, so a request that reached a connection is
//! never sent again. Only one that hyper hands back unsent is.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection may lie idle. Servers commonly close after 5 s, and a call that races with that is lost.
const IDLE: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(5);
const IDLE_CONNECTIONS: usize = 256;
const HEADER_BYTES: usize = 64 * 1024;

/// Why no answer came from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the upstream address cannot be used: {0}")]
    Address(String),
    #[error("the upstream cannot be reached: {0}")]
    Connect(io::Error),
    /// Nothing was sent: there is nothing to be known by.
    #[error("the credential of this server is not set")]
    Credential,
    #[error("the upstream did not answer in time")]
    Timeout,
    /// Nothing was sent: the connection had to be opened anew, and meanwhile what was decided stopped holding.
    #[error("the decision no longer holds")]
    Changed,
    #[error("the upstream broke off: {0}")]
    Broken(hyper::Error),
}

/// One upstream endpoint with its idle connections.
pub struct Upstream {
    url: String,
    target: PathAndQuery,
    host: HeaderValue,
    name: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("url", &self.url).finish_non_exhaustive()
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// A connection lent for one exchange. Give it back with [`Upstream::put`] once the answer was read to its end;
/// dropping it closes the connection, which is how a call is cancelled.
#[derive(Debug)]
pub struct Lease {
    sender: Sender,
    /// Whether the connection had served another request before.
    reused: bool,
}

impl Upstream {
    /// An upstream at `url`, which the configuration has checked to be http or https.
    ///
    /// # Errors
    /// [`Fault::Address`] if `url` is not an absolute http or https URL.
    pub fn new(url: &str, tls: &TlsConnector) -> Result<Self, Fault> {
        let wrong = |why: &str| Fault::Address(format!("`{url}` {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        let authority: &Authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(wrong("is neither http nor https")),
        };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if secure {
            let server = ServerName::try_from(name.clone()).map_err(|_| wrong("has no usable host name"))?;
            Some((tls.clone(), server))
        } else {
            None
        };
        Ok(Self {
            url: url.to_owned(),
            target: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("has no usable host name"))?,
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            name,
            tls,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// The URL as it is configured.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Path and query of the endpoint, as requests carry it.
    #[must_use]
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// The `Host` field of every request.
    #[must_use]
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// A connection that is ready for a request: an idle one, or a new one.
    ///
    /// Cancel safe: a connection that is being opened is closed.
    ///
    /// # Errors
    /// [`Fault::Connect`] or [`Fault::Timeout`] after 5 s.
    pub async fn checkout(&self) -> Result<Lease, Fault> {
        if let Some(sender) = self.take_idle() {
            return Ok(Lease { sender, reused: true });
        }
        let sender = tokio::time::timeout(CONNECT, self.open()).await.map_err(|_| Fault::Timeout)??;
        Ok(Lease { sender, reused: false })
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        while let Some((sender, since)) = idle.pop() {
            if sender.is_ready() && since.elapsed() < IDLE {
                return Some(sender);
            }
        }
        None
    }

    async fn open(&self) -> Result<Sender, Fault> {
        let stream = TcpStream::connect((self.name.as_str(), self.port)).await.map_err(Fault::Connect)?;
        stream.set_nodelay(true).map_err(Fault::Connect)?;
        let mut builder = Builder::new();
        builder.max_header_size(HEADER_BYTES);
        match &self.tls {
            None => {
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Fault::Broken)?;
                tokio::spawn(connection);
                Ok(sender)
            }
            Some((connector, server)) => {
                let stream = connector.connect(server.clone(), stream).await.map_err(Fault::Connect)?;
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Fault::Broken)?;
                tokio::spawn(connection);
                Ok(sender)
            }
        }
    }

    /// Sends `request` on `lease` and gives the head of the answer.
    ///
    /// A kept connection that turns out to be closed before a byte was written is replaced once, and `holds` is asked
    /// again whether the decision still stands, since that takes time.
    /// Cancel safe: dropping closes the connection.
    ///
    /// # Errors
    /// [`Fault::Timeout`] when no head arrives within `timeout`, [`Fault::Changed`] when the decision no longer holds,
    /// [`Fault::Broken`] when the connection fails.
    pub async fn send(
        &self,
        mut lease: Lease,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        holds: impl Fn() -> bool,
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let exchange = async move {
            match lease.sender.try_send_request(request).await {
                Ok(response) => Ok((response, lease)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if lease.reused => {
                        let opened = tokio::time::timeout(CONNECT, self.open()).await;
                        let mut fresh = Lease { sender: opened.map_err(|_| Fault::Timeout)??, reused: false };
                        if !holds() {
                            return Err(Fault::Changed);
                        }
                        let response = fresh.sender.send_request(unsent).await.map_err(Fault::Broken)?;
                        Ok((response, fresh))
                    }
                    _ => Err(Fault::Broken(error.into_error())),
                },
            }
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| Fault::Timeout)?
    }

    /// Takes back a connection whose answer was read to its end.
    pub fn put(&self, lease: Lease) {
        if lease.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push((lease.sender, Instant::now()));
        }
    }
}

/// A TLS client that trusts the machine's certificate authorities.
///
/// # Errors
/// [`Fault::Address`] when the TLS library refuses its own defaults.
pub fn tls_client() -> Result<TlsConnector, Fault> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Address(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
