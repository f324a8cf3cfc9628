"""A raw HTTP/1.1 client: sends exactly the bytes it is given and reads one answer at a time.

No library stands between a test and the socket, because most of what is tested here no library would send.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping

DEADLINE_S = 10.0

SESSION_VERSION = "2025-11-25"
STATELESS_VERSION = "2026-07-28"

#: The member of `params` that `Mcp-Name` repeats.
MIRRORED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

T = TypeVar("T")


class CutError(Exception):
    """The other side closed the connection before the answer was whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: head and whole body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the field's value; several of one name are an error of the answer."""
        found = self.all(name)
        if len(found) > 1:
            raise AssertionError(f"`{name}` occurs {len(found)} times in the answer")
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        """Return every value of one field, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> Any:
        """Return the JSON-RPC message: the body, or the last message of an event stream."""
        if (self.header("content-type") or "").startswith("text/event-stream"):
            return [json.loads(event["data"]) for event in read_events(self.body) if event.get("data")][-1]
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The JSON-RPC error, or an empty object when there is none."""
        try:
            message = self.json()
        except (ValueError, IndexError):
            return {}
        found = message.get("error") if isinstance(message, dict) else None
        return found if isinstance(found, dict) else {}


def read_events(data: bytes) -> list[dict[str, str]]:
    """Read a finished event stream (WHATWG HTML section 9.2.6)."""
    text = data.decode().replace("\r\n", "\n").replace("\r", "\n")
    events = []
    for block in text.split("\n\n"):
        event: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                value = value.removeprefix(" ")
                event[name] = f"{event[name]}\n{value}" if name == "data" and "data" in event else value
        if event:
            events.append(event)
    return events


@dataclass(slots=True)
class Wire:
    """One connection. Every wait ends at `deadline_s` with `TimeoutError`."""

    address: tuple[str, int]
    deadline_s: float = DEADLINE_S
    source: str | None = None
    tls: ssl.SSLContext | None = None
    socket: socket.socket = field(init=False)
    held: bytes = field(init=False, default=b"")

    def __enter__(self) -> Self:
        origin = (self.source, 0) if self.source else None
        self.socket = socket.create_connection(self.address, timeout=self.deadline_s, source_address=origin)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname=self.address[0])
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`; a peer that has answered and closed already is no error here."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def ask(self, data: bytes) -> Reply:
        """Send `data` and read one answer."""
        self.send(data)
        return self.read()

    def read(self) -> Reply:
        """Read one whole answer, interim ones skipped."""
        head = self.read_head()
        return Reply(status=head.status, headers=head.headers, body=b"".join(self.body(head)))

    def read_head(self) -> Reply:
        """Read the head of the next final answer; `body` gives the rest as it comes."""
        while True:
            raw = self._until(b"\r\n\r\n")
            lines = raw.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            if status < 200:
                continue
            pairs = (line.partition(":") for line in lines[1:] if line)
            return Reply(status=status, headers=[(name, value.strip()) for name, _, value in pairs])

    def body(self, head: Reply) -> Iterator[bytes]:
        """Give the body of `head` piece by piece, each as soon as it has arrived."""
        if head.status in {204, 304}:
            return
        if (head.header("transfer-encoding") or "").lower() == "chunked":
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                yield self._exactly(size)
                self._exactly(2)
            while self._until(b"\r\n") != b"\r\n":
                pass
            return
        length = head.header("content-length")
        if length is not None:
            left = int(length)
            while left:
                piece = self._some(left)
                left -= len(piece)
                yield piece
            return
        while True:
            try:
                yield self._some(65536)
            except CutError:
                return

    def closed(self) -> bool:
        """Wait until the other side closes; `False` if it sends something or is still open at the deadline."""
        try:
            return not self.held and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _fill(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError as reset:
            raise CutError("connection reset") from reset
        if not data:
            raise CutError(f"connection closed, {len(self.held)} bytes of an answer read")
        self.held += data

    def _until(self, mark: bytes) -> bytes:
        while (at := self.held.find(mark)) < 0:
            self._fill()
        found, self.held = self.held[: at + len(mark)], self.held[at + len(mark) :]
        return found

    def _some(self, most: int) -> bytes:
        if not self.held:
            self._fill()
        found, self.held = self.held[:most], self.held[most:]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self.held) < size:
            self._fill()
        found, self.held = self.held[:size], self.held[size:]
        return found


def http(
    method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"", *, length: bool = True
) -> bytes:
    """Lay out one HTTP/1.1 request; `length` adds the true Content-Length."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if length and (body or method == "POST"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def encoded(name: str) -> str:
    """Return the value of an MCP header that means `name` (2026-07-28, Streamable HTTP, Value Encoding)."""
    if re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", name):
        return name
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


def call_headers(host: str, token: str | None, body: Mapping[str, Any], *, era: str) -> list[tuple[str, str]]:
    """Return the fields that a well-behaved client of `era` (`session` or `stateless`) sends with `body`."""
    fields = [("Host", host), ("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
    if token is not None:
        fields.append(("Authorization", f"Bearer {token}"))
    if era == "stateless":
        fields += [("MCP-Protocol-Version", STATELESS_VERSION), ("Mcp-Method", body["method"])]
        named = MIRRORED.get(body["method"])
        name = (body.get("params") or {}).get(named)
        if isinstance(name, str):
            fields.append(("Mcp-Name", encoded(name)))
    elif body.get("method") != "initialize":
        fields.append(("MCP-Protocol-Version", SESSION_VERSION))
    return fields


def message(
    method: str, params: Mapping[str, Any] | None = None, *, era: str, ident: int | str | None = 1
) -> dict[str, Any]:
    """Build the JSON-RPC message of a well-behaved client of `era`; `ident=None` makes a notification."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if ident is not None:
        body["id"] = ident
    given = dict(params or {})
    if era == "stateless":
        given["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": STATELESS_VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            **given.get("_meta", {}),
        }
    if given or params is not None:
        body["params"] = given
    return body


def tool_call(
    tool: str, arguments: Mapping[str, Any] | None = None, *, era: str, ident: int | str = 1
) -> dict[str, Any]:
    """Build a `tools/call`."""
    params: dict[str, Any] = {"name": tool}
    if arguments is not None:
        params["arguments"] = arguments
    return message("tools/call", params, era=era, ident=ident)


def wait_until(found: Callable[[], T], *, deadline_s: float = DEADLINE_S, step_s: float = 0.005, what: str = "it") -> T:
    """Ask `found()` again until it gives something true, and return that; `TimeoutError` names `what`."""
    end = time.monotonic() + deadline_s
    while True:
        if value := found():
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {deadline_s} s")
        time.sleep(step_s)
