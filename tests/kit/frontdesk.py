"""A control side for sign-in tests without a gateway: a real store, a real configuration, a clock to turn.

And a browser that keeps cookies and talks to the pages' endpoints as the control app would call them.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import sqlalchemy as sa

from ostiary import keys
from ostiary.config import PersonSection, load
from ostiary.identity.signin import LegFailedError
from ostiary.oauth.account import ENDPOINTS
from ostiary.oauth.pages import page
from ostiary.oauth.routes import table
from ostiary.registrar import NotRecordedError
from ostiary.store import Store, StorePath, tables
from ostiary.store import epochs as stored_epochs
from ostiary.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.responses import Response

    from ostiary import _core
    from ostiary.config import Config
    from ostiary.control import Epoch, EpochKind, Person
    from ostiary.registrar import Operator
    from ostiary.store import StoredKey
    from tests.kit.provider import Provider

GATEWAY = "http://127.0.0.1:8811"


def write_config(folder: Path, provider: Provider, *, url: str = GATEWAY, **section: Any) -> Path:
    """Write a configuration with one provider, `sso`; `section` changes its members, None takes one out."""
    (folder / "oidc.secret").write_text(f"{provider.secret}\n", encoding="utf-8")
    sound = {
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": "file:oidc.secret",
        "claims": {"groups": "groups"},
        "email_domains": ["example.com"],
    }
    members = {name: value for name, value in {**sound, **section}.items() if value is not None}
    claim = {"and": [{"claim/department": {"is": "research"}}, {"server": "notes"}]}
    document = {
        "gateway": {"listen": "127.0.0.1:8811", "url": url},
        "people": {"alice": {"email": "alice@example.com"}},
        "identity": {"providers": {"sso": members}},
        "servers": {"notes": {"url": "http://127.0.0.1:9901/mcp", "owner": "alice", "pins": "off"}},
        "policy": [{"name": "research-only", "allow": claim}],
    }
    path = folder / "ostiary.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


class Desk:
    """The control side. What it is told to record and revoke stands in `records` and `revoked`."""

    def __init__(self, path: Path) -> None:
        self._config = load(path)
        self._store = Store.open(StorePath.from_url("sqlite:///o.db", path.parent), key=None, base=path.parent)
        # It stands still but for `ahead`: the provider's clock is near enough.
        self.began, self.ahead = int(time.time()), 0
        self.records: list[dict[str, Any]] = []
        self.revoked: list[Epoch] = []
        self.registry_changes = 0
        self.recording = True
        self.store_is_locked = False

    @property
    def config(self) -> Config:
        return self._config

    @property
    def store(self) -> Store:
        return self._store

    def now(self) -> int:
        return self.began + self.ahead

    def wait_past(self, second: int) -> bool:
        return self.now() > second

    def signing_key(self) -> StoredKey:
        return keys.ensure_key(self._store, now=self.now())

    def note_uses(self) -> None:
        pass

    def snapshot(self) -> _core.Snapshot | None:
        return None

    @property
    def remote_keys(self) -> Any:
        raise NotImplementedError("nobody proves anything by keys of their own at this desk")

    def record(self, kind: str, event: str, by: Operator | Person | None, **fields: Any) -> str:
        if not self.recording:
            raise NotRecordedError("the record cannot be written")
        self.records.append(json.loads(json.dumps({"kind": kind, "event": event, **fields})))
        return str(len(self.records))

    def revoke(self, epochs: Sequence[Epoch], by: Operator | Person | None, *, why: str, **fields: Any) -> None:
        if self.store_is_locked:
            raise StoreError("the store cannot be changed: database is locked")
        self.revoked.extend(epochs)
        self.record("control", "revoked", by, why=why, **fields)

    def registry_changed(self, by: Operator | Person | None) -> None:
        self.registry_changes += 1

    # For tests --------------------------------------------------------------------------------------------------------

    def declare(self, people: dict[str, dict[str, str]]) -> None:
        """Put others under `people`, where rules and servers name nobody of them."""
        made = {name: PersonSection.model_validate(person) for name, person in people.items()}
        self._config = replace(self._config, people=made)

    def change_provider(self, **members: Any) -> None:
        """Let the provider's section be what no file could say."""
        made = {"sso": self._config.providers["sso"].model_copy(update=members)}
        self._config = replace(self._config, providers=made)

    def events(self) -> list[str]:
        """Return the events recorded so far."""
        return [record["event"] for record in self.records]

    def grant(self, account: str, client: str = "https://app.test/client") -> None:
        """Let `account` have allowed a client, and the client hold a family of tokens, called `family`."""
        now, both = self.now(), {"client": client, "account": account, "agent": f"agent:client:{client}"}
        until = {"created_at": now, "expires_at": now + 86400, "servers": json.dumps(["notes"])}
        shown = {"client_name": "An app", "third_party": "app.test", "redirect_host": "app.test", "digest": "d"}
        with self._store.changing() as connection:
            classes = json.dumps(["read", "query"])
            connection.execute(sa.insert(tables.consents).values(**both, **until, **shown, classes=classes))
            scope = json.dumps(["mcp:read"])
            connection.execute(sa.insert(tables.families).values(id="family", **both, **until, scope=scope))

    def family_ended(self) -> str | None:
        """Return why the family that `grant` made has ended."""
        with self._store.reading() as connection:
            why: str | None = connection.execute(sa.select(tables.families.c.why)).scalar_one()
        return why

    def floor(self, kind: EpochKind, value: str) -> int:
        """Return the epoch that the store holds."""
        with self._store.reading() as connection:
            return stored_epochs.floor(connection, [(kind, value)])

    def disable(self, name: str) -> None:
        """Do what `ostiary people disable` does."""
        with self._store.changing() as connection:
            connection.execute(sa.insert(tables.people_marks).values(name=name, disabled_at=self.now()))


