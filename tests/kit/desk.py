"""The desk of an operator: the control side without a gateway, on a real store and record, with a clock of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from ostiary._core import Journal
from ostiary.authority import Authority
from ostiary.config import load
from ostiary.registrar import Operator, Registrar
from ostiary.registry.acts import LISTINGS, perform
from ostiary.registry.effective import effective
from ostiary.store import Store, StorePath, tables

if TYPE_CHECKING:
    from pathlib import Path

    from ostiary.registry.effective import Effective

NOW = 1_800_000_000
DAY = 24 * 3600
LEASE = 30 * DAY
BY = Operator(uid=1000, login="olga")

HOUSE = """\
gateway: {listen: 127.0.0.1:8811, url: http://127.0.0.1:8811}
people:
  alice: {email: alice@home.test}
  bob: {email: bob@corp.test}
  carol: {issuer: sso, subject: c-1}
  dave: {issuer: ci, subject: d-1}
  erin: {issuer: ci, subject: e-1, email: erin@corp.test}
identity:
  providers:
    sso: {issuer: "http://127.0.0.1:9400", client_id: ostiary, email_domains: [corp.test]}
  issuers:
    ci: {issuer: "https://ci.test", jwks: {file: jwks.json}, algorithms: [RS256], type: human, direct: true}
servers:
  notes: {url: http://h/mcp, owner: alice, pins: off}
  mail: {url: http://m/mcp, owner: alice, pins: off, identity: {credential: "store:mail"}}
agents:
  lint: {owner: alice, ceiling: {servers: [notes], classes: [read]}}
  ship: {owner: carol, ceiling: {servers: [notes], classes: [read]}, third_party: acme, clients: {local: [ship-ide]}}
  pair: {owner: carol, deputy: alice, ceiling: {servers: [notes], classes: [read]}}
  brief: {owner: alice, expires: "2027-01-15T08:00:00Z", ceiling: {servers: [notes], classes: [read]}}
services:
  batch: {owner: alice}
"""
"""alice, dave and erin are live while declared, bob and carol while they sign in; `brief` expires at `NOW`."""

Json = dict[str, Any]


class Desk:
    """Everything that acts of the registry need. `at` is the time, in seconds, and may be set."""

    def __init__(self, folder: Path, text: str = HOUSE) -> None:
        from tests.kit.configs import write

        self.folder, self.at = folder, NOW
        #: Whether the clock goes on while something waits.
        self.ticking = False
        self.file = write(folder, text)
        config = load(self.file)
        path = StorePath.from_url(config.store.url, folder)
        self.store = Store.open(path, key=None, base=folder)
        self._journal = Journal(str(folder / "audit"), config.gateway.url, None)
        registrar = Registrar(self.store, self._journal, clock=lambda: self.at, pause=self._pass_by)
        self.control = Authority(registrar, effective(config, self.store, now=self.at).config)

    def _pass_by(self, seconds: float) -> None:
        self.at += int(seconds) if self.ticking else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        self.store.close()

    def do(self, path: str, **body: Any) -> Json:
        """Have an act done."""
        return perform(self.control, path, json.dumps(body).encode(), BY)

    def listed(self, path: str) -> list[Json]:
        """Return a listing."""
        found: list[Json] = LISTINGS[path](self.control)[path.removeprefix("/")]
        return found

    def one(self, path: str, name: str) -> Json:
        """Return one entry of a listing."""
        return next(each for each in self.listed(path) if name in (each["name"], each.get("id")))

    def effective(self) -> Effective:
        """Return what is in force now."""
        return effective(self.control.config, self.store, now=self.at)

    def records(self) -> list[Json]:
        """Return the records of acts, the oldest first."""
        files = sorted((self.folder / "audit").glob("*.jsonl"))
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [record for record in map(json.loads, lines) if record["kind"] in ("admin", "control")]

    def events(self) -> list[str]:
        """Return what was recorded, by event."""
        return [record["event"] for record in self.records()]

    def add(self, name: str = "nightly", **changes: Any) -> Json:
        """Register an agent of alice's, `changes` apart."""
        section = {"owner": "alice", "purpose": "checks", "ceiling": {"servers": ["notes"], "classes": ["read"]}}
        return self.do("/agents/add", name=name, section={**section, **changes})

    # What others put into the store -----------------------------------------------------------------------------------

    def insert(self, table: sa.Table, **values: Any) -> None:
        """Add a row."""
        with self.store.changing() as connection:
            connection.execute(sa.insert(table).values(**values))

    def rows(self, table: sa.Table) -> list[Json]:
        """Return all rows."""
        with self.store.reading() as connection:
            return [dict(row) for row in connection.execute(sa.select(table)).mappings()]

    def sign_in(self, principal: str, *, at: int | None = None, **values: Any) -> None:
        """Remember that somebody signed in."""
        _, provider, subject = principal.split(":", 2)
        seen = self.at if at is None else at
        given = {"claims": "{}", "signed_in_at": seen, "checked_at": seen, **values}
        self.insert(tables.accounts, id=principal, provider=provider, subject=subject, **given)

    def consent(self, client: str, account: str, *, agent: str | None = None, third_party: str = "acme") -> str:
        """Remember a consent and a family that grew from it; returns the family's id."""
        agent, until = agent or f"agent:client:{client}", self.at + LEASE
        common = {"client": client, "account": account, "agent": agent, "created_at": self.at, "expires_at": until}
        self.insert(
            tables.consents,
            **common,
            client_name=client.upper(),
            third_party=third_party,
            redirect_host="127.0.0.1",
            classes='["read"]',
            servers='["notes"]',
            digest="d",
        )
        family = f"{client}/{account}"
        self.insert(tables.families, **common, id=family, third_party=third_party, scope="[]", servers="[]")
        return family

    def live_families(self) -> list[str]:
        """Return the families that have not ended."""
        return sorted(row["id"] for row in self.rows(tables.families) if row["ended_at"] is None)
