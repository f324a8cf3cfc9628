"""One gateway and what stands around it: the scene of most tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .gateway import Gateway
    from .issuer import Issuer
    from .upstream import Upstream


@dataclass
class House:
    """A gateway and what stands around it. Its policy is never changed: tests that change things make their own."""

    gateway: Gateway
    upstream: Upstream
    issuer: Issuer

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
