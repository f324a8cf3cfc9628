//! The two public documents: protected-resource metadata (RFC 9728) per server, and our signing keys.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use ostiary_core::json::{self, Object, Value};
use ostiary_core::snapshot::Snapshot;
use ostiary_core::snapshot::control::METADATA_PREFIX;

use crate::respond::{self, Answer};

/// The scopes of the action classes, in the order in which they grow.
const SCOPES: [&str; 4] = ["mcp:read", "mcp:query", "mcp:update", "mcp:admin"];

/// Both kinds of documents, rendered once for each snapshot.
#[derive(Debug)]
pub struct Documents {
    jwks: Bytes,
    metadata: HashMap<String, Bytes>,
}

impl Documents {
    /// Renders the documents for `snapshot`; `jwks` holds public keys only.
    #[must_use]
    pub fn new(snapshot: &Snapshot, jwks: &Value) -> Self {
        let metadata = snapshot.servers.keys().map(|name| (name.clone(), render(&metadata(snapshot, name)))).collect();
        Self { jwks: render(jwks), metadata }
    }

    /// The key set.
    #[must_use]
    pub fn jwks(&self) -> Answer {
        let mut answer = respond::json(StatusCode::OK, self.jwks.clone());
        // Short, so that a rotated key is known well before the old one stops signing.
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        answer
    }

    /// The metadata of `server`, if there is such a server.
    #[must_use]
    pub fn metadata(&self, server: &str) -> Option<Answer> {
        self.metadata.get(server).cloned().map(|body| respond::json(StatusCode::OK, body))
    }

    /// The metadata at the root (RFC 9728 section 3.1), which could not say whose it is if there were several servers.
    #[must_use]
    pub fn only_metadata(&self) -> Option<Answer> {
        let mut servers = self.metadata.keys();
        match (servers.next(), servers.next()) {
            (Some(only), None) => self.metadata(only),
            _ => None,
        }
    }
}

/// Where the metadata of `server` stands.
#[must_use]
pub fn metadata_url(gateway_url: &str, server: &str) -> String {
    format!("{gateway_url}{METADATA_PREFIX}/mcp/{server}")
}

fn render(value: &Value) -> Bytes {
    let mut out = Vec::new();
    json::write(value, &mut out);
    out.into()
}

fn metadata(snapshot: &Snapshot, server: &str) -> Value {
    let mut document = Object::new();
    document.insert("resource", format!("{}/mcp/{server}", snapshot.gateway.url).into());
    let gateway = &snapshot.gateway;
    // Whoever can sign in here is sent nowhere else.
    let external = snapshot.issuers.external(server).filter(|_| !gateway.authorization_server);
    let own = (gateway.authorization_server || gateway.issues_tokens).then_some(gateway.url.as_str());
    let scopes: Vec<&str> = if gateway.authorization_server {
        gateway.default_scopes.iter().map(String::as_str).collect()
    } else {
        SCOPES.to_vec()
    };
    insert_list(&mut document, "authorization_servers", external.chain(own));
    insert_list(&mut document, "scopes_supported", scopes.into_iter());
    document.insert("bearer_methods_supported", Value::Array(vec!["header".into()]));
    document.insert("resource_name", server.into());
    Value::Object(document)
}

/// RFC 9728 wants no empty list: such a member is left out.
fn insert_list<'a>(document: &mut Object, name: &str, items: impl Iterator<Item = &'a str>) {
    let items: Vec<Value> = items.map(Value::from).collect();
    if !items.is_empty() {
        document.insert(name, Value::Array(items));
    }
}
