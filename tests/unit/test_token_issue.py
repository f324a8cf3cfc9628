"""What may be issued, and to whom: the registry, the ceiling and the clock decide, never the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.issuer import read

from ostiary import keys
from ostiary.config import Config, load
from ostiary.oauth.token import TokenRefusedError, TokenRequest, authorize, parse_ttl, sign
from ostiary.store import Store, StoredKey, StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_790_000_000

CONFIG = """\
gateway: {listen: 127.0.0.1:8811, url: http://127.0.0.1:8811}
people: {alice: {email: alice@example.com}}
identity:
  issuers:
    ci: {issuer: "https://ci.test", jwks: {file: jwks.json}, algorithms: [EdDSA], type: agent}
agents:
  release-bot: {owner: alice, ceiling: {servers: [notes], classes: [update, read]}}
  brief: {owner: alice, expires: "2026-09-21T14:13:30Z", ceiling: {servers: [notes], classes: [read]}}
  gone: {owner: alice, expires: 2026-01-01, ceiling: {servers: [notes], classes: [read]}}
  idle: {owner: alice, ceiling: {servers: [notes]}}
  builder: {owner: alice, issuer: ci, subject: builder, ceiling: {servers: [notes], classes: [read]}}
services:
  batch: {owner: alice}
servers:
  notes: {url: http://127.0.0.1:9901/mcp, owner: alice, pins: off}
  other: {url: http://127.0.0.1:9902/mcp, owner: alice, pins: off}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("config")
    (folder / "jwks.json").write_text(
        '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
    )
    (folder / "ostiary.yaml").write_text(CONFIG)
    return load(folder / "ostiary.yaml")


@pytest.fixture
def key(tmp_path: Path) -> Iterator[StoredKey]:
    with Store.open(StorePath(database=tmp_path / "o.db"), key=None, base=tmp_path) as store:
        yield keys.ensure_key(store, now=NOW)


def asked(**changes: Any) -> TokenRequest:
    return TokenRequest(**{"type": "agent", "name": "release-bot", "server": "notes", **changes})


def test_a_token_says_who_for_what_and_until_when(config: Config, key: StoredKey) -> None:
    token = sign(authorize(asked(), config, now=NOW), key)
    header, claims = read(token.text)
    jti = claims.pop("jti")
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": key.kid}
    assert claims == {
        "iss": "http://127.0.0.1:8811",
        "aud": "http://127.0.0.1:8811/mcp/notes",
        "sub": "agent:local:release-bot",
        "client_id": "agent:local:release-bot",
        "scope": "mcp:read mcp:update",
        "iat": NOW,
        "exp": NOW + 600,
    }
    assert len(jti) >= 22
    answer = token.as_json()
    assert (answer["access_token"], answer["expires_in"], answer["owner"]) == (token.text, 600, "alice")
    assert token.text not in repr(token)


def test_two_tokens_have_two_ids(config: Config) -> None:
    assert authorize(asked(), config, now=NOW).jti != authorize(asked(), config, now=NOW).jti


def test_scopes_narrow_and_come_in_one_order(config: Config) -> None:
    assert authorize(asked(scope=["mcp:update", "mcp:read"]), config, now=NOW).scope == "mcp:read mcp:update"
    assert authorize(asked(scope=["mcp:read"]), config, now=NOW).scope == "mcp:read"


def test_a_service_gets_every_class_since_it_has_no_ceiling(config: Config) -> None:
    grant = authorize(asked(type="service", name="batch", server="other"), config, now=NOW)
    assert (grant.subject, grant.scope) == ("service:local:batch", "mcp:read mcp:query mcp:update mcp:admin")


def test_a_token_ends_with_its_agent(config: Config) -> None:
    expires = config.agents["brief"].expires
    assert expires is not None
    now = expires - 10
    assert authorize(asked(name="brief"), config, now=now).expires_at == expires


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (asked(name="nobody"), "no agent is called nobody"),
        (asked(name="alice"), "alice is a person"),
        (asked(type="service", name="alice"), "alice is a person"),
        (asked(name="batch"), "use --service"),
        (asked(type="service", name="release-bot"), "use --agent"),
        (asked(name="builder"), "gets its tokens from ci"),
        (asked(name="gone"), "has expired"),
        (asked(name="idle"), "no classes"),
        (asked(server="nowhere"), "no server is called nowhere"),
        (asked(server="other"), "outside the ceiling"),
        (asked(scope=["mcp:admin"]), "mcp:admin is outside the ceiling"),
        (asked(scope=["mcp:read", "openid"]), "openid is outside"),
        (asked(scope=["mcp:query"]), "mcp:query is outside"),
        (asked(scope=[]), "no scope was asked for"),
        (asked(ttl_s=3601), "at most 60 minutes"),
        (asked(ttl_s=0), "at most 60 minutes"),
        (asked(ttl_s=-5), "at most 60 minutes"),
    ],
)
def test_nothing_wider_is_issued(config: Config, request_: TokenRequest, told: str) -> None:
    with pytest.raises(TokenRefusedError, match=told):
        authorize(request_, config, now=NOW)


def test_a_retired_key_signs_nothing(config: Config, key: StoredKey) -> None:
    retired = StoredKey(kid=key.kid, public=key.public, created_at=NOW, retired_at=NOW)
    with pytest.raises(TokenRefusedError, match="retired"):
        sign(authorize(asked(), config, now=NOW), retired)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("61m", 3660), ("1d", 86400)])
def test_a_duration_has_a_unit(text: str, seconds: int) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "0m", "-5m", "1.5h", "10 m", "1w", "٣m", "10m\n"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(TokenRefusedError):
        parse_ttl(text)
