"""Is this ID token the provider's, for us, now, and for this sign-in? As OpenID Connect Core 3.1.3.7 asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from ostiary import strictjson
from ostiary.errors import OstiaryError
from ostiary.fields import ALGORITHMS
from ostiary.identity import presets
from ostiary.jwks import KINDS, candidates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ostiary.identity.discovery import Metadata

SKEW_S: Final = 60
MIN_RSA_BITS: Final = 2048
_PUBLIC: Final = frozenset({"kty", "n", "e", "crv", "x", "y"})


class IdTokenError(OstiaryError):
    """The token is not to be believed. The message says why, and holds nothing of the token."""


class UnknownKeyError(IdTokenError):
    """None of the keys at hand made the signature: the provider may have others by now."""


class _Registry(JWSRegistry):
    """Knows the algorithms by key pair that providers may use, and no other: not `none`, none by a shared secret."""

    max_header_length = 4096

    def get_alg(self, name: str) -> Any:
        """Return one of them, without the library's warning about the name `EdDSA`."""
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(f"algorithm {name!r} is not accepted")
        return self.algorithms[name]


_REGISTRY: Final = _Registry(algorithms=list(ALGORITHMS), strict_check_header=False)


def read(
    token: str,
    keys: Sequence[Mapping[str, Any]],
    metadata: Metadata,
    client_id: str,
    *,
    now: int,
    nonce: str | None,
    access_token: str | None,
) -> dict[str, Any]:
    """Return the claims of an ID token that holds in every respect. Raises `IdTokenError`.

    `nonce` is that of the sign-in, None where the token comes with a refresh; `access_token` came beside it.
    """
    header, claims = _verify(token, keys, metadata.algorithms)
    issuer = presets.expected_issuer(metadata.issuer, claims)
    if issuer is None:
        raise IdTokenError("its `tid` is no tenant")
    from authlib.oidc.core import CodeIDToken  # loaded for a sign-in, not at each start

    wanted = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}}
    params = {"client_id": client_id, "nonce": nonce, "access_token": access_token}
    judged = CodeIDToken(claims, header, options=wanted, params=params)
    try:
        judged.validate(now=now, leeway=SKEW_S)
    except JoseError as error:
        # The text of the error may name a claim, and never holds a value.
        claim = getattr(error, "claim", None)
        raise IdTokenError(f"its `{claim}` does not hold" if claim else f"{error.error}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise IdTokenError("its claims are of the wrong type") from None
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise IdTokenError("its `sub` does not hold")
    return claims


def _verify(
    token: str, keys: Sequence[Mapping[str, Any]], algorithms: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError):
        raise IdTokenError("it is no signed token") from None
    name, kid = header.get("alg"), header.get("kid")
    if not isinstance(name, str) or name not in algorithms or name not in KINDS:
        raise IdTokenError("its algorithm is not taken")
    for key in _candidates(keys, name, kid):
        try:
            found = jws.deserialize_compact(token.encode("ascii"), key, algorithms=[name], registry=_REGISTRY)
            claims = strictjson.parse(found.payload or b"")
        except JoseError:
            continue
        except strictjson.StrictJsonError as error:
            raise IdTokenError(f"it holds no JSON: {error}") from None
        if not isinstance(claims, dict):
            raise IdTokenError("it holds no claims")
        return header, claims
    raise UnknownKeyError("no key of the provider made its signature")


def _import(kty: str, public: dict[str, str | list[str]]) -> RSAKey | ECKey | OKPKey:
    if kty == "RSA":
        return RSAKey.import_key(public)
    return ECKey.import_key(public) if kty == "EC" else OKPKey.import_key(public)


def _candidates(keys: Iterable[Mapping[str, Any]], name: str, kid: Any) -> list[RSAKey | ECKey | OKPKey]:
    found: list[RSAKey | ECKey | OKPKey] = []
    for key in candidates(keys, name, kid):
        public: dict[str, str | list[str]] = {name: key[name] for name in _PUBLIC if isinstance(key.get(name), str)}
        try:
            made = _import(key["kty"], public)
        except (JoseError, ValueError):
            continue
        if isinstance(made, RSAKey) and made.raw_value.key_size < MIN_RSA_BITS:
            continue
        found.append(made)
    return found
