"""The control side without a data plane: a real store, journal and snapshot, and a clock that stands still.

with ControlSide(folder, CONFIG) as side:          # CONFIG: the text of an ostiary.yaml
    alice = side.sign_in("sso", "alice", groups=["dev"])        # cookies of a browser that is signed in
    answer = side.get("/oauth/authorize?…", cookies=alice)      # over the real app
    side.records("consent_given"); side.now_is += 60; side.change(text)
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from contextlib import ExitStack
from functools import cache
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.testclient import TestClient

from ostiary import _core, keys
from ostiary.compile import compile as compile_snapshot
from ostiary.config import load
from ostiary.identity import sessions
from ostiary.identity.accounts import Account, principal_id
from ostiary.identity.remotekeys import RemoteKeys
from ostiary.oauth.app import control_app
from ostiary.registrar import NotRecordedError, Operator
from ostiary.registry.effective import effective
from ostiary.store import Store, StorePath, accounts, clients
from ostiary.store import epochs as stored_epochs

from .issuer import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from httpx2 import Response

    from ostiary.config import Config
    from ostiary.control import Epoch, Person
    from ostiary.store import StoredKey

START: Final = 1_800_000_000
BOSS: Final = Operator(uid=0, login="boss")
URL: Final = "http://127.0.0.1:8811"
#: A PKCE pair (RFC 7636 appendix B).
VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
LOCAL: Final = "http://127.0.0.1:7777/callback"
SITE: Final = "https://app.example.com/callback"

#: One provider; alice, who is of the staff, reaches notes and wiki, and nobody the vault.
OFFICE: Final = """\
gateway: {listen: 127.0.0.1:8811, url: "http://127.0.0.1:8811"}
people: {carol: {email: carol@example.com, issuer: sso, subject: carol}, dave: {}}
identity:
  providers:
    sso: {issuer: "http://127.0.0.1:1", client_id: ostiary, email_domains: [example.com]}
oauth: {dynamic_registration: on}
agents:
  desk: {owner: dave, ceiling: {servers: [notes], classes: [read]}, clients: {local: desk-client}}
servers:
  notes: {url: "http://127.0.0.1:9901/mcp", owner: dave, pins: off, tools: {echo: {class: read}}}
  wiki: {url: "http://127.0.0.1:9902/mcp", owner: dave, pins: off, tools: {look: {class: read}}}
  vault: {url: "http://127.0.0.1:9903/mcp", owner: dave, pins: off}
policy:
  - {name: staff, allow: {and: [{groups: {has: staff}}, {server: {in: [notes, wiki]}}]}}
