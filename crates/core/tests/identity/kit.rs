//! Keys, issuers and signed tokens for tests, made anew in each run.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ostiary_core::json::{Limits, Object, Value, parse, write};
use ostiary_core::snapshot::Snapshot;
use ostiary_core::token::{ServerAudience, TokenError, Verified, verify};

/// The time at which everything happens.
pub const NOW: i64 = 1_795_000_000;

pub const NOTES: ServerAudience<'static> = ServerAudience { name: "notes", url: "https://gw.test/mcp/notes" };

pub enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub struct Keys {
    pub own: Pair,
    pub stranger: Pair,
    pub p256: Pair,
    pub p384: Pair,
    pub ed: Pair,
    pub local: Pair,
}

pub static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    own: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
    stranger: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
    p256: Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
    p384: Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
    ed: Pair::Ed(Ed25519KeyPair::generate().unwrap()),
    local: Pair::Ed(Ed25519KeyPair::generate().unwrap()),
});

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn read(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::ANSWER).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub fn text(value: &Value) -> String {
    let mut out = Vec::new();
    write(value, &mut out);
    String::from_utf8(out).unwrap()
}

impl Pair {
    pub fn jwk(&self, kid: Option<&str>) -> String {
        let kid = kid.map(|kid| format!(r#""kid":"{kid}","#)).unwrap_or_default();
        match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let number = |bytes: &[u8]| encode(bytes);
                let (n, e) = (public.modulus(), public.exponent());
                let (n, e) = (number(n.big_endian_without_leading_zero()), number(e.big_endian_without_leading_zero()));
                format!(r#"{{{kid}"kty":"RSA","n":"{n}","e":"{e}"}}"#)
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                format!(r#"{{{kid}"kty":"EC","crv":"{curve}","x":"{}","y":"{}"}}"#, encode(x), encode(y))
            }
            Self::Ed(pair) => {
                format!(r#"{{{kid}"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, encode(pair.public_key()))
            }
        }
    }

    /// A signature as `alg` asks for it, or as the key makes it where the name is not one for it.
    pub fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match alg {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut out).unwrap();
                out
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// The issuers of these tests: `corp` as in the wire tests, and one for every other way of signing.
pub fn issuers() -> String {
    let keys = &*KEYS;
    let entry = |name: &str, jwks: &[String], rest: &str| {
        format!(
            r#"{{"name":"{name}","issuer":"https://{name}.test","keys":[{}],"email_domains":null,"scopes":null,{rest}}}"#,
            jwks.join(",")
        )
    };
    let list = [
        format!(
            r#"{{"name":"corp","issuer":"https://idp.test","keys":[{}],"algorithms":["RS256"],"type":"human","audience":"mcp-gw","servers":["notes"],"typ":["at+jwt"],"max_ttl_s":3600,"claims":{{"email":"sub","groups":"groups"}},"email_domains":["Example.com"],"scopes":null,"direct":true}}"#,
            keys.own.jwk(Some("corp-1"))
        ),
        entry(
            "rsa",
            &[keys.own.jwk(None)],
            r#""algorithms":["RS256","RS384","RS512","PS256","PS384","PS512"],"type":"human","audience":null,"servers":null,"typ":["JWT","application/at+jwt"],"max_ttl_s":600,"claims":{},"direct":false"#,
        ),
        entry(
            "ec",
            &[
                keys.p256.jwk(Some("p256")),
                keys.p384.jwk(Some("p384")),
                keys.ed.jwk(Some("ed")),
                r#"{"kty":"oct-like","kid":"future"}"#.to_owned(),
                r#"{"kty":"RSA","use":"enc","n":"AQ","e":"AQ"}"#.to_owned(),
            ],
            r#""algorithms":["ES256","ES384","EdDSA"],"type":"service","audience":null,"servers":null,"typ":["at+jwt"],"max_ttl_s":3600,"claims":{},"direct":false"#,
        ),
        entry(
            "two",
            &[keys.ed.jwk(Some("a")), keys.local.jwk(Some("b"))],
            r#""algorithms":["EdDSA"],"type":"agent","audience":null,"servers":["other"],"typ":["at+jwt"],"max_ttl_s":3600,"claims":{},"direct":false"#,
        ),
        format!(
            r#"{{"name":"local","issuer":"https://gw.test","keys":[{}],"algorithms":["EdDSA"],"type":"agent","audience":null,"servers":null,"typ":["at+jwt"],"max_ttl_s":3600,"claims":{{}},"email_domains":null,"scopes":null,"direct":false}}"#,
            keys.local.jwk(Some("local-1"))
        ),
    ];
    list.join(",")
}

/// A snapshot with these issuers and a small registry.
pub fn snapshot_text(issuers: &str) -> String {
    let agent = |key: &str, id: &str, clients: &str, rest: &str| {
        format!(
            r#"{{"key":"{key}","id":"{id}","owner":"alice","purpose":null,"environment":null,"clients":{clients},"ceiling":{{"servers":[],"tools":null,"classes":[]}},"expires":null{rest}}}"#
        )
    };
    format!(
        r#"{{"format":1,"partial":false,"lockdown":false,"gateway":{{"url":"https://gw.test","hosts":[],"origins":[],"refusals":"error"}},"audit":{{"durability":"by_class","redact":[]}},"issuers":[{issuers}],"people":[{{"key":"alice","id":null}},{{"key":"bob","id":"human:sso:bob"}}],"agents":[{},{},{}],"services":[{{"key":"batch","id":"service:local:batch","owner":"alice"}},{{"key":"etl","id":"service:ec:etl","owner":"alice"}}],"servers":[],"policy":{{"timezone":"UTC","rules":[]}}}}"#,
        agent("release-bot", "agent:local:release-bot", "[]", ""),
        agent(
            "claude",
            "agent:local:claude",
            r#"[["corp","claude-code"],["who","claude-code"],["local","claude-local"]]"#,
            r#","suspended":null,"third_party":"anthropic.test""#
        ),
        agent("builder", "agent:who:builder", r#"[["who","builder-client"]]"#, r#","suspended":"owner_inactive""#),
    )
}

pub fn snapshot(issuers: &str) -> Snapshot {
    Snapshot::compile(snapshot_text(issuers).as_bytes()).unwrap()
}

/// Signs exactly these two texts.
pub fn sign(pair: &Pair, alg: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = encode(pair.sign(alg, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// An object with some members changed, added or, by null, dropped.
pub fn merged(object: &Object, changes: Option<&Value>) -> Object {
    let mut object = object.clone();
    for (name, value) in changes.and_then(Value::as_object).into_iter().flat_map(Object::iter) {
        match value {
            Value::Null => drop(object.remove(name)),
            value => drop(object.insert(name, value.clone())),
        }
    }
    object
}

pub fn verified(snapshot: &Snapshot, token: &str) -> Result<Verified, TokenError> {
    verify(token, &snapshot.issuers, &NOTES, NOW)
}
