"""One gateway and what stands around it: the scene of most tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .caller import Caller

if TYPE_CHECKING:
    from .gateway import Gateway
    from .issuer import Issuer
    from .upstream import Upstream

DEV = {"groups": {"has": "dev"}}
#: What developers may have of a server besides its tools, and what it may ask of them.
ALL_OF_MCP = [
    {"name": "dev-prompts", "allow": {"and": [DEV, {"prompt": {"in": ["summarize", "review"]}}]}},
    {"name": "dev-docs", "allow": {"and": [DEV, {"resource_uri": {"starts_with": "file:///srv/docs/"}}]}},
    {"name": "no-private", "deny": {"or": [{"resource_uri": {"starts_with": "file:///srv/docs/private/"}}]}},
    {"name": "may-sample", "allow": {"and": [DEV, {"server_request": "sampling/createMessage"}]}},
    {
        "name": "may-ask-by-form",
        "allow": {"and": [DEV, {"server_request": "elicitation/create"}, {"argument/mode": "form"}]},
    },
    {
        "name": "may-send-to-sign-in",
        "allow": {
            "and": [DEV, {"server_request": "elicitation/create"}, {"argument/url": {"host": "accounts.example.com"}}]
        },
    },
    {
        "name": "safe-moves",
        "allow": {"and": [DEV, {"tool": "notes/move"}, {"argument/path": {"under": "/srv/safe"}}]},
    },
    {
        "name": "mail-to-ourselves",
        "allow": {"and": [DEV, {"tool": "notes/send"}, {"argument/to": {"in": ["ok@example.com", "us@example.com"]}}]},
    },
    {
        "name": "little-sampling",
        "deny": {"and": [{"server_request": "sampling/createMessage"}, {"argument/maxTokens": {"gt": 1000}}]},
    },
]


@dataclass
class House:
    """A gateway and what stands around it. Its policy is never changed: tests that change things make their own."""

    gateway: Gateway
    upstream: Upstream
    issuer: Issuer

    def caller(self, era: str, token: str | None = None, *, server: str = "notes") -> Caller:
        """Return a client that has arrived: alice's, unless another token is given."""
        return Caller.arrive(self.gateway, token or self.alice, era, server=server)

    @cached_property
    def bob(self) -> str:
        """A token of bob, a developer too."""
        return self.issuer.token(sub="bob@example.com")

    @cached_property
    def alice(self) -> str:
        """A token of alice, a developer, from the external issuer."""
        return self.issuer.token()

    @cached_property
    def bot(self) -> str:
        """A token of release-bot with the scopes of its whole ceiling, from `ostiary tokens issue`."""
        return self.gateway.issue()

    @cached_property
    def reading_bot(self) -> str:
        """A token of release-bot for `mcp:read` alone."""
        return self.gateway.issue(scope="mcp:read")
