"""Certificate and key of the public door: which pairs are served, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate
from tests.kit.configs import with_sections, write
from tests.kit.pki import Authority, TlsPair

from ostiary.config import TlsSection, load
from ostiary.errors import ConfigError
from ostiary.tls import TlsError, doubts, read_pair

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = Authority()
PAIR = AUTHORITY.pair()
PEM, PKCS8, OPEN = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()


def told(folder: Path, cert: bytes = PAIR.cert, key: bytes = PAIR.key) -> tuple[str, str]:
    TlsPair(cert=cert, key=key, serial=0).write(folder)
    with pytest.raises(TlsError) as caught:
        read_pair(TlsSection(cert="cert.pem", key="key.pem"), folder)
    assert "BEGIN" not in str(caught.value)
    return caught.value.part, str(caught.value)


@pytest.mark.parametrize("source", ["{name}.pem", "file:{name}.pem", "env:DOOR_{name}"])
def test_a_pair_that_fits_is_read_from_wherever_it_is(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PAIR.write(tmp_path)
    monkeypatch.setenv("DOOR_cert", PAIR.cert.decode())
    monkeypatch.setenv("DOOR_key", PAIR.key.decode())
    pair = read_pair(TlsSection(cert=source.format(name="cert"), key=source.format(name="key")), tmp_path)
    assert (pair.cert.encode(), pair.key.encode()) == (PAIR.cert, PAIR.key)
    assert "PRIVATE" not in repr(pair)


def test_a_chain_is_taken_whole(tmp_path: Path) -> None:
    chain = PAIR.cert + AUTHORITY.cert.public_bytes(PEM)
    TlsPair(cert=chain, key=PAIR.key, serial=0).write(tmp_path)
    assert read_pair(TlsSection(cert="cert.pem", key="key.pem"), tmp_path).cert.encode() == chain
    part, why = told(tmp_path, cert=AUTHORITY.cert.public_bytes(PEM) + PAIR.cert)
    assert (part, why) == ("key", "it is not the key of the certificate")


def test_what_is_no_pair_is_told(tmp_path: Path) -> None:
    sealed = load_pem_private_key(PAIR.key, None).private_bytes(PEM, PKCS8, BestAvailableEncryption(b"x"))
    stranger = ed25519.Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, OPEN)
    short = rsa.generate_private_key(65537, 1024).private_bytes(PEM, PKCS8, OPEN)
    old = dsa.generate_private_key(2048).private_bytes(PEM, PKCS8, OPEN)
    assert told(tmp_path, key=sealed) == ("key", "the key is sealed with a password")
    assert told(tmp_path, key=stranger) == ("key", "it is not the key of the certificate")
    assert told(tmp_path, key=AUTHORITY.pair().key) == ("key", "it is not the key of the certificate")
    assert told(tmp_path, key=short) == told(tmp_path, key=old) == ("key", "keys of this kind are not served")
    for rubbish in (b"", b"hello", PAIR.cert, PAIR.key[: len(PAIR.key) // 2], b"\xff\xfe"):
        assert told(tmp_path, key=rubbish) == ("key", "there is no private key in PEM in it")
    for rubbish in (b"", b"hello", PAIR.key, PAIR.cert[: len(PAIR.cert) // 2], b"\xff\xfe"):
        assert told(tmp_path, cert=rubbish) == ("cert", "there is no certificate in PEM in it")
    assert told(tmp_path, cert=b" " * 300_000) == ("cert", "`cert.pem` is larger than 256 KiB")


def test_what_clients_will_not_like_is_told() -> None:
    leaf, now = load_pem_x509_certificate(PAIR.cert), datetime.now(UTC)
    assert list(doubts(leaf, "127.0.0.1")) == list(doubts(leaf, "localhost")) == []
    assert [doubt[:38] for doubt in doubts(leaf, "localhost", now + timedelta(days=60))] == [
        "the certificate has expired, on " + f"{now + timedelta(days=30):%Y-%m}"[:6]
    ]
    assert [doubt[:37] for doubt in doubts(leaf, "localhost", now - timedelta(days=60))] == [
        "the certificate is valid only from 20"
    ]
    for host in ("gw.test", "127.0.0.2", "::1", "a.localhost"):
        assert list(doubts(leaf, host)) == [f"the certificate is not for `{host}`, the host of `gateway.url`"]


def test_the_file_is_held_to_its_pair(tmp_path: Path) -> None:
    gateway = "gateway: {listen: 127.0.0.1:1, url: https://localhost:1, tls: {cert: cert.pem, key: key.pem}}\n"
    path = write(tmp_path, with_sections(gateway=gateway))
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert (problem.key, problem.line, problem.message) == (
        "gateway.tls.cert",
        1,
        "`cert.pem` cannot be read: No such file or directory",
    )
    assert {tmp_path / "cert.pem", tmp_path / "key.pem"} <= set(caught.value.sources)
    AUTHORITY.pair(days=-1).write(tmp_path)
    config = load(path)
    assert {warning.key for warning in config.warnings} == {"gateway.tls.cert", "servers.notes.pins"}
    assert {tmp_path / "cert.pem", tmp_path / "key.pem"} <= set(config.sources)
    plain = gateway.replace("https:", "http:")
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, with_sections(gateway=plain)))
    assert [problem.key for problem in caught.value.problems] == ["gateway.url"]