@dataclass(slots=True)
class Browser:
    """A browser in front of the desk and the provider."""

    desk: Desk
    provider: Provider
    cookies: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list)

    def ask(self, method: str, url: str, form: dict[str, str] | None = None) -> Response:
        """Send one request to the gateway's pages; cookies are kept."""
        parts = urlsplit(url)
        endpoint = next(
            route.endpoint for route in table(self.desk.config) if (route.method, route.path) == (method, parts.path)
        )
        body = urlencode(form or {}).encode()
        try:
            answer = ENDPOINTS[endpoint](self.desk, parts.query, dict(self.cookies), body)
        except LegFailedError as failed:  # no client asked for it here
            answer = page("error", status=failed.status, message=failed.message)
        for text in answer.headers.getlist("set-cookie"):
            self.set_cookies.append(text)
            name, _, value = text.partition(";")[0].partition("=")
            self.cookies.pop(name, None) if "Max-Age=0" in text else self.cookies.update({name: value})
        return answer

    def begin(self, target: str = "/oauth/account", provider: str = "sso") -> Response:
        """Choose a provider."""
        return self.ask("GET", "/oauth/sign-in?" + urlencode({"provider": provider, "target": target}))

    def at_provider(self) -> str:
        """Sign in at the provider and return the way back."""
        begun = self.begin()
        assert begun.status_code == 303, bytes(begun.body)
        return self.provider.visit(begun.headers["location"])

    def sign_in(self) -> Response:
        """Sign in and come back."""
        return self.ask("GET", self.at_provider())

    @property
    def csrf(self) -> str:
        """The token in the forms of the account page."""
        body = bytes(self.ask("GET", "/oauth/account").body).decode()
        return body.partition('name="csrf" value="')[2].partition('"')[0]


def query_of(url: str) -> dict[str, str]:
    """Return the query of a URL, in which nothing may stand twice."""
    found = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return dict(parse_qsl(urlsplit(url).query))
