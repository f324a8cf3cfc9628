//! The token that goes upstream with one call (DESIGN section 4, "Upstream identity").

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::write_str;

/// How long a call's token lives, in seconds.
const TTL_S: i64 = 60;

/// The gateway's own Ed25519 key, with the headers that it signs under laid out in advance.
pub struct SigningKey {
    kid: String,
    pair: Ed25519KeyPair,
    call_header: String,
    checkpoint_header: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key grown from a seed of 32 bytes (RFC 8032 section 5.1.5); `None` if it is not one.
    #[must_use]
    pub fn from_seed(kid: &str, seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Self {
            kid: kid.to_owned(),
            pair,
            call_header: header(kid, "ostiary+jwt"),
            checkpoint_header: header(kid, "ostiary-checkpoint+jwt"),
        })
    }

    /// The same from the seed's base64url form, as secrets are handed over.
    #[must_use]
    pub fn from_encoded_seed(kid: &str, seed: &str) -> Option<Self> {
        Self::from_seed(kid, &URL_SAFE_NO_PAD.decode(seed).ok()?)
    }

    /// The key's identifier.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs an audit checkpoint's payload; the type keeps it from ever being taken for a call's token.
    pub(crate) fn sign_checkpoint(&self, payload: &[u8]) -> String {
        self.sign(&self.checkpoint_header, payload)
    }

    fn sign(&self, header: &str, payload: &[u8]) -> String {
        let mut token = String::with_capacity(header.len() + payload.len() * 4 / 3 + 96);
        token.push_str(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

fn header(kid: &str, typ: &str) -> String {
    let mut json = br#"{"alg":"EdDSA","kid":"#.to_vec();
    write_str(kid, &mut json);
    json.extend_from_slice(br#","typ":"#);
    write_str(typ, &mut json);
    json.push(b'}');
    URL_SAFE_NO_PAD.encode(json)
}

/// What a call's token says. `sub`, `client_id` and `iss` stay the same for a principal: servers bind sessions to
/// them.
#[derive(Debug, Clone, Copy)]
pub struct Assertion<'a> {
    /// The gateway's public address.
    pub iss: &'a str,
    /// The upstream.
    pub aud: &'a str,
    /// The principal id of the subject.
    pub sub: &'a str,
    pub client_id: Option<&'a str>,
    /// Principal ids of who acts for the subject, the present actor first.
    pub act: &'a [String],
    /// The decision's id.
    pub jti: &'a str,
    pub server: &'a str,
    pub tool: Option<&'a str>,
    /// Digest of the canonical arguments, in base64url.
    pub args_sha256: Option<&'a str>,
    pub task: Option<&'a str>,
    pub purpose: Option<&'a str>,
}

/// Mints the token of one call at `now_s` seconds since the epoch.
#[must_use]
pub fn mint(key: &SigningKey, claims: &Assertion<'_>, now_s: i64) -> String {
    let mut out = Vec::with_capacity(512);
    out.push(b'{');
    for (name, value) in [
        ("args_sha256", claims.args_sha256),
        ("aud", Some(claims.aud)),
        ("client_id", claims.client_id),
        ("iss", Some(claims.iss)),
        ("jti", Some(claims.jti)),
        ("purpose", claims.purpose),
        ("server", Some(claims.server)),
        ("sub", Some(claims.sub)),
        ("task", claims.task),
        ("tool", claims.tool),
    ] {
        if let Some(value) = value {
            write_str(name, &mut out);
            out.push(b':');
            write_str(value, &mut out);
            out.push(b',');
        }
    }
    for actor in claims.act {
        out.extend_from_slice(br#""act":{"sub":"#);
        write_str(actor, &mut out);
        out.push(b',');
    }
    if !claims.act.is_empty() {
        out.pop();
        out.extend(std::iter::repeat_n(b'}', claims.act.len()));
        out.push(b',');
    }
    out.extend_from_slice(format!(r#""iat":{now_s},"exp":{}}}"#, now_s.saturating_add(TTL_S)).as_bytes());
    key.sign(&key.call_header, &out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, Value, canonical, parse};

    #[test]
    fn the_token_of_a_call_says_all_and_verifies() {
        let key = SigningKey::from_seed("k1", &[7; 32]).unwrap();
        let act = ["agent:client:a".to_owned(), "agent:corp:b".to_owned()];
        let claims = Assertion {
            iss: "https://gw",
            aud: "http://up/mcp",
            sub: "human:corp:a\"b",
            client_id: Some("cid"),
            act: &act,
            jti: "id-1",
            server: "notes",
            tool: Some("echo"),
            args_sha256: Some("xyz"),
            task: None,
            purpose: None,
        };
        let token = mint(&key, &claims, 1_000);
        let parts: Vec<&str> = token.split('.').collect();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        assert_eq!(decode(parts[0]), br#"{"alg":"EdDSA","kid":"k1","typ":"ostiary+jwt"}"#);
        let said = parse(&decode(parts[1]), &Limits::DEFAULT).unwrap();
        let mut text = Vec::new();
        canonical(&said, &mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            concat!(
                r#"{"act":{"act":{"sub":"agent:corp:b"},"sub":"agent:client:a"},"args_sha256":"xyz","aud":"http://up/mcp","#,
                r#""client_id":"cid","exp":1060,"iat":1000,"iss":"https://gw","jti":"id-1","server":"notes","#,
                r#""sub":"human:corp:a\"b","tool":"echo"}"#
            )
        );
        let signed = format!("{}.{}", parts[0], parts[1]);
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key.public())
            .verify(signed.as_bytes(), &decode(parts[2]))
            .unwrap();
        let alone = mint(&key, &Assertion { act: &[], client_id: None, tool: None, args_sha256: None, ..claims }, 1);
        let said = parse(&decode(alone.split('.').nth(1).unwrap()), &Limits::DEFAULT).unwrap();
        assert_eq!(said.get("act").or(said.get("client_id")).or(said.get("tool")), None::<&Value>);
    }

    #[test]
    fn a_seed_of_the_wrong_size_is_no_key_and_debug_shows_no_secret() {
        assert!(SigningKey::from_seed("k", &[1; 31]).is_none());
        assert!(SigningKey::from_encoded_seed("k", "not base64!").is_none());
        let shown = format!("{:?}", SigningKey::from_seed("k", &[1; 32]).unwrap());
        assert_eq!(shown, r#"SigningKey { kid: "k", .. }"#);
    }
}
