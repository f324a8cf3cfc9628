"""Keeps the events of session-era streams, so that a client can come back for them with `Last-Event-ID`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mcp.server.streamable_http import EventMessage, EventStore

if TYPE_CHECKING:
    from mcp.server.streamable_http import EventCallback
    from mcp.types import JSONRPCMessage

KEPT = 200
"""Events kept of one stream; a server under load for minutes must not grow."""


class Events(EventStore):
    """One list of events per stream; ids count up over all streams.

    The SDK names a stream by its request id alone, so two bare sessions that use one id at the same time would share
    a stream here. A priming event (no message) begins a stream anew, which keeps sessions apart that follow each other.
    """

    def __init__(self) -> None:
        self._last = 0
        self._streams: defaultdict[str, list[tuple[int, JSONRPCMessage | None]]] = defaultdict(list)

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep an event and give it an id."""
        self._last += 1
        kept = self._streams[stream_id]
        if message is None:
            kept.clear()
        kept.append((self._last, message))
        del kept[:-KEPT]
        return str(self._last)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what came after an event on its stream, and name the stream."""
        asked = int(last_event_id) if last_event_id.isdecimal() else 0
        for stream, kept in self._streams.items():
            if any(number == asked for number, _ in kept):
                for number, message in list(kept):
                    if number > asked and message is not None:
                        await send_callback(EventMessage(message, str(number)))
                return stream
        return None
