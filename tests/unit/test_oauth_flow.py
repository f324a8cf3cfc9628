"""From the first page to tokens: what a client gets on the authority of a person, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kit.control import START, URL, ControlSide, fields, sent_back
from tests.kit.issuer import read

from ostiary.store import clients as stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """\
gateway: {listen: 127.0.0.1:8811, url: "http://127.0.0.1:8811"}
people: {carol: {email: carol@example.com}}
identity:
  providers:
    sso: {issuer: "http://127.0.0.1:1", client_id: ostiary, email_domains: [example.com]}
agents:
  desk: {owner: carol, ceiling: {servers: [notes], classes: [read]}, clients: {local: desk-client}}
servers:
  notes: {url: "http://127.0.0.1:9901/mcp", owner: carol, pins: off, tools: {echo: {class: read}}}
  wiki: {url: "http://127.0.0.1:9902/mcp", owner: carol, pins: off, tools: {look: {class: read}}}
  vault: {url: "http://127.0.0.1:9903/mcp", owner: carol, pins: off}
policy:
  - {name: staff, allow: {and: [{groups: {has: staff}}, {server: {in: [notes, wiki]}}]}}
"""
LOCAL = "http://127.0.0.1:7777/callback"


@pytest.fixture
def side(tmp_path: Path) -> Iterator[ControlSide]:
    with ControlSide(tmp_path, CONFIG) as made:
        stored.add_registered(made.store, "ide", "An IDE", [LOCAL], confidential=False, now=START)
        yield made


@pytest.fixture
def alice(side: ControlSide) -> dict[str, str]:
    return side.sign_in("sso", "alice", groups=("staff",))


def test_one_consent_gives_a_code_and_the_code_tokens(side: ControlSide, alice: dict[str, str]) -> None:
    shown = side.get(side.authorize_path("ide"), cookies=alice)
    assert shown.status_code == 200
    back = sent_back(side.allow(shown, alice))
    assert (back["state"], back["iss"]) == ("the-state", URL)
    answer = side.exchange("ide", back["code"])
    assert answer.status_code == 200
    said = answer.json()
    assert {name: said[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "mcp:read mcp:query",
    }
    _, claims = read(said["access_token"])
    family = claims.pop("fam")
    assert claims.pop("jti") and family
    assert claims == {
        "iss": URL,
        "aud": f"{URL}/mcp/notes",
        "sub": "human:sso:alice",
        "client_id": "ide",
        "scope": "mcp:read mcp:query",
        "iat": START,
        "exp": START + 600,
        "act": {"sub": "agent:client:ide", "third_party": "An IDE"},
        "email": "alice@example.com",
        "groups": ["staff"],
    }
    assert answer.headers["cache-control"] == "no-store"
