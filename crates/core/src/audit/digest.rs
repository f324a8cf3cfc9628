//! The digest by which a record names arguments.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Base64url of the SHA-256 of canonical arguments. The upstream token carries the same text.
#[must_use]
pub fn args_sha256(canonical: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical))
}

/// The same under a key: a plain digest of redacted arguments would let anybody try out what they were.
#[must_use]
pub fn args_sha256_keyed(key: &[u8], canonical: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_base64url_sha256_and_the_keyed_one_differs_by_key() {
        assert_eq!(args_sha256(b"{}"), "RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o");
        assert_ne!(args_sha256_keyed(b"one", b"{}"), args_sha256_keyed(b"two", b"{}"));
    }
}
