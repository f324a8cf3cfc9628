"""Signed statements of others: compact JWS with JSON claims, read strictly and checked by public keys (RFC 7515, 7519).

What may be signed with what is pinned here, whatever a header says. A header can only pick among the keys that are
known of its issuer; it can bring none, and name no place to fetch one from.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from ostiary import strictjson
from ostiary.errors import OstiaryError
from ostiary.fields import ALGORITHMS
from ostiary.jwks import candidates

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from ostiary.jwks import Key

    #: Returns the keys of an issuer; asked with True, those that a fresh look brings.
    KeySource = Callable[[bool], Sequence[Key]]

MAX_CHARS: Final = 16 * 1024
MAX_JTI: Final = 256
SKEW_S: Final = 30
_TYPES: Final[Mapping[str, type[OKPKey | ECKey | RSAKey]]] = {"OKP": OKPKey, "EC": ECKey, "RSA": RSAKey}
#: Members of a header that bring a key, or change how the rest is read.
_REFUSED: Final = ("jwk", "jku", "x5u", "x5c", "crit", "b64", "enc", "zip", "p2c")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class SignedError(OstiaryError):
    """The statement is not believed. The message says why and holds no part of it."""


class UnknownKeyError(SignedError):
    """The statement is signed with a key that is not among those that are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A statement as it was read. Nothing in it is true until its signature has been checked."""

    algorithm: str
    kid: str | None
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    def text(self, name: str, *, longest: int = 1024) -> str:
        """Return the claim `name`, a text that is not empty. Raises `SignedError`."""
        found = self.claims.get(name)
        if not isinstance(found, str) or not found or len(found) > longest:
            raise SignedError(f"it has no {name}, or one that is too long")
        return found


def read(text: str, *, types: Collection[str] = ("jwt",)) -> Signed:
    """Read a compact JWS whose `typ`, if it has one, is one of `types` (in lower case). Raises `SignedError`."""
    if len(text) > MAX_CHARS:
        raise SignedError("it is longer than 16 KiB")
    parts = text.split(".")
    if len(parts) != 3:
        raise SignedError("it is no signed JWT")
    header, claims = _object(parts[0]), _object(parts[1])
    refused = [name for name in _REFUSED if name in header]
    if refused:
        raise SignedError(f"its header has a member that is not taken: {refused[0]}")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise SignedError(f"its algorithm is none of {', '.join(ALGORITHMS)}")
    if "kid" in header and (not isinstance(kid, str) or not kid):
        raise SignedError("its kid is no text")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        raise SignedError("its typ is that of something else")
    return Signed(
        algorithm=algorithm,
        kid=kid,
        claims=claims,
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=_decode(parts[2]),
    )


def check_audience(signed: Signed, accepted: Collection[str]) -> None:
    """Raise `SignedError` unless the statement is for one or more of `accepted`, and for nobody else."""
    audience = signed.claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not named or not all(isinstance(each, str) and each in accepted for each in named):
        raise SignedError("it is not for this gateway alone")


def check_times(signed: Signed, *, now: int, ahead_s: int, life_s: int) -> int:
    """Return `exp`. Raises `SignedError` unless the statement holds now, for `ahead_s` at most and `life_s` in all."""
    expires, issued, begins = (_time(signed, name) for name in ("exp", "iat", "nbf"))
    if expires is None:
        raise SignedError("it has no exp")
    if expires + SKEW_S <= now:
        raise SignedError("it has expired")
    if expires > now + ahead_s + SKEW_S or (issued is not None and expires - issued > life_s):
        raise SignedError("it lives too long")
    if max(issued or 0, begins or 0) > now + SKEW_S or (issued is not None and issued >= expires):
        raise SignedError("its time has not come")
    return expires


def _time(signed: Signed, name: str) -> int | None:
    found = signed.claims.get(name)
    if found is None and name not in signed.claims:
        return None
    if not isinstance(found, int) or isinstance(found, bool):
        raise SignedError(f"its {name} is no whole number")
    return found


def check_signature(signed: Signed, sources: Iterable[KeySource]) -> None:
    """Raise `SignedError` unless a key of one of `sources` verifies the statement.

    A source is asked for a fresh look where it has no key of the name that the header gives, or where the header gives
    no name and none of its keys made the signature.
    """
    failure: SignedError = UnknownKeyError("it is signed with a key that is not known")
    for source in sources:
        for fresh in (False, True):
            try:
                _check(signed, source(fresh))
            except UnknownKeyError:
                continue
            except SignedError as error:
                failure = error
                break
            return
    raise failure


def _check(signed: Signed, keys: Sequence[Key]) -> None:
    tried = candidates(keys, signed.algorithm, signed.kid)
    if any(_made(signed, key) for key in tried):
        return
    if signed.kid is not None and any(key.get("kid") == signed.kid for key in tried):
        raise SignedError("its signature is wrong")
    raise UnknownKeyError("it is signed with a key that is not known")


def _made(signed: Signed, key: Key) -> bool:
    """Whether `key`, which fits the algorithm, made the signature."""
    model = JWSRegistry.algorithms[signed.algorithm]
    members = {name: value for name, value in key.items() if name in {"kty", "crv", "x", "y", "n", "e"}}
    try:
        public = _TYPES[key["kty"]].import_key(dict(members))
        model.check_key(public)
        return model.verify(signed.signed, signed.signature, public) is True
    except (JoseError, ValueError):
        return False


def _object(part: str) -> Mapping[str, Any]:
    try:
        found = strictjson.parse(_decode(part))
    except strictjson.StrictJsonError:
        raise SignedError("it is no signed JWT") from None
    if not isinstance(found, dict):
        raise SignedError("it is no signed JWT")
    return found


def _decode(part: str) -> bytes:
    if _BASE64URL.match(part) is not None and len(part) % 4 != 1:
        decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == part:
            return decoded
    raise SignedError("it is no signed JWT")
