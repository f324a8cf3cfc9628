//! Sealed texts: session ids and the like, which we hand out and later take back unread by anybody else.
//!
//! Each is encrypted and bound to a purpose and to whom it was given, so it opens for nobody else and nowhere else.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The size of the key that everything here is derived from.
pub const KEY_BYTES: usize = 32;

/// How many random bytes each sealing takes. They become the salt of a key of its own, so that even 2^48 texts
/// under one key stay far from the bound at which random nonces collide.
pub const NONCE_BYTES: usize = 24;

/// No sealed text that we hand out is longer; what is longer is refused before any work.
const MAX_SEALED_BYTES: usize = 96 * 1024;

struct Size(usize);

impl KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

/// The key of one purpose.
pub struct SealKey {
    secret: [u8; KEY_BYTES],
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(***)")
    }
}

impl SealKey {
    /// Derives the key of `purpose` from the gateway's sealing key (RFC 5869).
    ///
    /// `None` only if the cryptographic library fails.
    #[must_use]
    pub fn derive(root: &[u8; KEY_BYTES], purpose: &str) -> Option<Self> {
        let mut secret = [0; KEY_BYTES];
        expand(b"ostiary seal", root, purpose.as_bytes(), &mut secret)?;
        Some(Self { secret })
    }

    /// The derived bytes, for purposes that key a digest and seal nothing.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }

    /// Seals `plaintext` for whoever `binding` names, as visible ASCII. `nonce` must be fresh random bytes.
    #[must_use]
    pub fn seal(&self, binding: &[&str], nonce: &[u8; NONCE_BYTES], plaintext: &[u8]) -> Option<String> {
        let (key, iv) = self.once(nonce)?;
        let mut sealed = plaintext.to_vec();
        key.seal_in_place_append_tag(iv, Aad::from(bound(binding)), &mut sealed).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens a text that [`SealKey::seal`] made for the same binding; `None` for anything else.
    #[must_use]
    pub fn open(&self, binding: &[&str], sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > MAX_SEALED_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let (key, iv) = self.once(nonce)?;
        let mut text = text.to_vec();
        let length = key.open_in_place(iv, Aad::from(bound(binding)), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    fn once(&self, nonce: &[u8; NONCE_BYTES]) -> Option<(LessSafeKey, Nonce)> {
        let mut material = [0; KEY_BYTES + NONCE_LEN];
        expand(nonce, &self.secret, b"once", &mut material)?;
        let (key, iv) = material.split_at(KEY_BYTES);
        Some((LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?), Nonce::try_assume_unique_for_key(iv).ok()?))
    }
}

fn expand(salt: &[u8], secret: &[u8], info: &[u8], out: &mut [u8]) -> Option<()> {
    let key = Salt::new(HKDF_SHA256, salt).extract(secret);
    key.expand(&[info], Size(out.len())).ok()?.fill(out).ok()
}

/// Joins the parts so that no two bindings give the same bytes.
fn bound(binding: &[&str]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in binding {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part.as_bytes());
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SealKey {
        SealKey::derive(&[3; 32], "session").unwrap()
    }

    #[test]
    fn opens_only_for_the_same_key_purpose_and_binding() {
        let sealed = session().seal(&["alice", "notes"], &[9; 24], b"upstream-id").unwrap();
        assert!(sealed.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(session().open(&["alice", "notes"], &sealed).as_deref(), Some(b"upstream-id".as_slice()));
        for binding in [&["alice", "other"][..], &["alicen", "otes"], &["alice"], &["alice", "notes", ""], &[]] {
            assert_eq!(session().open(binding, &sealed), None, "{binding:?}");
        }
        let other_purpose = SealKey::derive(&[3; 32], "cursor").unwrap();
        let other_root = SealKey::derive(&[4; 32], "session").unwrap();
        assert_eq!(other_purpose.open(&["alice", "notes"], &sealed), None);
        assert_eq!(other_root.open(&["alice", "notes"], &sealed), None);
    }

    #[test]
    fn any_change_of_one_character_closes_it() {
        let sealed = session().seal(&[], &[9; 24], b"").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(session().open(&[], std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        for other in ["", "=", "AAAA", &sealed[1..], &format!("{sealed}="), &"A".repeat(100_000)] {
            assert_eq!(session().open(&[], other), None);
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", session()), "SealKey(***)");
    }
}
