"""Key sets: what is taken from them, and what makes the whole set unusable."""

# ruff: noqa: E501  (one row, one case)

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.configs import RSA_KEY

from ostiary.jwks import JwksError, read_keys

if TYPE_CHECKING:
    from pathlib import Path

# Public keys from RFC 7517 appendix A.1 and RFC 8037 appendix A.2.
EC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "kid": "ec",
}
ED_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed"}
ALL = ("RS256", "ES256", "EdDSA")


def read(folder: Path, document: Any, algorithms: tuple[str, ...] = ALL) -> tuple[dict[str, str], ...]:
    path = folder / "jwks.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return read_keys(path, algorithms)


def test_only_public_members_of_usable_keys_are_taken(tmp_path: Path) -> None:
    other = {**EC_KEY, "kid": "enc", "use": "enc"}
    certified = {**RSA_KEY, "x5c": ["MII"], "key_ops": ["verify"]}
    assert read(tmp_path, {"keys": [certified, EC_KEY, ED_KEY, other]}) == (
        RSA_KEY,
        {**EC_KEY, "use": "sig"},
        {**ED_KEY, "use": "sig"},
    )


def test_keys_for_other_algorithms_are_left_out(tmp_path: Path) -> None:
    assert [key["kid"] for key in read(tmp_path, {"keys": [RSA_KEY, EC_KEY, ED_KEY]}, ("ES256",))] == ["ec"]


REFUSED = [
    ("private members", {"keys": [{**EC_KEY, "d": "AAAA"}]}, "key 1 has private members (`d`)"),
    ("a private key that is not used", {"keys": [RSA_KEY, {**EC_KEY, "use": "enc", "d": "AAAA"}]}, "key 2 has private members (`d`)"),
    ("a symmetric key", {"keys": [RSA_KEY, {"kty": "oct", "k": "AAAA"}]}, "key 2 is symmetric, and whoever can check with it can also sign"),
    ("no key", {"keys": []}, "it holds no key"),
    ("another algorithm", {"keys": [{**RSA_KEY, "alg": "RS512"}]}, "no key in it can check a signature of RS256, ES256 or EdDSA"),
    ("other operations", {"keys": [{**RSA_KEY, "key_ops": ["encrypt"]}]}, "no key in it can check a signature of RS256, ES256 or EdDSA"),
    ("no JSON", "{", "it is not JSON: it cannot be parsed"),
    ("no object", "[]", "it is not a JSON Web Key Set"),
    ("a key by itself", EC_KEY, "it is a single key"),
    ("a member twice", '{"keys": [], "keys": []}', "it is not JSON: a member is written twice in one object"),
    ("nesting without end", "[" * 100_000, "it is not JSON: it cannot be parsed"),
    ("one kid twice", {"keys": [EC_KEY, EC_KEY]}, "two of its keys for ES256 have the same `kid`, `ec`"),
    ("two keys without a kid", {"keys": [{k: v for k, v in EC_KEY.items() if k != "kid"}] * 2}, "two of its keys for ES256 have no `kid`, so that nothing tells them apart"),
    ("a weak key", {"keys": [{**RSA_KEY, "n": "_" * 168}]}, "key 1 has 1008 bits; an RSA key is odd and has 2048 to 8192"),
    ("an exponent of one", {"keys": [{**RSA_KEY, "e": "AQ"}]}, "key 1 has an exponent that no RSA key should have"),
    ("not on the curve", {"keys": [{**EC_KEY, "y": EC_KEY["x"]}]}, "key 1 is not a point on P-256"),
    ("too short", {"keys": [{**ED_KEY, "x": "AAAA"}]}, "key 1 is not a point on Ed25519"),
    ("padded", {"keys": [{**RSA_KEY, "e": "AQAB=="}]}, "key 1 holds a member that is not base64url without padding"),
    ("a number as a kid", {"keys": [{**EC_KEY, "kid": 5}]}, "key 1 has a `use`, `alg` or `kid` that is not text"),
    ("a missing member", {"keys": [{**RSA_KEY, "e": None}]}, "key 1 has no text as its `e`"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_set_that_could_do_harm_is_refused(tmp_path: Path, document: Any, why: str) -> None:
    with pytest.raises(JwksError) as caught:
        read(tmp_path, document)
    assert str(caught.value) == why


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JwksError, match=r"it cannot be read \(No such file or directory\)"):
        read_keys(tmp_path / "gone.json", ALL)
