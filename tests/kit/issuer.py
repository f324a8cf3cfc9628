"""An identity provider's signing side: keys, a JWKS file, and tokens with any header and any claims.

Signing is done by hand on `cryptography`, because a JWT library refuses to make most of the tokens needed here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HASHES: Mapping[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Read base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One signing key under one key id and one algorithm."""

    kid: str
    alg: str
    private: Private

    @property
    def jwk(self) -> dict[str, str]:
        """The public JWK (RFC 7517, RFC 8037)."""
        common = {"kid": self.kid, "alg": self.alg, "use": "sig"}
        if isinstance(self.private, rsa.RSAPrivateKey):
            rsa_numbers = self.private.public_key().public_numbers()
            return common | {"kty": "RSA", "n": _number(rsa_numbers.n), "e": _number(rsa_numbers.e)}
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            numbers = self.private.public_key().public_numbers()
            curve, size = ("P-256", 32) if self.alg == "ES256" else ("P-384", 48)
            return common | {"kty": "EC", "crv": curve, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return common | {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}

    @property
    def pem(self) -> bytes:
        """The public key as PEM: what key-confusion attacks use as an HMAC secret."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data: bytes) -> bytes:
        """Return the JWS signature (RFC 7518 section 3, RFC 8037)."""
        bits = HASHES.get(self.alg[2:], HASHES["256"])
        if isinstance(self.private, rsa.RSAPrivateKey):
            pss = padding.PSS(mgf=padding.MGF1(bits), salt_length=bits.digest_size)
            return self.private.sign(data, pss if self.alg.startswith("PS") else padding.PKCS1v15(), bits)
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(bits)))
            return r.to_bytes(bits.digest_size) + s.to_bytes(bits.digest_size)
        return self.private.sign(data)


@cache
def new_key(alg: str, kid: str) -> Key:
    """Make a key; the same name gives the same key within one run, since RSA keys are slow to make."""
    private: Private
    if alg.startswith(("RS", "PS")):
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elif alg.startswith("ES"):
        private = ec.generate_private_key(ec.SECP256R1() if alg == "ES256" else ec.SECP384R1())
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    return Key(kid=kid, alg=alg, private=private)


def as_bytes(part: Mapping[str, Any] | bytes) -> bytes:
    """Return JSON text; bytes are kept, for text that no encoder writes (duplicate keys, odd numbers)."""
    return part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()


def compact(header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, key: Key | bytes | None) -> str:
    """Lay out a compact JWS: signed by `key`, by HMAC-SHA256 under a byte secret, or with an empty signature."""
    signed = f"{b64(as_bytes(header))}.{b64(as_bytes(payload))}"
    if key is None:
        return f"{signed}."
    if isinstance(key, bytes):
        return f"{signed}.{b64(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a compact JWS, unchecked."""
    header, payload, _ = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(payload))


@dataclass(kw_only=True)
class Issuer:
    """One issuer as the gateway's `identity.issuers` pins it, and the tokens that it signs."""

    name: str = "corp"
    issuer: str = "https://idp.test"
    alg: str = "RS256"
    audience: str = "mcp-gw"
    type: str = "human"
    kids: list[str] = field(default_factory=lambda: ["corp-1"])

    @property
    def key(self) -> Key:
        """The key in use."""
        return new_key(self.alg, self.kids[-1])

    @property
    def jwks(self) -> dict[str, Any]:
        """The published key set."""
        return {"keys": [new_key(self.alg, kid).jwk for kid in self.kids]}

    def write(self, file: Path) -> None:
        """Write the key set, whole or not at all."""
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(self.jwks))
        draft.replace(file)

    def header(self, **changes: Any) -> dict[str, Any]:
        """Return a sound header with `changes`; a member set to `...` is left out."""
        return _changed({"alg": self.alg, "kid": self.key.kid, "typ": "at+jwt"}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return sound claims with `changes`; a member set to `...` is left out."""
        now = int(time.time())
        sound = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "alice@example.com",
            "client_id": "desktop",
            "groups": ["dev"],
            "iat": now,
            "exp": now + 600,
            "jti": str(uuid.uuid4()),
        }
        return _changed(sound, changes)

    def token(self, header: Mapping[str, Any] | None = None, /, **claims: Any) -> str:
        """Return a token that is sound but for what is given."""
        return compact(self.header(**(header or {})), self.claims(**claims), self.key)


def _changed(sound: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (sound | dict(changes)).items() if value is not ...}
