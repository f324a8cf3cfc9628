"""Reads the public keys of an issuer, and takes only keys that can do no harm.

A set that holds a private or a symmetric key is refused as a whole, even where that key would not be used: it is a
secret in the wrong place, and a symmetric one would let everybody who can check a token make one.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ostiary import strictjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

MAX_BYTES = 1024 * 1024
MAX_KEYS = 100
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
_FORM = 'a key set is JSON, as in `{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "…"}]}`'

Key = dict[str, str]
#: A key as it was published, or as it was read here.
AnyKey = TypeVar("AnyKey", bound="Mapping[str, Any]")

PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
#: How many keys are tried for a signature that does not say which one made it.
MAX_TRIED = 8
#: Algorithm to the kind of key that it takes, by type and curve: a key of another kind is never tried.
KINDS: Mapping[str, tuple[str, str | None]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
}
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
#: Curve to the bytes of a coordinate.
_CURVES = {"P-256": 32, "P-384": 48, "Ed25519": 32}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")


class JwksError(Exception):
    """The set of keys cannot be used. The message is a clause that says why, and never holds key material.

    `hint` says what to do about it, and may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


def read_keys(path: Path, algorithms: Sequence[str]) -> tuple[Key, ...]:
    """Return the keys in the file at `path`, as `parse_keys` does. Raises `JwksError`, also where there is no file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise JwksError(f"it cannot be read ({why})", "paths are relative to the folder of the configuration") from None
    return parse_keys(data, algorithms)


def parse_keys(data: bytes, algorithms: Sequence[str]) -> tuple[Key, ...]:
    """Return the keys in the key set `data` that are good for one of `algorithms`, by their public members only.

    Keys for other uses or algorithms are left out. Raises `JwksError` where the set cannot be read, holds a key that
    must not be there, or holds none that can be used.
    """
    keys = _keys(_parse(data))
    for number, key in enumerate(keys, 1):
        _refuse_secret(key, number)
    usable = tuple(public for number, key in enumerate(keys, 1) if (public := _public(key, number, algorithms)))
    if not usable:
        raise _no_key(keys, algorithms)
    for algorithm in algorithms:
        kids = [key.get("kid") for key in usable if key.get("alg", algorithm) == algorithm and _fits(key, algorithm)]
        twice = next((kid for kid in kids if kids.count(kid) > 1), "")
        if twice is None:
            message = f"two of its keys for {algorithm} have no `kid`, so that nothing tells them apart"
            raise JwksError(message, "give each key a `kid` of its own")
        if twice:
            message = f"two of its keys for {algorithm} have the same `kid`, `{twice[:80]}`"
            raise JwksError(message, "give each key a `kid` of its own")
    return usable


def candidates(keys: Iterable[AnyKey], algorithm: str, kid: object) -> list[AnyKey]:
    """Return those of `keys` that may have made a signature, `MAX_TRIED` at most.

    `kid` is what the signature says of its key, or None: then all that fit `algorithm` may have. Where none is called
    so, those without a name may have; a key with another name never.
    """
    fitting = [key for key in keys if _fits(key, algorithm) and key.get("alg", algorithm) == algorithm]
    fitting = [key for key in fitting if key.get("use", "sig") == "sig"]
    if kid is not None:
        fitting = [key for key in fitting if key.get("kid") == kid] or [
            key for key in fitting if key.get("kid") is None
        ]
    return fitting[:MAX_TRIED]


def _parse(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise JwksError("it is larger than 1 MiB")
    try:
        return strictjson.parse(data)
    except strictjson.StrictJsonError as error:
        raise JwksError(f"it is not JSON: {error}", _FORM) from None


def _keys(document: Any) -> list[Mapping[str, Any]]:
    if isinstance(document, dict) and "keys" not in document and "kty" in document:
        raise JwksError("it is a single key", 'write `{"keys": [...]}` around it')
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise JwksError("it is not a JSON Web Key Set", _FORM)
    if len(keys) > MAX_KEYS:
        raise JwksError(f"it holds more than {MAX_KEYS} keys")
    return keys


def _no_key(keys: Sequence[Mapping[str, Any]], algorithms: Sequence[str]) -> JwksError:
    if not keys:
        return JwksError("it holds no key", "put the public key into it")
    several = f"{', '.join(algorithms[:-1])} or {algorithms[-1]}" if len(algorithms) > 1 else algorithms[0]
    return JwksError(
        f"no key in it can check a signature of {several}", "look at `kty`, `crv`, `alg` and `use` of each"
    )


def _refuse_secret(key: Mapping[str, Any], number: int) -> None:
    if key.get("kty") == "oct" or "k" in key:
        message = f"key {number} is symmetric, and whoever can check with it can also sign"
        raise JwksError(message, "use a public key")
    private = [member for member in PRIVATE_MEMBERS if member in key]
    if private:
        message = f"key {number} has private members (`{'`, `'.join(private)}`)"
        raise JwksError(message, "keep only the public members, and consider the private ones known to others")


def _public(key: Mapping[str, Any], number: int, algorithms: Sequence[str]) -> Key | None:
    """Return the public members of a key that is good for one of `algorithms`, or None."""
    use, operations, stated = key.get("use", "sig"), key.get("key_ops", ["verify"]), key.get("alg")
    if not all(isinstance(text, str) for text in (use, stated or "", key.get("kid", ""))):
        raise JwksError(f"key {number} has a `use`, `alg` or `kid` that is not text")
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    candidates = [name for name in algorithms if stated in (None, name) and _fits(key, name)]
    if not candidates:
        return None
    names = ("kty", *_PUBLIC[key["kty"]], *(name for name in ("kid", "alg") if name in key))
    public: Key = {}
    for name in names:
        value = key.get(name)
        if not isinstance(value, str) or not value:
            raise JwksError(f"key {number} has no text as its `{name}`")
        public[name] = value
    _check(public, number)
    return {**public, "use": "sig"}


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    kty, curve = KINDS[algorithm]
    return key.get("kty") == kty and curve in (None, key.get("crv"))


def _check(key: Key, number: int) -> None:
    """Refuse a key that is weak or no key at all. The data plane would refuse it too, but could not say where."""
    if key["kty"] == "RSA":
        modulus, exponent = _integer(key["n"], number), _integer(key["e"], number)
        if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or modulus % 2 == 0:
            bits = f"{MIN_RSA_BITS} to {MAX_RSA_BITS}"
            raise JwksError(f"key {number} has {modulus.bit_length()} bits; an RSA key is odd and has {bits}")
        if exponent < 3 or exponent % 2 == 0 or exponent >= 2**32:
            raise JwksError(f"key {number} has an exponent that no RSA key should have")
        return
    curve = key["crv"]
    coordinates = [_decode(key[name], number) for name in ("x", "y") if name in key]
    if any(len(coordinate) != _CURVES[curve] for coordinate in coordinates) or not _is_point(curve, coordinates):
        raise JwksError(f"key {number} is not a point on {curve}")


def _is_point(curve: str, coordinates: list[bytes]) -> bool:
    try:
        if curve == "Ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(coordinates[0])
            return True
        kind = ec.SECP256R1() if curve == "P-256" else ec.SECP384R1()
        ec.EllipticCurvePublicKey.from_encoded_point(kind, b"\x04" + b"".join(coordinates))
    except ValueError:
        return False
    return True


def _integer(text: str, number: int) -> int:
    decoded = _decode(text, number)
    if decoded[0] == 0:
        raise JwksError(f"key {number} holds a number that begins with a zero byte")
    return int.from_bytes(decoded)


def _decode(text: str, number: int) -> bytes:
    if _BASE64URL.match(text) is not None and len(text) % 4 != 1:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if decoded and base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == text:
            return decoded
    raise JwksError(f"key {number} holds a member that is not base64url without padding")
