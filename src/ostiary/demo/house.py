"""What the tour is given in: a fresh folder, a sample server as a child process, and a configuration for both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ostiary.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START_S: Final = 30.0

CONFIG: Final = """\
# The configuration of `ostiary demo`. Save a change, and it is in force a moment later.
gateway: {{listen: 127.0.0.1:{port}, url: "http://127.0.0.1:{port}", allowed_hosts: ["localhost:{port}"]}}
admin: {{listen: 127.0.0.1:{admin_port}}}
store: {{url: "sqlite:///var/ostiary.db"}}
audit: {{dir: var/audit}}

people:
  alice: {{email: alice@example.com}}

agents:
  release-bot:
    owner: alice                    # no agent without somebody who answers for it
    purpose: cut releases
    ceiling: {{servers: [notes], classes: [read, query, update]}}

servers:
  notes:
    url: {server_url}
    owner: alice
    identity: jwt                   # each forwarded call carries a token of its own
    pins: off
    tools:
      echo: {{class: read}}
      read_file: {{class: read}}
      add: {{class: query}}
      delete_file: {{class: admin}}

policy:
  - {{name: bots-may-look, allow: {{and: [{{agent: release-bot}}, {{action: {{in: [read, query]}}}}]}}}}
  - {{name: no-etc, deny: {{or: [{{argument/path: {{starts_with: /etc}}}}]}}}}
"""


class DemoError(OperationError):
    """The demo cannot run here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Where everything is."""

    folder: Path
    config: Path
    port: int
    server_url: str

    @property
    def gateway_url(self) -> str:
        """The gateway's own URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        """Where clients call the sample server through the gateway."""
        return f"{self.gateway_url}/mcp/notes"


def require_free(port: int) -> None:
    """Raise `DemoError` if the port is taken."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise DemoError(
            f"port {port} of 127.0.0.1 cannot be had ({error.strerror})",
            hint=f"end what uses it, or choose another one: ostiary demo --port {port + 100}",
        ) from error


@contextlib.asynccontextmanager
async def sample_server(issuer: str) -> AsyncIterator[str]:
    """Run the sample server as a child process and yield its URL; it ends with us, however we end."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ostiary.demo.server", "--issuer", issuer),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A session of its own: Ctrl-C is for us, and we close its standard input.
        start_new_session=True,
    )
    try:
        yield await _url_of(child)
    finally:
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(5):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def _url_of(child: asyncio.subprocess.Process) -> str:
    if child.stdout is None:
        raise DemoError("the sample server has no output")
    try:
        async with asyncio.timeout(START_S):
            line = await child.stdout.readline()
        told: dict[str, Any] = json.loads(line)
        return str(told["url"])
    except (TimeoutError, ValueError, KeyError) as error:
        raise DemoError("the sample server did not start; what it said is above") from error


def furnish(folder: Path, *, port: int, server_url: str) -> House:
    """Write the configuration into `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin_port: int = free.getsockname()[1]
    config = folder / "ostiary.yaml"
    config.write_text(CONFIG.format(port=port, admin_port=admin_port, server_url=server_url))
    return House(folder=folder, config=config, port=port, server_url=server_url)


def keep_secret(path: Path, text: str) -> None:
    """Write a file that only we can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
