"""A gateway whose policy lets a developer do everything that MCP knows: what it then changes is its own doing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .clients import SdkServer
from .gateway import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .issuer import Issuer

DEV: dict[str, Any] = {"groups": {"has": "dev"}}
OBJECT_METHODS = [
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "subscriptions/listen",
]
SERVER_REQUESTS = ["sampling/createMessage", "elicitation/create", "roots/list", "ping"]
EVERYTHING: list[dict[str, Any]] = [
    {"name": "every-tool", "allow": {"and": [DEV, {"action": {"in": ["read", "query", "update", "admin"]}}]}},
    {"name": "every-object", "allow": {"and": [DEV, {"mcp_method": {"in": OBJECT_METHODS}}]}},
    {"name": "every-question", "allow": {"and": [DEV, {"server_request": {"in": SERVER_REQUESTS}}]}},
]


def open_settings(
    upstream: str,
    issuer: Issuer,
    *,
    listen: int,
    admin: int,
    hosts: Sequence[str] = (),
    tools: Mapping[str, str] | None = None,
    policy: Sequence[Mapping[str, Any]] = EVERYTHING,
) -> dict[str, Any]:
    """Return the configuration of a gateway before `upstream`; `tools` maps names to classes, all others are admin."""
    config = settings({"notes": upstream}, issuer, listen=listen, admin=admin)
    config["gateway"]["allowed_hosts"] += list(hosts)
    config["servers"]["notes"]["tools"] = {name: {"class": kind} for name, kind in (tools or {}).items()}
    config["policy"] = list(policy)
    return config


class Everything(SdkServer):
    """`tests.kit.everything` as a child process."""

    def command(self) -> list[str]:
        """Return how it is started."""
        return [sys.executable, "-m", "tests.kit.everything", "--port", str(self.port)]
