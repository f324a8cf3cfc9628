//! What the data plane is given in memory and never writes: the signing key, the sealing key, the credentials for servers,
//! and the key set to publish.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use ostiary_core::json::{self, Limits, Value};
use ostiary_core::seal::{KEY_BYTES, SealKey};
use ostiary_core::token::SigningKey;
use rustls::ServerConfig;

use crate::door::tls;

/// Why the secrets cannot be used. The message never holds one.
#[derive(Debug, thiserror::Error)]
#[error("secrets: {0}")]
pub struct SecretsError(String);

/// Keys for one generation of the data plane.
pub struct Secrets {
    pub signer: Arc<SigningKey>,
    pub session_key: Arc<SealKey>,
    /// Keys the digests of arguments that are not recorded in clear.
    pub digest_key: Arc<[u8]>,
    /// The public keys, as they are published.
    pub jwks: Value,
    /// What servers know us by, by name; every value is marked as sensitive.
    pub credentials: HashMap<String, HeaderValue>,
    /// Certificate and key of the listener, if it speaks TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

fn wrong(why: &str) -> SecretsError {
    SecretsError(why.to_owned())
}

fn text<'a>(object: &'a Value, name: &str) -> Result<&'a str, SecretsError> {
    object.get(name).and_then(Value::as_str).ok_or_else(|| SecretsError(format!("`{name}` must be a string")))
}

/// Reads a signing key from `{"kid", "seed"}`, the seed being 32 bytes in base64url.
///
/// # Errors
/// [`SecretsError`] if a member is missing or the seed is not one.
pub fn signing_key(given: &str) -> Result<SigningKey, SecretsError> {
    let parsed = json::parse(given.as_bytes(), &Limits::DEFAULT).map_err(|_| wrong("the signing key is not JSON"))?;
    read_signing_key(&parsed)
}

fn read_signing_key(value: &Value) -> Result<SigningKey, SecretsError> {
    SigningKey::from_encoded_seed(text(value, "kid")?, text(value, "seed")?)
        .ok_or_else(|| wrong("`seed` must be 32 bytes in base64url"))
}

impl Secrets {
    /// Reads `{"signing": {"kid", "alg", "seed"}, "jwks", "seal", "credentials": {NAME: header value}, "tls": {"cert",
    /// "key"}}`; without `tls` the listener speaks plainly.
    ///
    /// # Errors
    /// [`SecretsError`] for a member that is missing or cannot be used, or a key set with a private member.
    pub fn read(given: &str) -> Result<Self, SecretsError> {
        let parsed = json::parse(given.as_bytes(), &Limits::DEFAULT).map_err(|_| wrong("they are not JSON"))?;
        let signing = parsed.get("signing").ok_or_else(|| wrong("`signing` is missing"))?;
        if text(signing, "alg")? != "EdDSA" {
            return Err(wrong("`signing.alg` must be EdDSA"));
        }
        let signer = Arc::new(read_signing_key(signing)?);
        let jwks = parsed.get("jwks").ok_or_else(|| wrong("`jwks` is missing"))?.clone();
        let keys = jwks.get("keys").and_then(Value::as_array).ok_or_else(|| wrong("`jwks.keys` must be a list"))?;
        if keys.iter().any(|key| ["d", "k", "p", "q"].iter().any(|name| key.get(name).is_some())) {
            return Err(wrong("`jwks` holds a private key"));
        }
        let root: [u8; KEY_BYTES] = URL_SAFE_NO_PAD
            .decode(text(&parsed, "seal")?)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| wrong("`seal` must be 32 bytes in base64url"))?;
        let session_key = SealKey::derive(&root, "mcp session").ok_or_else(|| wrong("no key can be derived"))?;
        let digest_key = SealKey::derive(&root, "arguments digest").ok_or_else(|| wrong("no key can be derived"))?;
        let tls = parsed.get("tls").filter(|tls| **tls != Value::Null);
        let tls = tls.map(|tls| tls::server_config(text(tls, "cert")?, text(tls, "key")?).map_err(SecretsError));
        Ok(Self {
            signer,
            session_key: Arc::new(session_key),
            digest_key: digest_key.bytes().as_slice().into(),
            jwks,
            credentials: credentials(&parsed)?,
            tls: tls.transpose()?,
        })
    }
}

/// The credentials for servers. A value is never part of what is said about it.
fn credentials(secrets: &Value) -> Result<HashMap<String, HeaderValue>, SecretsError> {
    let Some(given) = secrets.get("credentials").filter(|given| **given != Value::Null) else {
        return Ok(HashMap::new());
    };
    let given = given.as_object().ok_or_else(|| wrong("`credentials` must be an object"))?;
    let read = given.iter().map(|(name, value)| {
        let visible = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let text = value.as_str().filter(|text| !text.is_empty() && text.trim() == *text).filter(visible);
        let value = text.and_then(|text| HeaderValue::from_str(text).ok());
        let mut value = value.ok_or_else(|| SecretsError(format!("credential `{name}` is no header value")))?;
        value.set_sensitive(true);
        Ok((name.to_owned(), value))
    });
    read.collect()
}
