"""A house where people sign in: a gateway, an OpenID provider, one upstream under many names, and browsers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from .clients import SdkServer
from .flows.browser import Browser
from .flows.documents import Documents
from .flows.fast import fast
from .flows.flow import Visit
from .flows.node import under_node
from .flows.pydantic_host import pydantic_host
from .flows.python import python
from .gateway import Gateway, free_port
from .provider import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .flows.flow import Open

TOOLS = {"echo": "read", "read_file": "read", "add": "query", "delete_file": "update", "count": "admin"}
FOR_DEVELOPERS = ["echo", "read_file", "add", "delete_file"]
"""What a developer is shown: all that the rules allow her, whatever scopes her client has so far."""
DEVELOPERS = {
    "name": "developers",
    "allow": {"and": [{"groups": {"has": "dev"}}, {"action": {"in": ["read", "query", "update"]}}]},
}


READERS = {"name": "readers", "allow": {"and": [{"groups": {"has": "readers"}}, {"action": "read"}]}}
NO_SECRETS = {"name": "no-secrets", "deny": {"or": [{"argument/path": {"starts_with": "/etc"}}]}}

NODE_PROGRAMS = {"typescript": "flow.mjs", "ai-sdk": "agent.mjs"}
PYTHON_PROGRAMS: dict[str, Open] = {"python": python, "fastmcp": fast, "pydantic-ai": pydantic_host}


def program(name: str, node: Callable[[], str]) -> Open:
    """Return one of the client programs; `node` gives the path of Node to those that need it."""
    if name in NODE_PROGRAMS:
        return partial(under_node, node(), NODE_PROGRAMS[name])
    return PYTHON_PROGRAMS[name]


def oauth_settings(
    provider: Provider, servers: Mapping[str, str], *, listen: int, admin: int, ca_file: Path | None = None
) -> dict[str, Any]:
    """Return a configuration under which people sign in at `provider`, and clients come by document or register."""
    oauth: dict[str, Any] = {"dynamic_registration": "on"}
    if ca_file is not None:
        oauth |= {"danger_loopback_clients": "on", "ca_file": str(ca_file)}
    return {
        "gateway": {"listen": f"127.0.0.1:{listen}", "url": f"http://127.0.0.1:{listen}"},
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "store": {"url": "sqlite:///var/ostiary.db"},
        "audit": {"dir": "var/audit", "durability": "by_class"},
        "people": {
            "alice": {"email": "alice@example.com", "issuer": "sso", "subject": "alice"},
            "bob": {"email": "bob@example.com", "issuer": "sso", "subject": "bob"},
        },
        "identity": {
            "providers": {
                "sso": {
                    "preset": "generic",
                    "issuer": provider.issuer,
                    "client_id": provider.client_id,
                    "client_secret": "env:OIDC_SECRET",
                    "claims": {"groups": "groups"},
                    "email_domains": ["example.com"],
                }
            }
        },
        "oauth": oauth,
        "servers": {
            name: {
                "url": url,
                "owner": "alice",
                "identity": "jwt",
                "pins": "off",
                "tools": {tool: {"class": kind} for tool, kind in TOOLS.items()},
            }
            for name, url in servers.items()
        },
        "policy": [DEVELOPERS, READERS, NO_SECRETS],
    }


@dataclass
class OAuthHouse:
    """`with OAuthHouse(folder) as house`: alice is a developer, dave only reads, bob is known and may do nothing."""

    folder: Path
    servers: Sequence[str] = ("notes",)
    changes: Mapping[str, Any] = field(default_factory=dict)
    _seats: Iterator[int] = field(default_factory=count)
    _clients: Iterator[int] = field(default_factory=lambda: count(1))

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.provider = stack.enter_context(Provider())
            self.provider.set_user("alice", email="alice@example.com", groups=["dev"])
            self.provider.set_user("bob", email="bob@example.com", groups=["sales"])
            self.provider.set_user("dave", email="dave@example.com", groups=["readers"])
            self.documents = stack.enter_context(Documents(self.folder / "documents"))
            self.upstream = stack.enter_context(SdkServer())
            urls = dict.fromkeys(self.servers, self.upstream.url)
            ports = {"listen": free_port(), "admin": free_port()}
            config = oauth_settings(self.provider, urls, **ports, ca_file=self.documents.ca_file)
            config |= self.changes
            self.gateway = stack.enter_context(Gateway(self.folder, config, env={"OIDC_SECRET": self.provider.secret}))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def url(self, server: str = "notes") -> str:
        """Return the URL at which clients find a server."""
        return f"{self.gateway.url}/mcp/{server}"

    def browser(self, who: str = "alice", *, denies: bool = False) -> Browser:
        """Return the browser of a person, who is nowhere signed in yet, on a machine of its own."""
        return Browser({"username": who}, denies=denies, address=f"127.0.1.{next(self._seats) % 250 + 1}")

    def consents(self, browser: Browser) -> int:
        """How often the person was asked for consent."""
        return len([page for page in browser.shown(self.gateway.url) if "Allow" in page.forms[0].buttons])

    def logins(self, browser: Browser) -> int:
        """How often the person was asked who she is."""
        return len(browser.shown(self.provider.origin))

    def visit(
        self,
        browser: Browser,
        *,
        by: str,
        server: str = "notes",
        era: str = "stateless",
    ) -> Visit:
        """Return what a new client program is told, which comes by a document (`cimd`) or registers (`dcr`)."""
        redirect = f"http://127.0.0.1:{free_port()}/callback"
        document = self.documents.publish(f"client{next(self._clients)}", redirect) if by == "cimd" else None
        return Visit(
            url=self.url(server),
            browser=browser,
            redirect=redirect,
            keeps={},
            document=document,
            era=era,
        )
