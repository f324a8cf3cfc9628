"""A door before the gateway that adds the caller's token: the conformance suite has no way to send one.

It forwards bytes, both ways and at once, and touches nothing but the heads of requests, into each of which it puts
one `Authorization` line. Host and Origin stay as the suite wrote them. When either side closes, so does the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HEAD_LIMIT = 1 << 20
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)


class Shim:
    """`with Shim(gateway.address, token) as shim`, then `shim.port`; it lives in a thread of its own."""

    def __init__(self, behind: tuple[str, int], token: Callable[[], str], *, port: int = 0) -> None:
        self.behind = behind
        self.token = token
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shim", daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=HEAD_LIMIT))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                back_reader, back_writer = await asyncio.open_connection(*self.behind, limit=HEAD_LIMIT)
                await self._both(reader, writer, back_reader, back_writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back_reader: asyncio.StreamReader,
        back_writer: asyncio.StreamWriter,
    ) -> None:
        ways = {
            asyncio.ensure_future(self._requests(reader, back_writer)),
            asyncio.ensure_future(_copy(back_reader, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back_writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass requests on, one after the other, each with the token in its head."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(head[:-2] + f"Authorization: Bearer {self.token()}\r\n\r\n".encode())
            if CHUNKED.search(head):
                await _chunks(reader, writer)
            elif length := LENGTH.search(head):
                writer.write(await reader.readexactly(int(length[1])))
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        writer.write(line + await reader.readexactly(size + 2))
        if size == 0:
            return
