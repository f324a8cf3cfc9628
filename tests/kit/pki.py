"""Certificates for tests: one authority, and pairs that it signs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsPair:
    """A certificate and its key, in PEM."""

    cert: bytes
    key: bytes
    serial: int

    def write(self, folder: Path) -> None:
        """Write `cert.pem` and `key.pem`, the key first, each at once."""
        for name, data in (("key.pem", self.key), ("cert.pem", self.cert)):
            draft = folder / f"{name}.new"
            draft.write_bytes(data)
            draft.replace(folder / name)


@dataclass(slots=True)
class Authority:
    """An authority that clients of a test trust."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    cert: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.cert = self._sign("test authority", self.key.public_key(), days=30, authority=True)

    def _sign(
        self, name: str, public: ec.EllipticCurvePublicKey, *, days: int, authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("test authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=40))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def pair(self, *, days: int = 30) -> TlsPair:
        """Return a new pair for 127.0.0.1 and localhost that ends in `days`."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign("127.0.0.1", key.public_key(), days=days)
        return TlsPair(
            cert=cert.public_bytes(Encoding.PEM),
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            serial=cert.serial_number,
        )

    def context(self, *protocols: str) -> ssl.SSLContext:
        """Return what a client of this authority uses; `protocols` are offered by ALPN."""
        context = ssl.create_default_context(cadata=self.cert.public_bytes(Encoding.PEM).decode())
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context
