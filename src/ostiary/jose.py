"""The signature algorithms that we make and accept, pinned in one place.

joserfc warns on each use of the name `EdDSA`, which RFC 9864 replaces by `Ed25519`; MCP clients and servers still
expect the old name, so this registry hands it out without the warning, and hands out nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from joserfc import jws
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping


#: Algorithm to (key type, curve): a key of another kind is never tried.
KINDS = {"EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256")}


class PinnedRegistry(JWSRegistry):
    """Knows EdDSA and ES256 and no other algorithm, `none` included."""

    def get_alg(self, name: str) -> Any:
        """Return one of the two."""
        if name not in KINDS:
            raise UnsupportedAlgorithmError(f"algorithm {name!r} is not accepted")
        return self.algorithms[name]


REGISTRY = PinnedRegistry(algorithms=list(KINDS))


def import_public(jwk: Mapping[str, Any]) -> OKPKey | ECKey | None:
    """Return the key of a public JWK, or `None` if it is of no kind that we accept."""
    kind = (jwk.get("kty"), jwk.get("crv"))
    alg = next((name for name, accepted in KINDS.items() if accepted == kind), None)
    if alg is None or jwk.get("alg", alg) != alg or jwk.get("use", "sig") != "sig":
        return None
    public = {name: value for name, value in jwk.items() if name in {"kty", "crv", "x", "y"}}
    return OKPKey.import_key(public) if kind[0] == "OKP" else ECKey.import_key(public)


def sign(header: dict[str, Any], payload: bytes, seed: bytes) -> str:
    """Return the compact JWS of `payload`, signed with EdDSA by the Ed25519 private key `seed`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(seed))
    return jws.serialize_compact({"alg": "EdDSA", **header}, payload, key, registry=REGISTRY)
