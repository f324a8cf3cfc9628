"""An HTTP/2 client that can break the rules: whole requests by a library, and frames by hand."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from .wire import DEADLINE_S, Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

Pairs = list[tuple[str, str]]


class GoneError(Exception):
    """The other side ended the connection. `code` is that of GOAWAY, if there was one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"GOAWAY {code}" if code is not None else "closed")
        self.code = code


class ResetError(Exception):
    """The other side reset the stream."""

    def __init__(self, code: int) -> None:
        super().__init__(f"RST_STREAM {code}")
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Lay out one frame (RFC 9113 section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Lay out one field that is never put in the table (RFC 7541 section 6.2.2)."""
    return b"\x00" + _text(name) + _text(value)


def _text(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, out = len(data) - 127, bytearray([127])
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes([*out, rest]) + data


@dataclass(slots=True)
class H2:
    """One connection over TLS."""

    address: tuple[str, int]
    context: ssl.SSLContext
    socket: ssl.SSLSocket = field(init=False)
    h2: h2.connection.H2Connection = field(init=False)
    writers: list[threading.Thread] = field(init=False, default_factory=list)

    def __enter__(self) -> Self:
        plain = socket.create_connection(self.address, timeout=DEADLINE_S)
        self.socket = self.context.wrap_socket(plain, server_hostname=self.address[0])
        assert self.socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        # None may still write when the number of the socket becomes that of another.
        for writer in self.writers:
            writer.join()
        self.socket.close()

    def flush(self) -> None:
        """Send what the library has laid out."""
        self.socket.sendall(self.h2.data_to_send())

    def raw(self, data: bytes) -> None:
        """Send bytes as they are; a peer that has gone already is no error here."""
        try:
            self.socket.sendall(data)
        except OSError:
            return

    def flood(self, data: bytes) -> None:
        """Send bytes as they are beside whatever is read meanwhile."""
        self.writers.append(threading.Thread(target=self.raw, args=(data,)))
        self.writers[-1].start()

    def start(self, headers: Pairs, body: bytes | None = None, trailers: Pairs | None = None) -> int:
        """Send one request and return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=body is None and trailers is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=trailers is None)
        if trailers is not None:
            self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()
        return stream

    def ask(self, headers: Pairs, body: bytes | None = None, trailers: Pairs | None = None) -> Reply:
        """Send one request and read its answer."""
        return self.answers([self.start(headers, body, trailers)])[0]

    def answers(self, streams: Iterable[int]) -> list[Reply]:
        """Read the answers of `streams`. Raises `ResetError` or `GoneError`."""
        wanted = list(streams)
        heads: dict[int, Pairs] = {}
        bodies: dict[int, bytes] = dict.fromkeys(wanted, b"")
        open_ones = set(wanted)
        end = time.monotonic() + DEADLINE_S
        while open_ones:
            if time.monotonic() > end:
                raise TimeoutError("no answer")
            for event in self.events():
                if isinstance(event, h2.events.ResponseReceived):
                    heads[event.stream_id] = [(str(name), str(value)) for name, value in event.headers or ()]
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data or b""
                    self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    raise ResetError(int(event.error_code or 0))
                elif isinstance(event, h2.events.StreamEnded):
                    open_ones.discard(event.stream_id)
            self.flush()
        return [self._reply(heads[stream], bodies[stream]) for stream in wanted]

    def _reply(self, head: Pairs, body: bytes) -> Reply:
        status = next(int(value) for name, value in head if name == ":status")
        return Reply(status=status, headers=[pair for pair in head if not pair[0].startswith(":")], body=body)

    def events(self) -> list[Any]:
        """Read what comes next. Raises `GoneError` at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise GoneError(None)
        try:
            found: list[Any] = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            raise GoneError(None) from error
        for event in found:
            if isinstance(event, h2.events.ConnectionTerminated):
                raise GoneError(int(event.error_code or 0))
        return found

    def gone(self) -> int | None:
        """Read on until the connection ends, and return the code of its GOAWAY."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                self.events()
            except GoneError as error:
                return error.code
        raise TimeoutError("the connection is still open")
