"""Configurations for tests: the one that every reader of the documentation meets, and small variations of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ostiary.config import load
from ostiary.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = """\
gateway: {listen: 127.0.0.1:8811, url: http://127.0.0.1:8811, allowed_hosts: ["localhost:8811"]}
admin: {listen: 127.0.0.1:8812}                 # /healthz /readyz /metrics live here
store: {url: "sqlite:///var/ostiary.db"}        # relative paths are relative to the file
audit: {dir: var/audit, durability: by_class}   # by_class | disk | os
people:
  alice: {email: alice@example.com, issuer: corp, subject: alice@example.com}   # who may own; sign-in comes later
identity:
  issuers:
    corp: {issuer: "https://idp.test", jwks: {file: jwks.json}, algorithms: [RS256], audience: mcp-gw, servers: [notes], type: human, direct: true, claims: {email: sub, groups: groups}, email_domains: [example.com]}
agents:
  release-bot: {owner: alice, purpose: cut releases, ceiling: {servers: [notes], classes: [read, query, update]}}
servers:
  notes:
    url: http://127.0.0.1:9901/mcp
    owner: alice
    identity: jwt
    pins: off                                   # must be written; `required` comes with the lock, in a later issue
    tools: {echo: {class: read}, read_file: {class: read}, add: {class: query}, delete_file: {class: admin}}
policy:
  - {name: dev-reads, allow: {and: [{groups: {has: dev}}, {action: {in: [read, query]}}, {server: notes}]}}
  - {name: no-etc, deny: {or: [{argument/path: {starts_with: /etc}}]}}
"""  # noqa: E501  (word for word what the interface promises)

RSA_KEY = {
    "kty": "RSA",
    "kid": "corp-1",
    "alg": "RS256",
    "use": "sig",
    "n": (
        "sIjpDZJ8tgFBqo3PFfZx2mruG7p9kjjUSCUyihbIrQUUXolQaWrmRHgbNEwW4cMjeX_5Pnzd2NS5cJv0gdStDWBLmf"
        "OhiiOLG8AU0dGC4NQb-3NwlLqYjzUub6ZrpnQiRnHyHjXbizmYYey-ZjRPuS8c0bJUxYnMp7dDMMXkfvnuRQF6cuMc"
        "FGh5lB0OSoGrZvWugOgdYIzx8DDeJH0fNiwaOM4khGKkfMDkYwHisB67bCcTINA9YJO3mpxvcGjhWG4EAPeTm4Ooub"
        "Vz9gqIehWCU4oYzPb1jBNc1YV_neZQCYtgx_zaNP6T55vJ8N0jNDlACMe43mk0b8-NkVZUhQ"
    ),
    "e": "AQAB",
}
"""A public key whose private half nobody kept."""

JWKS = {"keys": [RSA_KEY]}

SECTIONS = {
    "gateway": "gateway: {listen: 127.0.0.1:8811, url: http://127.0.0.1:8811}\n",
    "people": "people: {alice: {email: alice@example.com}}\n",
    "servers": "servers: {notes: {url: http://h/mcp, owner: alice, pins: off, tools: {echo: {class: read}}}}\n",
}
"""The smallest configuration, by section, with one tool listed."""

ISSUER = 'issuer: "https://idp.test", jwks: {file: jwks.json}, algorithms: [RS256], type: human'
"""What every issuer needs, for flow mappings."""


def write(folder: Path, text: str, name: str = "ostiary.yaml", jwks: object = JWKS) -> Path:
    """Write a configuration and the key set that it may name, and return its path."""
    (folder / "jwks.json").write_text(json.dumps(jwks), encoding="utf-8")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def with_sections(**sections: str) -> str:
    """Return the smallest configuration with some sections put in place of, or after, its own."""
    return "".join({**SECTIONS, **sections}.values())


def found(folder: Path, text: str) -> list[tuple[int, int, str, str, str]]:
    """Return everything that is wrong with a configuration: line, column, key, message, hint."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    return [(p.line, p.column, p.key, p.message, p.hint) for p in caught.value.problems]


def marked(sections: dict[str, str]) -> tuple[str, int, int]:
    """Return the smallest configuration with `sections`, and line and column of the `§` that was in them."""
    text = with_sections(**sections)
    before = text[: text.index("§")]
    return text.replace("§", ""), before.count("\n") + 1, len(before) - before.rfind("\n")
