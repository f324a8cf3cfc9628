"""An upstream MCP server that keeps every byte it gets, and answers as the test says.

It stands where a customer's server stands: a real socket, its own thread. Left alone it is a small, polite MCP
server of both eras; a script makes it stream, stall, lie or hang up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .manners import STATELESS_VERSION, polite, polite_events, result_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

__all__ = ["Gate", "Push", "Seen", "Talk", "Upstream", "polite", "polite_events", "result_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it arrived."""

    head: bytes
    body: bytes
    connection: int

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        """The request target."""
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The fields, names in lower case, in order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def header(self, name: str) -> str | None:
        """Return the one value of a field."""
        found = [value for key, value in self.headers if key == name.lower()]
        if len(found) > 1:
            raise AssertionError(f"the upstream got `{name}` {len(found)} times")
        return found[0] if found else None

    @property
    def message(self) -> Any:
        """The JSON-RPC message, or an empty object."""
        return json.loads(self.body) if self.body else {}

    @property
    def rpc(self) -> str | None:
        """The JSON-RPC method."""
        message = json.loads(self.body) if self.body else None
        return message.get("method") if isinstance(message, dict) else None

    @property
    def stateless(self) -> bool:
        """Whether this is a request of the stateless era."""
        return self.header("mcp-protocol-version") == STATELESS_VERSION


@dataclass(slots=True)
class Talk:
    """The answering side of one request."""

    writer: asyncio.StreamWriter

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def json(self, message: Any, *, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer with one JSON body."""
        await self.whole(json.dumps(message).encode(), status=status, headers=headers)

    async def whole(
        self,
        body: bytes,
        *,
        status: int = 200,
        headers: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
    ) -> None:
        """Answer with one body of known length."""
        fields = [*headers, ("Content-Length", str(len(body)))]
        if body:
            fields.append(("Content-Type", content_type))
        await self.raw(_head(status, fields) + body)

    async def stream(self, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Begin an event stream."""
        fields = [*headers, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]
        await self.raw(_head(200, fields))

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a begun stream."""
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, message: Any, *, extra: str = "") -> None:
        """Send one JSON-RPC message as an event; `extra` are whole lines before its data."""
        await self.chunk(f"{extra}event: message\r\ndata: {json.dumps(message)}\r\n\r\n".encode())

    async def end(self) -> None:
        """End a begun stream."""
        await self.raw(b"0\r\n\r\n")

    async def until_left(self) -> None:
        """Wait until the gateway closes the connection, which ends the script."""
        await asyncio.Event().wait()

    def hang_up(self) -> None:
        """Close the connection, whatever has been sent."""
        self.writer.close()


class _Connection(asyncio.StreamReaderProtocol):
    """A stream pair that also says when the peer has closed, while nobody reads."""

    def __init__(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> None:
        super().__init__(asyncio.StreamReader(limit=1 << 20), serve)
        self.gone = asyncio.Event()

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


def _head(status: int, fields: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(slots=True)
class Gate:
    """A point in a script: the script says that it is there and waits until the test lets it on."""

    loop: asyncio.AbstractEventLoop
    reached: threading.Event = field(default_factory=threading.Event)
    _passed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        """Be there, and wait."""
        self.reached.set()
        await self._passed.wait()

    def open(self) -> None:
        """Let the script on."""
        self.loop.call_soon_threadsafe(self._passed.set)


@dataclass(slots=True)
class Push:
    """An event stream whose events the test gives one by one: `await push.run(talk)` in a script."""

    loop: asyncio.AbstractEventLoop
    begun: threading.Event = field(default_factory=threading.Event)
    _steps: asyncio.Queue[Callable[[Talk], Awaitable[None]] | None] = field(default_factory=asyncio.Queue)

    async def run(self, talk: Talk, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Begin the stream and send what the test gives, until it ends the stream or the gateway leaves."""
        await talk.stream(headers=headers)
        self.begun.set()
        while (step := await self._steps.get()) is not None:
            await step(talk)

    def event(self, message: Any, *, extra: str = "") -> None:
        """Send one JSON-RPC message."""
        self._do(lambda talk: talk.event(message, extra=extra))

    def chunk(self, data: bytes) -> None:
        """Send bytes of the stream as they are."""
        self._do(lambda talk: talk.chunk(data))

    def end(self) -> None:
        """End the stream properly."""
        self._do(lambda talk: talk.end())
        self._do(None)

    def _do(self, step: Callable[[Talk], Awaitable[None]] | None) -> None:
        self.loop.call_soon_threadsafe(self._steps.put_nowait, step)


class Upstream:
    """The server: `with Upstream() as upstream`, then `upstream.url` and `upstream.seen`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.bytes = 0
        self.script: Callable[[Seen, Talk], Awaitable[None]] = polite
        self.address = ("127.0.0.1", 0)
        self.hang_ups = threading.Semaphore(0)
        self._loop = asyncio.new_event_loop()
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(self._start())
        host, port = self._server.sockets[0].getsockname()
        self.address = (host, port)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return f"http://{self.address[0]}:{self.address[1]}/mcp"

    @property
    def count(self) -> int:
        """How many requests have arrived."""
        return len(self.seen)

    def calls(self, since: int = 0) -> list[Seen]:
        """Return the `tools/call` requests that arrived after the first `since` requests."""
        return [seen for seen in self.seen[since:] if seen.rpc == "tools/call"]

    def gate(self) -> Gate:
        """Make a gate for a script of this upstream."""
        return Gate(self._loop)

    def push(self) -> Push:
        """Make an event stream for a script of this upstream."""
        return Push(self._loop)

    def forget_hang_ups(self) -> None:
        """Count from here on how often the gateway left."""
        while self.hang_ups.acquire(blocking=False):
            pass

    @contextlib.contextmanager
    def scripted(self, script: Callable[[Seen, Talk], Awaitable[None]]) -> Iterator[None]:
        """Answer by `script` inside the block."""
        before, self.script = self.script, script
        try:
            yield
        finally:
            self.script = before

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Connection(self._serve), "127.0.0.1", 0)

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.transport.get_protocol()
        assert isinstance(connection, _Connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        number = self._connections
        try:
            while (seen := await self._read(reader, number)) is not None:
                self.seen.append(seen)
                await self._answer(seen, connection.gone, writer)
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the gateway went away, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, seen: Seen, peer_gone: asyncio.Event, writer: asyncio.StreamWriter) -> None:
        """Run the script, and end it early when the gateway closes the connection meanwhile."""
        work = asyncio.ensure_future(self.script(seen, Talk(writer)))
        gone = asyncio.ensure_future(peer_gone.wait())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.hang_ups.release()
                raise ConnectionResetError
            try:
                await work
            except ConnectionError:
                self.hang_ups.release()
                raise
        finally:
            for side in (work, gone):
                side.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Seen | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as cut:
            self.bytes += len(cut.partial)
            return None
        self.bytes += len(head)
        found = Seen(head=head, body=b"", connection=number)
        if (found.header("transfer-encoding") or "").lower() == "chunked":
            body = await _chunks(reader)
        else:
            body = await reader.readexactly(int(found.header("content-length") or 0))
        self.bytes += len(body)
        return Seen(head=head, body=body, connection=number)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body
