"""An identity provider in one object: a key of its own, its public half, and one token that everything accepts."""

import datetime
import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import RSAKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the gateway and Envoy are told to trust, and the token of a caller who may call `echo`."""

    issuer: str
    audience: str
    subject: str
    jwks: dict[str, Any]
    token: str


def make() -> Identity:
    """A fresh 2048-bit RSA key and an RS256 access token (RFC 9068) that lives for 59 minutes."""
    key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": "RS256"})
    now = int(time.time())
    claims = {
        "iss": "https://idp.test",
        "aud": "mcp-gw",
        "sub": "alice@example.com",
        "client_id": "bench",
        "groups": ["dev"],
        "scope": "mcp:read mcp:query",
        "iat": now,
        "exp": now + 59 * 60,
        "jti": f"bench-{now}",
    }
    token = jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": "bench"}, claims, key)
    public = key.as_dict(private=False)
    return Identity(
        issuer="https://idp.test", audience="mcp-gw", subject="alice@example.com", jwks={"keys": [public]}, token=token
    )


def certificate(folder: Path) -> None:
    """Write `cert.pem` and `key.pem` for 127.0.0.1, signed by nobody else, good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
