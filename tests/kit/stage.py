"""Where the suite's client mode is played: the suite runs a command, the command asks this process to play.

A Python that imports an SDK takes a second to start, and the suite starts one per scenario. So the command is only a
prompter, and the client lives here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .gateway import Gateway, free_port
from .openhouse import open_settings
from .suite_client import visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .issuer import Issuer

PROMPTER = Path(__file__).with_name("prompter.py")


class Stage:
    """`with Stage(folder, issuer) as stage`; `stage.command` is for the suite. With an issuer, a gateway is between."""

    def __init__(self, folder: Path, issuer: Issuer | None) -> None:
        self.folder = folder
        self.issuer = issuer
        self.said: list[str] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._plays, name="stage", daemon=True)

    @property
    def command(self) -> str:
        """What the suite is to run; it adds the URL of its mock server."""
        return f"{sys.executable} -S -E {PROMPTER} {self._door.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join()

    def _plays(self) -> None:
        while True:
            try:
                connection, _ = self._door.accept()
            except OSError:
                return  # the stage is closed
            with connection, connection.makefile("rw") as lines:
                lines.write(json.dumps(self._play(json.loads(lines.readline()))) + "\n")
                lines.flush()

    def _play(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            with self._before(asked["url"]) as (url, token):
                asyncio.run(visit(url, token, asked["env"]))
        except BaseException:  # noqa: BLE001  (whatever it is, the suite is told, and the test shows it)
            self.said.append(traceback.format_exc())
            return {"code": 1, "said": self.said[-1]}
        return {"code": 0, "said": ""}

    @contextlib.contextmanager
    def _before(self, upstream: str) -> Iterator[tuple[str, str | None]]:
        """The URL to visit and the token: the mock server's own, or a fresh gateway's in front of it."""
        if self.issuer is None:
            yield upstream, None
            return
        self.issuer.write(self.folder / "jwks.json")
        config = open_settings(upstream, self.issuer, listen=free_port(), admin=free_port())
        with Gateway(self.folder, config) as gateway:
            yield f"{gateway.url}/mcp/notes", self.issuer.token()
