"""A small web server of raw sockets for tests: it answers each request with the next of its scripts, and counts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kit.pki import TlsPair

    Script = bytes | Callable[[socket.socket], None]


def answer(body: bytes | str, *, status: str = "200 OK", **fields: str) -> bytes:
    """Return a plain answer; underscores in names of `fields` stand for hyphens."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


class WebServer:
    """Serves on 127.0.0.1 while entered. `scripts` maps a path to its answer and may be changed while running."""

    def __init__(self, tls: TlsPair | None = None, folder: Path | None = None) -> None:
        """Speak TLS with `tls`, which is written into `folder`."""
        self.scripts: dict[str, Script] = {}
        self.heads: list[str] = []
        self.connections = 0
        self._context: ssl.SSLContext | None = None
        if tls is not None and folder is not None:
            tls.write(folder)
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [head.split(" ", 2)[1] for head in self.heads]

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return the URL of `path`."""
        return f"{'http' if self._context is None else 'https'}://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        self._thread.join(5)
        self._listener.close()

    def until_the_end(self, connection: socket.socket, piece: bytes, each_s: float) -> None:
        """Send `piece` again and again, `each_s` apart, as long as anybody takes it."""
        while not self._ended.wait(each_s):
            connection.sendall(piece)

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._ended.is_set():
                connection.close()
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, plain: socket.socket) -> None:
        plain.settimeout(10)
        with contextlib.suppress(OSError):
            connection = plain if self._context is None else self._context.wrap_socket(plain, server_side=True)
            with connection:
                request = self._request(connection)
                head = request.decode("latin-1")
                self.heads.append(head)
                path = head.split(" ", 2)[1].partition("?")[0]
                script = self.scripts.get(path, answer("no", status="404 Not Found"))
                if callable(script):
                    script(connection)
                else:
                    connection.sendall(script)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(4096)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(4096)
        return head + b"\r\n\r\n" + body
