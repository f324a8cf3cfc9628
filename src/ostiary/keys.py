"""Our signing keys: made, rotated with overlap, and published.

One Ed25519 key signs access tokens, the token of each forwarded call, and checkpoints. After a rotation the new key
signs at once; the old one can no longer sign, and stays published until every token that it signed has expired.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

if TYPE_CHECKING:
    from ostiary.store import Store, StoredKey

#: The longest life of a token, and a minute for clocks that differ.
OVERLAP_S: Final = 3600 + 60


def ensure_key(store: Store, *, now: int) -> StoredKey:
    """Return the signing key, made first if the store has none."""
    return store.signing_key() or rotate(store, now=now)


def rotate(store: Store, *, now: int) -> StoredKey:
    """Make a new signing key and retire the one before; `now` is seconds since the epoch."""
    private = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(private.public_key().public_bytes_raw())}
    kid = OKPKey.import_key(dict(jwk)).thumbprint()
    store.add_key(kid, {**jwk, "kid": kid, "alg": "EdDSA", "use": "sig"}, private.private_bytes_raw(), now=now)
    key = store.signing_key()
    if key is None:  # add_key has just made it; without this the type would say otherwise
        raise AssertionError("a store lost its new key")
    return key


def published(store: Store, *, now: int) -> list[dict[str, str]]:
    """Return the public keys that are good for verifying at `now`, the signing one first."""
    return [key.public for key in store.all_keys() if key.retired_at is None or now < key.retired_at + OVERLAP_S]


def gateway_secrets(store: Store, *, now: int) -> str:
    """Return what the data plane is handed beside a snapshot, as JSON: signing key, published keys, session seal."""
    key = ensure_key(store, now=now)
    return json.dumps(
        {
            "signing": {"kid": key.kid, "alg": "EdDSA", "seed": _base64url(key.seed or b"")},
            "jwks": {"keys": published(store, now=now)},
            "seal": _base64url(store.sealing.derive("session ids")),
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
