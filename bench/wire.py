"""A bare asynchronous HTTP/1.1 client: sends the bytes that it is given and reads answers message by message."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

LIMIT = 1 << 22


class LostError(Exception):
    """The other side closed before its answer was whole, or took too long."""


@dataclass(slots=True)
class Answer:
    """The head of an answer; `messages` gives what follows, each message as soon as it is there."""

    status: int
    fields: dict[str, str]
    reader: asyncio.StreamReader

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces."""
        if self.fields.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readuntil(b"\r\n")
        elif length := int(self.fields.get("content-length", 0)):
            yield await self.reader.readexactly(length)

    async def messages(self) -> AsyncIterator[Any]:
        """The JSON-RPC messages of a JSON body or an event stream; a body of another kind has none."""
        kind = self.fields.get("content-type", "")
        held = b""
        async for piece in self.body():
            held += piece
            if kind.startswith("text/event-stream"):
                *blocks, held = held.replace(b"\r\n", b"\n").split(b"\n\n")
                for block in blocks:
                    lines = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
                    if any(lines):
                        yield json.loads(b"\n".join(lines))
        if kind.startswith("application/json") and held:
            yield json.loads(held)


@dataclass(slots=True)
class Connection:
    """One connection, opened again when the other side has closed it."""

    address: tuple[str, int]
    timeout_s: float = 30.0
    _pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; the next request opens again."""
        if self._pair is not None:
            self._pair[1].close()
            self._pair = None

    async def send(self, request: bytes) -> Answer:
        """Send one request and read the head of its answer. The body must be read before the next request."""
        for fresh in (self._pair is None, True):
            if fresh:
                self.close()
                self._pair = await asyncio.open_connection(*self.address, limit=LIMIT)
            assert self._pair is not None
            reader, writer = self._pair
            try:
                writer.write(request)
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.timeout_s)
            except (ConnectionError, asyncio.IncompleteReadError) as cut:
                if fresh:
                    self.close()
                    raise LostError(str(cut)) from cut
            else:
                return Answer(*_head(head), reader=reader)
        raise LostError("no answer")

    async def ask(self, request: bytes) -> tuple[int, list[Any]]:
        """Send one request and read the whole answer: its status and its messages."""
        answer = await self.send(request)
        try:
            found = [message async for message in answer.messages()]
        except (asyncio.IncompleteReadError, ConnectionError) as cut:
            self.close()
            raise LostError(str(cut)) from cut
        if answer.fields.get("connection", "").lower() == "close":
            self.close()
        return answer.status, found


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


def post(path: str, fields: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Lay out one POST."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
