"""The closed table of what the data plane hands to the control app, and nothing else: (method, exact path).

It is compiled into the Snapshot, and the control app makes its own routes from it, so the two cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from ostiary.config import Config

#: Where the OpenID provider sends the browser back to.
CALLBACK_PATH: Final = "/oauth/callback"
_METADATA: Final = ("oauth-authorization-server", "openid-configuration")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Route:
    """One entry. `origin` is whose pages may ask: `own` for pages, `any` for what programs call (CORS)."""

    path: str
    method: Literal["GET", "POST", "OPTIONS"]
    endpoint: str
    origin: Literal["own", "any"]


def table(config: Config) -> tuple[Route, ...]:
    """Return what is served under `config`, sorted. Without a way to get a token here there is nothing."""
    if not serves_tokens(config):
        return ()
    found = [
        *_program("metadata", "GET", metadata_paths(config)),
        *_program("token", "POST", ["/oauth/token"]),
        *_program("revoke", "POST", ["/oauth/revoke"]),
        *_program("introspect", "POST", ["/oauth/introspect"]),
    ]
    if config.providers:
        found += [
            _page("authorize", "GET", "/oauth/authorize"),
            _page("decide", "POST", "/oauth/authorize"),
            _page("callback", "GET", CALLBACK_PATH),
            _page("account", "GET", "/oauth/account"),
            _page("forget", "POST", "/oauth/account"),
            _page("sign_in", "GET", "/oauth/sign-in"),
            _page("sign_out", "POST", "/oauth/sign-out"),
            _page("style", "GET", "/oauth/style.css"),
        ]
        if config.oauth.dynamic_registration:
            found += _program("register", "POST", ["/oauth/register"])
    return tuple(sorted(found))


def serves_tokens(config: Config) -> bool:
    """Say whether anybody can get a token here: people by a provider, agents or services by a credential."""
    agents = any(agent.credentials for agent in config.agents.values())
    services = any(service.credentials for service in config.services.values())
    return bool(config.providers) or agents or services


def metadata_paths(config: Config) -> list[str]:
    """Return every path at which clients look for the metadata (RFC 8414 section 3.1, OpenID Connect Discovery)."""
    paths = [f"/.well-known/{name}" for name in _METADATA]
    for server in config.servers:
        paths += [f"/.well-known/{name}/mcp/{server}" for name in _METADATA]
        paths += [f"/mcp/{server}/.well-known/{name}" for name in _METADATA]
    return paths


def _program(endpoint: str, method: Literal["GET", "POST"], paths: list[str]) -> list[Route]:
    made = [Route(path=path, method=method, endpoint=endpoint, origin="any") for path in paths]
    return [*made, *(Route(path=path, method="OPTIONS", endpoint="preflight", origin="any") for path in paths)]


def _page(endpoint: str, method: Literal["GET", "POST"], path: str) -> Route:
    return Route(path=path, method=method, endpoint=endpoint, origin="own")
