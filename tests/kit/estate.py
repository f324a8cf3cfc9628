"""Where attacks on signing in take place: a gateway, an OpenID provider, and an upstream that counts every byte.

Clients are spoken by hand here, so that whatever they send can be changed; people sit at the browsers of the flows.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import signal
import sqlite3
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ostiary.store import Store, StorePath, accounts

from .flows.browser import Browser, Page
from .flows.documents import Documents
from .gateway import Gateway, as_yaml, free_port
from .issuer import Issuer, Key, compact, read
from .provider import Provider
from .signing import oauth_settings
from .upstream import Upstream
from .wire import Reply, http, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CALLBACK = "http://127.0.0.1:7777/callback"
SITE = "https://app.example.com/callback"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
OWNERS = ("mona", "nina")
SPARE_OWNERS = tuple(f"owner-{number}" for number in range(30))
CEILING = {"servers": ["notes", "files"], "classes": ["read", "query"]}


@dataclass
class Estate:
    """`with Estate(folder) as estate`: alice and bob are developers, the vault is shut; mona owns `bot` and `desk`."""

    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    owners: Iterator[str] = field(default_factory=lambda: iter(SPARE_OWNERS))
    _seats: Iterator[int] = field(default_factory=count)
    _people: Iterator[int] = field(default_factory=count)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.provider = stack.enter_context(Provider())
            self.documents = stack.enter_context(Documents(self.folder / "documents"))
            self.upstream = stack.enter_context(Upstream())
            self.issuer = Issuer()
            self.issuer.write(self.folder / "jwks.json")
            self.gateway = Gateway(self.folder, self._settings(), env={"OIDC_SECRET": self.provider.secret})
            for name in ("alice", "bob", *OWNERS, *SPARE_OWNERS):
                self.provider.set_user(name, email=f"{name}@example.com", groups=["dev"])
            self.start()
            stack.callback(lambda: self.gateway.end())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _settings(self) -> dict[str, Any]:
        urls = dict.fromkeys(("notes", "files", "vault"), self.upstream.url)
        ports = {"listen": free_port(), "admin": free_port()}
        config = oauth_settings(self.provider, urls, **ports, ca_file=self.documents.ca_file)
        config["people"] |= {name: {"issuer": "sso", "subject": name} for name in (*OWNERS, *SPARE_OWNERS)}
        corp = {
            "issuer": self.issuer.issuer,
            "jwks": {"file": "jwks.json"},
            "algorithms": [self.issuer.alg],
            "audience": self.issuer.audience,
            "servers": ["notes", "files"],
            "type": "human",
            "direct": True,
            "claims": {"groups": "groups"},
        }
        config["identity"] = {**config["identity"], "issuers": {"corp": corp}}
        config["agents"] = {
            "bot": {"owner": "mona", "ceiling": CEILING},
            "desk": {"owner": "mona", "ceiling": CEILING, "clients": {"local": ["desk-client"]}},
        }
        shut = {"name": "vault", "deny": {"or": [{"server": "vault"}]}}
        config["policy"] = [*config["policy"], {"name": "bots", "allow": {"and": [{"actor_type": "agent"}]}}, shut]
        return config | dict(self.changes)

    def start(self) -> None:
        """Start the gateway; whoever owns an agent is confirmed."""
        self.gateway.start()
        for name in OWNERS:
            self.act("/people/confirm", name=name)

    def act(self, path: str, **body: Any) -> Any:
        """Do what a command of operators does: one request on the admin socket."""
        transport = httpx2.HTTPTransport(uds=str(self.folder / "var" / "ostiary.db.run" / "admin.sock"))
        with httpx2.Client(transport=transport, base_url="http://admin", timeout=20.0) as client:
            answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def undeclare(self, person: str) -> None:
        """Take a person out of the file, and wait until that is in force."""
        del self.gateway.config["people"][person]
        self.reload()

    def declare(self, agent: str, **section: Any) -> None:
        """Declare an agent in the file, or change it, and wait until that is in force."""
        self.gateway.config["agents"][agent] = {"ceiling": CEILING, **section}
        self.reload()

    def reload(self) -> None:
        """Save the configuration as it was changed, and wait until it is in force."""
        before = self.gateway.admin_get("/readyz").json()["generation"]
        self.gateway.save(as_yaml(self.gateway.config))
        self.gateway.signal(signal.SIGHUP)
        wait_until(lambda: self.gateway.admin_get("/readyz").json()["generation"] > before, what="the change")

    def url(self, server: str = "notes") -> str:
        """Return the URL at which clients find a server."""
        return f"{self.gateway.url}/mcp/{server}"

    # People and clients -----------------------------------------------------------------------------------------------

    def somebody(self) -> str:
        """Return the name of a new developer, who is known to the provider alone."""
        name = f"person-{next(self._people)}"
        self.provider.set_user(name, email=f"{name}@example.com", groups=["dev"])
        return name

    def address(self) -> str:
        """Return an address of this machine from which nobody has come yet."""
        seat = next(self._seats)
        return f"127.1.{seat // 250}.{seat % 250 + 1}"

    def browser(self, who: str) -> Browser:
        """Return the browser of a person, signed in nowhere; it is open as long as the house stands."""
        return self._stack.enter_context(Browser({"username": who}, address=self.address()))

    def register(self, **said: Any) -> Reply:
        """Register a client, from an address of its own."""
        body = json.dumps({"redirect_uris": [CALLBACK, SITE], "token_endpoint_auth_method": "none", **said}).encode()
        return self.send("POST", "/oauth/register", [("Content-Type", "application/json")], body, self.address())

    def app(self, **said: Any) -> App:
        """Return a client that has registered itself, of a vendor of its own."""
        vendor = f"vendor-{next(self._people)}.test"
        told = self.register(client_name="An app", client_uri=f"https://{vendor}/", **said)
        assert told.status == 201, told
        return App(estate=self, id=told.json()["client_id"], third_party=vendor)

    @cached_property
    def desk(self) -> App:
        """The client that operators registered, which is the agent `desk`."""
        self.add_client("desk-client")
        return App(estate=self, id="desk-client", third_party="")

    def add_client(self, client_id: str) -> None:
        """Register a client as operators do."""
        self.act("/clients/add", name=client_id, redirect_uris=[CALLBACK], confidential=False)

    def later(self, agent: str) -> str:
        """Return a token of an agent that is issued after everything that was revoked of it."""
        return wait_until(lambda: self._if_good(self.bot(agent)), what=f"a token of {agent}")

    def _if_good(self, token: str) -> str:
        return token if self.gateway.call("echo", {"text": "x"}, token).status == 200 else ""

    def bot(self, name: str = "bot") -> str:
        """Return a token of an agent that acts by itself."""
        return str(self.act("/tokens", type="agent", name=name, server="notes")["access_token"])

    # Requests ---------------------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        source: str | None = None,
    ) -> Reply:
        """Send one request on a connection of its own; a `Host` among `headers` takes the place of the plain one."""
        named = {name.lower() for name, _ in headers}
        host = [] if "host" in named else [("Host", self.gateway.host)]
        with self.gateway.wire(source=source) as wire:
            return wire.ask(http(method, target, [*host, *headers], body))

    def form(self, path: str, fields: Mapping[str, str | None], headers: Sequence[tuple[str, str]] = ()) -> Reply:
        """Send a form, without the fields that are `None`."""
        text = urlencode({name: value for name, value in fields.items() if value is not None})
        return self.send("POST", path, [FORM, *headers], text.encode())

    # Behind the scenes ------------------------------------------------------------------------------------------------

    def _opened(self) -> Store:
        """Return the gateway's store with its sealing key, as somebody would have it who has its disk."""
        return Store.open(StorePath(database=self.folder / "var" / "ostiary.db"), key=None, base=self.folder)

    def id_token(self, cookie: str) -> str:
        """Return the ID token with which the session of a browser began."""
        with self._opened() as store:
            found = accounts.id_token(store, hashlib.sha256(cookie.encode()).hexdigest())
        assert found is not None
        return found

    def provider_token(self, who: str) -> str:
        """Return the refresh token that the provider gave for a person."""
        with self._opened() as store:
            found = accounts.refresh_token(store, f"human:sso:{who}")
        assert found is not None
        return found

    @cached_property
    def key(self) -> Key:
        """The very key with which the gateway signs."""
        with self._opened() as store:
            stored = store.signing_key()
        assert stored is not None
        assert stored.seed is not None
        return Key(kid=stored.kid, alg="EdDSA", private=Ed25519PrivateKey.from_private_bytes(stored.seed))

    def forge(self, token: str, header: Mapping[str, Any], claims: Mapping[str, Any], key: Key | None = None) -> str:
        """Return `token` with other members, signed by that key; a member that is `None` is left out."""
        old_header, old_claims = read(token)
        return compact(_changed(old_header, header), _changed(old_claims, claims), key or self.key)

    def change(self, statement: str, *values: Any) -> None:
        """Change a row of the store: how a test lets time pass for a row."""
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "ostiary.db", timeout=10)) as store, store:
            assert store.execute(statement, values).rowcount > 0, statement

    def forget_for(self, who: str, seconds: int) -> None:
        """Let the provider's last word on a person be `seconds` old."""
        words = "UPDATE accounts SET checked_at = CAST(strftime('%s') AS INTEGER) - ? WHERE subject = ?"
        self.change(words, seconds, who)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A client of the gateway."""

    estate: Estate
    id: str
    third_party: str

    def ask(self, **changes: str | None) -> str:
        """Return an authorization request that is in order, but for `changes`."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": CALLBACK,
            "state": "the-state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": self.estate.url(),
            "scope": "mcp:read mcp:query",
            **changes,
        }
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return f"{self.estate.gateway.url}/oauth/authorize?{query}"

    def came(self, browser: Browser, **changes: str | None) -> dict[str, str]:
        """Let the person sign in and consent, and return what came to the redirect address."""
        return browser.arrive(self.ask(**changes))

    def consent_page(self, browser: Browser, **changes: str | None) -> Page:
        """Sign the person in, and return the page that asks for her consent."""
        if not browser.client.cookies.get("ostiary-session"):
            self.sign_in(browser)
        page = browser.go(self.ask(**changes))
        assert isinstance(page, Page)
        assert page.status == 200, page.text
        assert "Allow" in page.forms[0].buttons, page.text
        return page

    def sign_in(self, browser: Browser) -> None:
        """Sign the person in at the provider, and stop there."""
        start = f"{self.estate.gateway.url}/oauth/sign-in?provider=sso&target=/oauth/account"
        browser.go(start, until=f"{self.estate.gateway.url}/oauth/account")

    def exchange(self, code: str, **changes: str | None) -> Reply:
        """Turn a code into tokens."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "client_id": self.id,
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
            "resource": self.estate.url(),
        }
        return self.estate.form("/oauth/token", fields | changes)

    def refresh(self, token: str, **changes: str | None) -> Reply:
        """Turn a refresh token into tokens."""
        fields = {"grant_type": "refresh_token", "client_id": self.id, "refresh_token": token}
        return self.estate.form("/oauth/token", fields | {"resource": self.estate.url()} | changes)

    def tokens(self, browser: Browser, **changes: str | None) -> dict[str, Any]:
        """Go all the way, and return the answer with the tokens."""
        came = self.came(browser, **changes)
        assert "code" in came, came
        answer = self.exchange(came["code"], resource=changes.get("resource", self.estate.url()))
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found


def _changed(sound: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**sound, **changes}.items() if value is not None}
