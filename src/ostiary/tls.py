"""Reads the certificate and the key that the public door shows to clients, and says what is wrong with them.

Both come from a file or from the environment, and are read again whenever they are needed: nothing here keeps a key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from ostiary.config import TlsSection

MAX_BYTES: Final = 256 * 1024
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


class TlsError(Exception):
    """The pair cannot be served. `part` says whose fault it is; the message never holds a key."""

    def __init__(self, part: Literal["cert", "key"], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.part = part
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate chain, the server's own first, and its private key, as PEM texts that fit."""

    cert: str
    key: str = field(repr=False)
    leaf: x509.Certificate


def files_of(section: TlsSection, folder: Path) -> list[Path]:
    """Return the files that the pair stands in; what comes from the environment has none."""
    return [path for path in (_path(section.cert, folder), _path(section.key, folder)) if path is not None]


def _path(source: str, folder: Path) -> Path | None:
    return None if source.startswith("env:") else folder / source.removeprefix("file:")


def read_pair(section: TlsSection, folder: Path) -> Pair:
    """Return the pair of `section`; relative paths are relative to `folder`. Raises `TlsError`."""
    cert, key = _read("cert", section.cert, folder), _read("key", section.key, folder)
    try:
        chain = x509.load_pem_x509_certificates(cert)
    except ValueError:
        raise TlsError("cert", "there is no certificate in PEM in it") from None
    if _public(_load_key(key)) != chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise TlsError("key", "it is not the key of the certificate", "the server's own certificate comes first")
    return Pair(cert=cert.decode("ascii", "replace"), key=key.decode("ascii", "replace"), leaf=chain[0])


def _read(part: Literal["cert", "key"], source: str, folder: Path) -> bytes:
    path = _path(source, folder)
    if path is None:
        text = os.environ.get(source.removeprefix("env:"))
        if text is None:
            raise TlsError(part, f"the environment variable {source.removeprefix('env:')} is not set")
        return text.encode("utf-8", "surrogateescape")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise TlsError(part, f"`{path.name[:200]}` cannot be read: {why}") from None
    if len(data) > MAX_BYTES:
        raise TlsError(part, f"`{path.name[:200]}` is larger than 256 KiB")
    return data


def _load_key(pem: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, None)
    except TypeError:
        raise TlsError("key", "the key is sealed with a password", "write it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise TlsError("key", "there is no private key in PEM in it") from None


def _public(key: PrivateKeyTypes) -> bytes:
    fits = (
        (isinstance(key, rsa.RSAPrivateKey) and 2048 <= key.key_size <= 8192)
        or (isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES)
        or isinstance(key, ed25519.Ed25519PrivateKey)
    )
    if not fits:
        raise TlsError("key", "keys of this kind are not served", "RSA from 2048 bits, P-256, P-384, P-521 or Ed25519")
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def doubts(leaf: x509.Certificate, host: str, now: datetime | None = None) -> Iterator[str]:
    """Yield what clients will say of a certificate that is otherwise in order; `host` is that of `gateway.url`."""
    now = now or datetime.now(UTC)
    if now >= leaf.not_valid_after_utc:
        yield f"the certificate has expired, on {leaf.not_valid_after_utc:%Y-%m-%d}: clients will refuse it"
    if now < leaf.not_valid_before_utc:
        yield f"the certificate is valid only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
    if not _names(leaf, host):
        yield f"the certificate is not for `{host[:200]}`, the host of `gateway.url`"


def _names(leaf: x509.Certificate, host: str) -> bool:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    try:
        return ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        pass
    parent = "*." + host.partition(".")[2]
    return any(name.lower() in (host, parent) for name in names.get_values_for_type(x509.DNSName))
