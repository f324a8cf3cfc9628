//! The TLS side of the listener: a certificate with its key, made ready to serve.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What HTTP/2 is called in a handshake (RFC 7301).
pub const H2: &[u8] = b"h2";

/// TLS 1.2 and 1.3 with the certificates and the key of two PEM texts, offering HTTP/2 and HTTP/1.1.
///
/// # Errors
/// A sentence that says what is wrong with the pair; it holds nothing of the key.
pub fn server_config(cert: &str, key: &str) -> Result<Arc<ServerConfig>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| "the certificate is not in PEM".to_owned())?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "there is no private key in PEM".to_owned())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
