"""Our signing keys: made, rotated with overlap, and published.

One Ed25519 key signs access tokens, the token of each forwarded call, and checkpoints. After a rotation the new key
signs at once; the old one can no longer sign, and stays published until every token that it signed has expired.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from ostiary.store import StoredKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ostiary.store import Store
    from ostiary.tls import Pair

#: The longest life of a token, and a minute for clocks that differ.
OVERLAP_S: Final = 3600 + 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was made and is not in a store yet."""

    kid: str
    public: dict[str, str]
    seed: bytes = field(repr=False)


def make() -> NewKey:
    """Make an Ed25519 key; its id is the thumbprint of the public part (RFC 7638)."""
    private = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(private.public_key().public_bytes_raw())}
    kid = OKPKey.import_key(dict(jwk)).thumbprint()
    return NewKey(kid=kid, public={**jwk, "kid": kid, "alg": "EdDSA", "use": "sig"}, seed=private.private_bytes_raw())


def install(store: Store, key: NewKey, *, now: int) -> StoredKey:
    """Let `key` sign from now on, and retire the one before; `now` is seconds since the epoch."""
    store.add_key(key.kid, key.public, key.seed, now=now)
    return StoredKey(kid=key.kid, public=key.public, created_at=now, retired_at=None, seed=key.seed)


def ensure_key(store: Store, *, now: int) -> StoredKey:
    """Return the signing key, made first if the store has none."""
    return store.signing_key() or install(store, make(), now=now)


def published(store: Store, *, now: int) -> list[dict[str, str]]:
    """Return the public keys that are good for verifying at `now`, the signing one first."""
    return [key.public for key in store.all_keys() if key.retired_at is None or now < key.retired_at + OVERLAP_S]


def describe(stored: Iterable[StoredKey]) -> list[dict[str, Any]]:
    """Return what `keys list` shows of each key; nothing in it is secret."""
    return [
        {
            "kid": key.kid,
            "state": "signing" if key.retired_at is None else "retired",
            "created_at": key.created_at,
            "retired_at": key.retired_at,
            "published_until": None if key.retired_at is None else key.retired_at + OVERLAP_S,
        }
        for key in stored
    ]


def gateway_secrets(
    store: Store, *, now: int, tls: Pair | None = None, credentials: Mapping[str, str] | None = None
) -> str:
    """Return what the data plane is handed beside a snapshot, as JSON: signing and published keys, seal, TLS pair.

    `credentials` are the header values, by name, that servers are shown in place of a JWT.
    """
    key = ensure_key(store, now=now)
    return json.dumps(
        {
            "signing": {"kid": key.kid, "alg": "EdDSA", "seed": _base64url(key.seed or b"")},
            "jwks": {"keys": published(store, now=now)},
            "seal": _base64url(store.sealing.derive("session ids")),
            "tls": None if tls is None else {"cert": tls.cert, "key": tls.key},
            "credentials": dict(credentials or {}),
        },
        sort_keys=True,
    )


def checkpoint_key(store: Store, *, now: int) -> str:
    """Return the key that signs checkpoints, as the journal wants it: JSON `{kid, seed}`."""
    key = ensure_key(store, now=now)
    signing: dict[str, Any] = {"kid": key.kid, "seed": _base64url(key.seed or b"")}
    return json.dumps(signing, sort_keys=True)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
