//! Public keys of issuers (RFC 7517, RFC 7518 section 6, RFC 8037) and the algorithms that each may serve.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{Object, Value};

/// The signature algorithms that a pin may name; `none` and the symmetric ones have no variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Rs512, "RS512"),
        (Self::Ps256, "PS256"),
        (Self::Ps384, "PS384"),
        (Self::Ps512, "PS512"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::EdDsa, "EdDSA"),
    ];

    /// The algorithm of this exact name (RFC 7518 section 3.1, RFC 8037 section 3.1).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(algorithm, _)| algorithm)
    }
}

/// One key under one algorithm. A key that may serve two is held twice, so that a match is one comparison.
#[derive(Debug)]
pub(super) struct Key {
    pub kid: Option<String>,
    pub algorithm: Algorithm,
    pub public: ParsedPublicKey,
}

/// Reads one JWK for those of `algorithms` that its type allows.
///
/// A key for encryption, or of a type that we do not know, gives none: real key sets hold such keys (RFC 7517
/// section 5). A key that is broken, weak or private is an error.
pub(super) fn read(jwk: &Object, algorithms: &[Algorithm]) -> Result<Vec<Key>, (&'static str, String)> {
    if let Some(secret) = ["d", "p", "q", "dp", "dq", "qi", "k"].into_iter().find(|name| jwk.get(name).is_some()) {
        return Err((secret, "a private or symmetric key must never stand in a key set".to_owned()));
    }
    let text = |name: &'static str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err((name, "must be a string".to_owned())),
    };
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Ok(Vec::new());
    }
    let bound = text("alg")?;
    let kid = text("kid")?;
    let curve = text("crv")?;
    let mut keys = Vec::new();
    for algorithm in algorithms.iter().copied() {
        if bound.is_some_and(|name| Algorithm::from_name(name) != Some(algorithm)) {
            continue;
        }
        let public = match (text("kty")?, algorithm) {
            (Some("RSA"), Algorithm::Rs256) => rsa(jwk, &signature::RSA_PKCS1_2048_8192_SHA256)?,
            (Some("RSA"), Algorithm::Rs384) => rsa(jwk, &signature::RSA_PKCS1_2048_8192_SHA384)?,
            (Some("RSA"), Algorithm::Rs512) => rsa(jwk, &signature::RSA_PKCS1_2048_8192_SHA512)?,
            (Some("RSA"), Algorithm::Ps256) => rsa(jwk, &signature::RSA_PSS_2048_8192_SHA256)?,
            (Some("RSA"), Algorithm::Ps384) => rsa(jwk, &signature::RSA_PSS_2048_8192_SHA384)?,
            (Some("RSA"), Algorithm::Ps512) => rsa(jwk, &signature::RSA_PSS_2048_8192_SHA512)?,
            (Some("EC"), Algorithm::Es256) if curve == Some("P-256") => {
                elliptic(jwk, 32, &signature::ECDSA_P256_SHA256_FIXED)?
            }
            (Some("EC"), Algorithm::Es384) if curve == Some("P-384") => {
                elliptic(jwk, 48, &signature::ECDSA_P384_SHA384_FIXED)?
            }
            (Some("OKP"), Algorithm::EdDsa) if curve == Some("Ed25519") => {
                parsed("x", ParsedPublicKey::new(&signature::ED25519, member(jwk, "x")?))?
            }
            _ => continue,
        };
        keys.push(Key { kid: kid.map(str::to_owned), algorithm, public });
    }
    Ok(keys)
}

type Fault = (&'static str, String);

fn member(jwk: &Object, name: &'static str) -> Result<Vec<u8>, Fault> {
    jwk.get(name)
        .and_then(Value::as_str)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .filter(|bytes| !bytes.is_empty())
        .ok_or((name, "must be base64url without padding".to_owned()))
}

fn parsed<E>(name: &'static str, key: Result<ParsedPublicKey, E>) -> Result<ParsedPublicKey, Fault> {
    key.map_err(|_| (name, "is not a key of this type".to_owned()))
}

fn rsa(jwk: &Object, parameters: &'static signature::RsaParameters) -> Result<ParsedPublicKey, Fault> {
    let (n, e) = (member(jwk, "n")?, member(jwk, "e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) || n.first() == Some(&0) || n.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(("n", "an RSA modulus must be odd and have 2048 to 8192 bits".to_owned()));
    }
    // An exponent of one would make every signature its own message; aws-lc does not look.
    if e.len() > 4 || e.first() == Some(&0) || e == [1] || e.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(("e", "an RSA exponent must be odd, above one and within 32 bits".to_owned()));
    }
    parsed("n", RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters))
}

fn elliptic(
    jwk: &Object,
    size: usize,
    algorithm: &'static signature::EcdsaVerificationAlgorithm,
) -> Result<ParsedPublicKey, Fault> {
    let mut point = vec![4]; // SEC 1 section 2.3.3: an uncompressed point
    for name in ["x", "y"] {
        let coordinate = member(jwk, name)?;
        if coordinate.len() != size {
            return Err((name, format!("must have {size} bytes on this curve")));
        }
        point.extend_from_slice(&coordinate);
    }
    parsed("x", ParsedPublicKey::new(algorithm, point))
}
