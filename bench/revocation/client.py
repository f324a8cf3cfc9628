"""Many open streams over few HTTP/2 connections, and the moment at which each one ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import h2.config
import h2.connection
import h2.events

if TYPE_CHECKING:
    import ssl

Fields = list[tuple[str, str]]


@dataclass(slots=True)
class Exchange:
    """One request and what came back. `ended_at` is on the clock of `time.perf_counter`."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    ended_at: float = 0.0


class Connection(asyncio.Protocol):
    """One HTTP/2 connection."""

    def __init__(self) -> None:
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._open: dict[int, Exchange] = {}
        self._transport: Any = None

    @classmethod
    async def open(cls, address: tuple[str, int], context: ssl.SSLContext) -> Self:
        """Connect."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, *address, ssl=context, server_hostname="localhost")
        return connection

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._state.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        at = time.perf_counter()
        for event in self._state.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                exchange = self._open[event.stream_id]
                exchange.status = int(next(value for name, value in event.headers if name == b":status"))
                exchange.began.set()
            elif isinstance(event, h2.events.DataReceived):
                self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                self._end(event.stream_id, at)
        self._flush()

    def connection_lost(self, _exc: Exception | None) -> None:
        for stream in list(self._open):
            self._end(stream, time.perf_counter())

    def _end(self, stream: int, at: float) -> None:
        exchange = self._open.pop(stream)
        exchange.ended_at = at
        exchange.began.set()
        exchange.ended.set()

    def _flush(self) -> None:
        self._transport.write(self._state.data_to_send())

    def post(self, path: str, fields: Fields, body: bytes) -> Exchange:
        """Send a request."""
        stream = self._state.get_next_available_stream_id()
        self._open[stream] = exchange = Exchange()
        pseudo = [(":method", "POST"), (":scheme", "https"), (":path", path)]
        self._state.send_headers(stream, [*pseudo, *fields])
        self._state.send_data(stream, body, end_stream=True)
        self._flush()
        return exchange

    async def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(Exception):
            self._transport.abort()
