"""One client of one server through the gateway: its messages, its streams, and events of these one at a time."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .wire import SESSION_VERSION, CutError, Reply, Wire, http, message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .gateway import Gateway


@dataclass(slots=True)
class Feed:
    """The answer to one request, as it comes."""

    wire: Wire
    head: Reply
    held: bytes = b""
    pieces: Iterator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.pieces = self.wire.body(self.head)

    def event(self) -> dict[str, str] | None:
        """Wait for the next event that is no comment; `None` at the end of the stream."""
        while True:
            while b"\n\n" not in self.held:
                try:
                    self.held += next(self.pieces).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                except (StopIteration, CutError):
                    return None
            block, _, self.held = self.held.partition(b"\n\n")
            if event := _fields(block.decode()):
                return event

    def next(self) -> Any:
        """Wait for the next JSON-RPC message; `None` at the end of the stream."""
        while (event := self.event()) is not None:
            if event.get("data"):
                return json.loads(event["data"])
        return None

    def rest(self) -> list[Any]:
        """Wait for the end of the stream, and return the messages until there."""
        return list(iter(self.next, None))


def _fields(block: str) -> dict[str, str]:
    event: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        if name:
            value = value.removeprefix(" ")
            event[name] = f"{event[name]}\n{value}" if name == "data" and "data" in event else value
    return event


@dataclass(slots=True, kw_only=True)
class Caller:
    """A well-behaved client of `era`; in the session era it is in `session` unless that is `None`."""

    gateway: Gateway
    token: str
    era: str
    server: str = "notes"
    session: str | None = None

    @classmethod
    def arrive(cls, gateway: Gateway, token: str, era: str, *, server: str = "notes") -> Caller:
        """Return a client that has done whatever its era begins with."""
        session = gateway.open_session(token, server=server) if era == "session" else None
        return cls(gateway=gateway, token=token, era=era, server=server, session=session)

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The header fields that name the session."""
        return [("Mcp-Session-Id", self.session)] if self.session else []

    def say(self, method: str, params: Mapping[str, Any] | None = None, *, ident: int | str | None = 1) -> Reply:
        """Send one request, or a notification without an id, and read the whole answer."""
        return self.post(message(method, params, era=self.era, ident=ident))

    def post(self, body: Mapping[str, Any] | bytes, *, headers: Sequence[tuple[str, str]] = ()) -> Reply:
        """Send one message as it is."""
        return self.gateway.post(body, self.token, era=self.era, server=self.server, headers=[*self.fields, *headers])

    def answer(self, ident: Any, result: Mapping[str, Any] | None = None, **error: Any) -> Reply:
        """Answer a request of the server: with a result, or with an error's members."""
        content = {"error": error} if error else {"result": dict(result or {})}
        body = json.dumps({"jsonrpc": "2.0", "id": ident, **content}).encode()
        return self._plain(body)

    def _plain(self, body: bytes) -> Reply:
        with self.gateway.wire() as wire:
            fields = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
            return wire.ask(http("POST", f"/mcp/{self.server}", [*self._head(), *fields], body))

    def _head(self) -> list[tuple[str, str]]:
        return [
            ("Host", self.gateway.host),
            ("Authorization", f"Bearer {self.token}"),
            ("MCP-Protocol-Version", SESSION_VERSION),
            *self.fields,
        ]

    @contextlib.contextmanager
    def stream(self, method: str, params: Mapping[str, Any] | None = None, *, ident: int | str = 1) -> Iterator[Feed]:
        """Send one request and read its answer as it comes."""
        body = message(method, params, era=self.era, ident=ident)
        with self.gateway.wire() as wire:
            wire.send(self.gateway.layout(body, self.token, era=self.era, server=self.server, headers=self.fields))
            yield Feed(wire, wire.read_head())

    @contextlib.contextmanager
    def listen(self, last_event: str | None = None, **fields: str) -> Iterator[Feed]:
        """Open the stream of the session, or go on with a broken one."""
        resumed = [("Last-Event-ID", last_event)] if last_event is not None else []
        more = [(name.replace("_", "-"), value) for name, value in fields.items()]
        head = [*self._head(), ("Accept", "text/event-stream"), *resumed, *more]
        with self.gateway.wire() as wire:
            wire.send(http("GET", f"/mcp/{self.server}", head))
            yield Feed(wire, wire.read_head())

    def leave(self) -> Reply:
        """End the session."""
        with self.gateway.wire() as wire:
            return wire.ask(http("DELETE", f"/mcp/{self.server}", self._head()))
