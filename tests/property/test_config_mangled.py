"""Whatever stands in the files, reading them ends in a `Config` or in a `ConfigError` that says where to look."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st
from tests.kit.configs import EXAMPLE, JWKS, RSA_KEY, write
from tests.kit.search import examples

from ostiary.config import load
from ostiary.errors import ConfigError
from ostiary.jwks import JwksError, read_keys
from ostiary.yamlsource import read_bytes

PIECES = [
    *("{", "}", "[", "]", ":", ",", "-", "?", "&a", "*a", "|", ">", "!", "!!str ", "%", "'", '"', "\\", "#", "~", "<<"),
    *("\n", "\n  ", "\t", "\r", "---\n", "...\n", "\ufeff", "\x00", "\x85", "\u2028", "\\UFFFFFFFF", "\\ud800", "é"),
    *("null", "true", "off", "0x", "1e999999999", "-0", "99999999999999999999", ".inf", "{}", "[]", "- - -", "a: "),
    *("name", "allow", "deny", "and", "claim/a", "argument/~", "user", "local", "env:", "http://", "//u:p@h?#"),
]
MANGLED = st.lists(
    st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=4)),
    min_size=1,
    max_size=4,
)


def mangle(text: str, changes: list[tuple[int, int, str]]) -> bytes:
    for at, gone, new in changes:
        text = text[:at] + new + text[at + gone :]
    return text.encode("utf-8", "surrogatepass")


def survives(data: bytes, *, partial: bool = False) -> None:
    with TemporaryDirectory() as name:
        path = write(Path(name), "")
        path.write_bytes(data)
        problems = None
        try:
            load(path, partial=partial)
        except ConfigError as error:
            problems = error.problems
    lines = data.count(b"\n") + data.count(b"\r") + 1
    assert problems is None or problems
    for problem in problems or ():
        assert problem.message
        assert 0 <= problem.line <= lines
        assert problem.line == 0 or problem.column >= 1


@given(MANGLED, st.booleans())
@examples(300)
@example([(0, 0, '"\\UFFFFFFFF": 1\n')], False)
def test_a_mangled_file_is_refused_in_good_order(changes: list[tuple[int, int, str]], partial: bool) -> None:
    survives(mangle(EXAMPLE, changes), partial=partial)


WORDS = ("federated", "private_key_jwt", "jwks", "file", "url", "issuer", "subject", "preset", "local", "kty", "d")
VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["alice", "notes", "off", "on"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = [
    *(("gateway",), ("gateway", "url"), ("gateway", "allowed_hosts"), ("admin",), ("store", "url"), ("store", "key")),
    *(("audit", "redact"), ("people",), ("people", "alice"), ("people", "alice", "issuer"), ("identity",)),
    *(("identity", "issuers", "corp", name) for name in ("jwks", "algorithms", "claims", "scopes", "direct", "typ")),
    *(("agents", "bot", name) for name in ("owner", "ceiling", "expires", "clients", "subject", "credentials")),
    *(("identity", "providers"), ("services", "batch", "credentials"), ("identity", "providers", "sso", "issuer")),
    *(("identity", "providers", "sso", name) for name in ("scopes", "claims", "client_secret")),
    *(("oauth",), *(("oauth", name) for name in ("dynamic_registration", "ca_file", "danger_loopback_clients"))),
    ("servers", "notes", "identity", "credential"),
    *(("servers", "notes", name) for name in ("url", "tools", "pins", "timeout", "max_response", "identity")),
    *(("policy",), ("policy", "files"), ("policy", "timezone")),
]


@given(st.dictionaries(st.sampled_from(PATHS), VALUES, min_size=1, max_size=4), st.booleans())
@examples(300)
def test_any_value_in_any_place_is_refused_in_good_order(values: dict[tuple[str, ...], object], partial: bool) -> None:
    document: dict[str, object] = {"gateway": {"listen": "127.0.0.1:1", "url": "http://127.0.0.1:1"}}
    for path, value in values.items():
        place = document
        for name in path[:-1]:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                inner = place[name] = {}
            place = inner
        place[path[-1]] = value
    survives(json.dumps(document).encode(), partial=partial)  # JSON is YAML


@given(st.binary(max_size=60))
@examples(300)
def test_any_bytes_are_read_or_told_to_be_wrong(data: bytes) -> None:
    problems: list[object] = []
    assert read_bytes(data, "f.yaml", problems) is not None or problems  # type: ignore[arg-type]


@given(
    st.dictionaries(st.sampled_from([*RSA_KEY, "crv", "x", "y", "key_ops", "d"]), VALUES, max_size=4),
    st.sampled_from(["RSA", "EC", "OKP"]),
)
@examples(200)
def test_any_key_set_is_read_or_refused(changes: dict[str, object], kty: str) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "jwks.json"
        key = {**JWKS["keys"][0], "kty": kty, **changes}
        path.write_text(json.dumps({"keys": [key]}), encoding="utf-8")
        with suppress(JwksError):
            read_keys(path, ("RS256", "ES256", "EdDSA"))
