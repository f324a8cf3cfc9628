"""An identity provider in one object: a key of its own, its public half, and one token that everything accepts."""

import time
from dataclasses import dataclass
from typing import Any

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