"""


@cache
def _empty_store() -> bytes:
    """Return a database with all tables and nothing in them: migrating takes longer than most tests."""
    with TemporaryDirectory() as name:
        path = Path(name) / "o.db"
        Store.open_unsealed(StorePath(database=path)).close()
        return path.read_bytes()


def office(folder: Path, text: str = OFFICE) -> ControlSide:
    """Return the control side of OFFICE with three clients: `ide` (public), `desk-client`, and `site` with a secret."""
    side = ControlSide(folder, text)
    clients.add_registered(side.store, "ide", "An IDE", [LOCAL, SITE], confidential=False, now=START)
    clients.add_registered(side.store, "desk-client", "The desk", [LOCAL], confidential=False, now=START)
    secret = clients.add_registered(side.store, "site", "A site", [SITE, LOCAL], confidential=True, now=START)
    side.secret = secret or ""
    return side


class ControlSide:
    """A `Control` (ostiary.control) for tests, and the control app on it. See the module."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.now_is = START
        self._opened = ExitStack()
        self._path = folder / "ostiary.yaml"
        self.text = text
        self._path.write_text(text, encoding="utf-8")
        self._file = load(self._path)
        (folder / "o.db").write_bytes(_empty_store())
        store = Store.open(StorePath(database=folder / "o.db"), key=None, base=folder)
        self._store = self._opened.enter_context(store)
        (folder / "audit").mkdir()
        self._journal = _core.Journal(str(folder / "audit"), URL, None)
        self._opened.callback(self._journal.close)
        self._remote_keys = RemoteKeys(store, self.now)
        self.epochs: list[Epoch] = []
        self.disk_is_full = False
        #: Of the client `site` of `office`.
        self.secret = ""
        self.registry_changed(None)
        self.app = control_app(self)
        self._client = self._opened.enter_context(
            TestClient(self.app, base_url=URL, follow_redirects=False, raise_server_exceptions=True)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    # As `Control` has it ----------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._config

    @property
    def store(self) -> Store:
        """The open store."""
        return self._store

    @property
    def remote_keys(self) -> RemoteKeys:
        """The key sets of others."""
        return self._remote_keys

    def now(self) -> int:
        """Return the time at which the clock stands."""
        return self.now_is

    def wait_past(self, second: int) -> bool:
        """Wait for nothing: this clock stands still."""
        return self.now() > second

    def signing_key(self) -> StoredKey:
        """Return the key that signs now."""
        return keys.ensure_key(self._store, now=self.now_is)

    def note_uses(self) -> None:
        """Keep who asked: nobody does here."""

    def snapshot(self) -> _core.Snapshot | None:
        """Return the snapshot in force."""
        return self._snapshot

    def record(self, kind: str, event: str, by: Operator | Person | None, **fields: Any) -> str:
        """Append one record, unless the disk is full."""
        if self.disk_is_full:
            raise NotRecordedError("the record cannot be written: no space left on device")
        who = {"uid": by.uid, "login": by.login} if isinstance(by, Operator) else {"person": by.id} if by else None
        return self._journal.append(json.dumps({"kind": kind, "event": event, "by": who, **fields}))

    def revoke(self, epochs: Sequence[Epoch], by: Operator | Person | None, *, why: str, **fields: Any) -> None:
        """Keep the epochs and record them."""
        with self._store.changing() as connection:
            stored_epochs.add(connection, epochs)
        self.epochs += epochs
        told = [{"kind": each.kind, "value": each.value, "epoch": each.epoch} for each in epochs]
        self.record("control", "revoked", by, **{**fields, "detail": {"epochs": told, "why": why}})

    def registry_changed(self, by: Operator | Person | None) -> None:
        """Merge in what is registered, and compile."""
        del by
        found = effective(self._file, self._store, now=self.now_is)
        local = keys.published(self._store, now=self.now_is)
        data = compile_snapshot(found.config, local_keys=local, suspended=dict(found.suspended))
        self._config, self._snapshot = found.config, _core.Snapshot(data)

    # For tests --------------------------------------------------------------------------------------------------------

    def change(self, text: str) -> None:
        """Put another configuration in force."""
        self.text = text
        self._path.write_text(text, encoding="utf-8")
        self._file = load(self._path)
        self.registry_changed(None)

    def records(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the records of an event, or all."""
        files = sorted((self.folder / "audit").glob("*.jsonl"))
        found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [each for each in found if event is None or each.get("event") == event]

    def sign_in(self, provider: str, subject: str, **said: Any) -> dict[str, str]:
        """Sign a person in as the provider's answer would, and return the cookies of her browser."""
        account = Account(
            **{
                "id": principal_id(provider, subject),
                "provider": provider,
                "subject": subject,
                "person": None,
                "email": f"{subject}@example.com",
                "name": None,
                "groups": None,
                "groups_error": None,
                "claims": {},
                "signed_in_at": self.now_is,
                "checked_at": self.now_is,
                "ended_at": None,
                "renewable": False,
                **said,
            }
        )
        cookie = secrets.token_urlsafe(32)
        session = accounts.Session(
            hash=sessions.digest(cookie),
            account=account,
            created_at=self.now_is,
            expires_at=self.now_is + sessions.SESSION_S,
        )
        tokens = accounts.Tokens(refresh=None, id_token=None)
        accounts.sign_in(self._store, account, tokens, session, by_email=False, replaces=None)
        return {"ostiary-session": cookie}

    def staff(self, subject: str) -> dict[str, str]:
        """Sign in somebody of the staff of OFFICE."""
        return self.sign_in("sso", subject, groups=("staff",))

    def get(self, path: str, *, cookies: Mapping[str, str] | None = None, **headers: str) -> Response:
        """Ask as a browser does."""
        return self._client.get(path, headers=_headers(cookies, headers))

    def options(self, path: str) -> Response:
        """Ask as a browser does before it lets another site's page ask."""
        return self._client.options(path, headers=_headers(None, {"Origin": "https://elsewhere.example"}))

    def post(
        self, path: str, form: Mapping[str, str] | str, *, cookies: Mapping[str, str] | None = None, **headers: str
    ) -> Response:
        """Send a form."""
        body = form if isinstance(form, str) else urlencode(form)
        named = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self._client.post(path, content=body, headers=_headers(cookies, named))

    def register(self, document: object, **headers: str) -> Response:
        """Register a client dynamically."""
        return self._client.post("/oauth/register", json=document, headers=_headers(None, headers))

    def authorize_path(self, client_id: str, **changes: str | None) -> str:
        """Return the path and query of a request that is in order, but for `changes`; `None` leaves one out."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": LOCAL,
            "state": "the-state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": f"{URL}/mcp/notes",
            "scope": "mcp:read mcp:query",
            **changes,
        }
        return "/oauth/authorize?" + urlencode({name: value for name, value in asked.items() if value is not None})

    def allow(self, shown: Response, cookies: Mapping[str, str], **changes: str) -> Response:
        """Answer a consent page as its first button does."""
        return self.post("/oauth/authorize", {**fields(shown), "decision": "allow", **changes}, cookies=cookies)

    def code(self, client_id: str, cookies: Mapping[str, str], **changes: str | None) -> str:
        """Have a client ask, allow it where that is asked, and return the code."""
        answer = self.get(self.authorize_path(client_id, **changes), cookies=cookies)
        if answer.status_code == 200:
            answer = self.allow(answer, cookies)
        return sent_back(answer)["code"]

    def exchange(self, client_id: str, code: str, **changes: str | None) -> Response:
        """Turn a code into tokens."""
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "code": code,
            "redirect_uri": LOCAL,
            "code_verifier": VERIFIER,
            "resource": f"{URL}/mcp/notes",
            **changes,
        }
        return self.post("/oauth/token", {name: value for name, value in form.items() if value is not None})

    def tokens(self, client_id: str, cookies: Mapping[str, str], **asked: str | None) -> dict[str, Any]:
        """Go all the way, and return the answer with the tokens."""
        answer = self.exchange(client_id, self.code(client_id, cookies, **asked))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refresh(self, client_id: str, token: str, **more: str) -> Response:
        """Turn a refresh token into tokens."""
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token, **more}
        return self.post("/oauth/token", {"resource": f"{URL}/mcp/notes", **form})


def _headers(cookies: Mapping[str, str] | None, headers: Mapping[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if cookies is not None:
        named["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return {"X-Ostiary-Client": "192.0.2.7", **named}


def basic(name: str, secret: str) -> str:
    """Return what a confidential client says in `Authorization`."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def claims_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of the access token in an answer."""
    found: dict[str, Any] = read(said["access_token"])[1]
    return found


def fields(shown: Response) -> dict[str, str]:
    """Return the hidden fields of the form on a page."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', shown.text)
    return {name: unescape(value) for name, value in found}


def sent_back(answer: Response) -> dict[str, str]:
    """Return the parameters with which a browser is sent back."""
    assert answer.status_code == 303, (answer.status_code, answer.text[:500])
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
