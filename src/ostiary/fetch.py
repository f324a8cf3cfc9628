"""Fetches documents of others over HTTP, so that nobody who names a URL can make this machine ask what it should not.

A name is resolved once; every address that it has must be allowed (`ostiary.reachable`), and the connection goes to
one of those that were checked, so that a name cannot change its mind in between. Redirects are not followed, proxies
of the environment are not used, compressed answers are not taken, and one deadline covers all from the first question
to the last byte.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from ostiary import strictjson
from ostiary.errors import OperationError
from ostiary.reachable import Reach, Target, UnreachableError, check_address, on_this_machine, read_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Address = IPv4Address | IPv6Address
    Resolver = Callable[[str, int], Sequence[Any]]

__all__ = ["FetchError", "Fetched", "Reach", "fetch", "fetch_json"]

MAX_HEAD: Final = 32 * 1024
#: How much larger than a body its chunks may be: one byte to a chunk, and a little more.
CHUNKING: Final = 8


class FetchError(OperationError):
    """There is no usable answer. The message is one line, and holds nothing of what came back."""

    #: Whether there was an answer, or an address, that is not taken; else the site may only be down.
    answered: bool = False
    #: The end of a message that names the URL.
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer. Names of `headers` are in lower case, and repeated fields are joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def fetch(
    url: str,
    *,
    reach: Reach,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    max_bytes: int = 65536,
    timeout_s: float = 5.0,
    ca_file: Path | None = None,
    resolver: Resolver | None = None,
) -> Fetched:
    """Return the answer of `url`, whatever its status but for redirects. Blocks for at most `timeout_s` in all.

    `reach` says how far the URL may lead. `ca_file` (PEM) adds authorities to those of the machine; where the reach is
    `LOOPBACK`, on this machine alone. `resolver` answers as `socket.getaddrinfo` does, which is the default. Raises
    `FetchError`.
    """
    deadline, answered = time.monotonic() + timeout_s, False
    try:
        target = read_url(url, reach)
    except UnreachableError as error:
        raise FetchError(f"the URL cannot be fetched: {error}") from None
    try:
        addresses = _resolve(target, resolver or _getaddrinfo, deadline)
        for address in addresses:
            check_address(address, target, reach)
        trusted = ca_file if reach is not Reach.LOOPBACK or all(map(on_this_machine, addresses)) else None
        with _connect(target, addresses, deadline) as plain, _secure(plain, target, trusted, deadline) as secured:
            return _ask(_Timed(secured, deadline), target, method, headers or {}, body, max_bytes)
    except (UnreachableError, _UnusableError) as error:
        why, answered = str(error), isinstance(error, UnreachableError | _NotTakenError)
    except TimeoutError:
        why = f"no answer within {timeout_s:g} s"
    except ssl.SSLCertVerificationError as error:
        why = f"its certificate is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        why = f"TLS fails: {error.reason or type(error).__name__}"
    except (http.client.HTTPException, ValueError):
        why = "the answer is no proper HTTP"
    except OSError as error:
        why = error.strerror or type(error).__name__
    refused = FetchError(f"{target.shown} cannot be fetched: {why}")
    refused.answered, refused.why = answered, why
    raise refused


def fetch_json(url: str, **how: Any) -> dict[str, Any]:
    """Return the JSON object that `url` answers with status 200; `how` is as for `fetch`. Raises `FetchError`."""
    answer = fetch(url, **how)
    shown = url.partition("?")[0][:200]
    if answer.status != 200:
        raise FetchError(f"{shown} cannot be fetched: the answer has status {answer.status}")
    try:
        found = strictjson.parse(answer.body)
    except strictjson.StrictJsonError as error:
        raise FetchError(f"{shown} holds no JSON: {error}") from None
    if not isinstance(found, dict):
        raise FetchError(f"{shown} holds no JSON object")
    return found


class _UnusableError(Exception):
    """What came back cannot be used."""


class _NotTakenError(_UnusableError):
    """What came back is nothing that is taken."""


# Addresses ------------------------------------------------------------------------------------------------------------


def _getaddrinfo(host: str, port: int) -> Sequence[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


def _resolve(target: Target, resolver: Resolver, deadline: float) -> list[Address]:
    """Return every address of the target. Looking up a name knows no deadline, so it is left behind if it is slow."""
    if target.literal is not None:
        return [target.literal]
    answers: queue.SimpleQueue[Sequence[Any] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(resolver(target.host, target.port))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    try:
        found = answers.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception) or not found:
        raise _UnusableError("its name has no address")
    # The zone of an address (`fe80::1%eth0`) is no part of it here: those that have one are refused.
    return list(dict.fromkeys(ip_address(entry[4][0].partition("%")[0]) for entry in found))


def _connect(target: Target, addresses: Sequence[Address], deadline: float) -> socket.socket:
    """Connect to the first of the checked `addresses` that answers; each gets its share of the time."""
    failure: OSError = TimeoutError()
    for number, address in enumerate(addresses):
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline) / (len(addresses) - number))
            connection.connect((str(address), target.port))
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _secure(plain: socket.socket, target: Target, ca_file: Path | None, deadline: float) -> socket.socket:
    if target.scheme == "http":
        return plain
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    context.set_alpn_protocols(["http/1.1"])
    plain.settimeout(_left(deadline))
    return context.wrap_socket(plain, server_hostname=target.host, suppress_ragged_eofs=False)


# One question and its answer ------------------------------------------------------------------------------------------


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Timed(io.RawIOBase):
    """A connection of which every single step ends by the deadline, and that reads `limit` bytes and no more."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = deadline
        self.limit = MAX_HEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.limit <= 0:
            raise _NotTakenError("the answer is too large")
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(memoryview(buffer)[: self.limit])
        self.limit -= count
        return count

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._connection.settimeout(_left(self._deadline))
            rest = rest[self._connection.send(rest) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


class _Connection(http.client.HTTPConnection):
    """Speaks HTTP over a connection that is there already, and never makes one."""

    auto_open = 0

    def __init__(self, target: Target, timed: _Timed) -> None:
        super().__init__(target.host, target.port)
        self.sock: Any = timed

    def close(self) -> None:
        """Leave the connection to whoever opened it."""


def _ask(
    timed: _Timed, target: Target, method: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int
) -> Fetched:
    fixed = {
        "Host": target.authority,
        "User-Agent": "ostiary",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    asked = {name: value for name, value in headers.items() if name.title() not in fixed}
    connection = _Connection(target, timed)
    connection.request(method, target.path, body=body, headers={**fixed, **asked})
    with connection.getresponse() as response:
        if 300 <= response.status < 400:
            raise _NotTakenError(f"it redirects (status {response.status}), and redirects are not followed")
        for name, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
            if (response.getheader(name) or plain).strip().lower() != plain:
                raise _NotTakenError(f"its {name} is not taken")
        timed.limit = CHUNKING * max_bytes + MAX_HEAD
        taken = _read(response, max_bytes)
        found: dict[str, str] = {}
        for name, value in response.getheaders():
            found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
        return Fetched(status=response.status, headers=found, body=taken)


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    if response.length is not None and response.length > max_bytes:
        raise _NotTakenError(f"the answer is larger than {max_bytes} bytes")
    taken = bytearray()
    while part := response.read(max_bytes + 1 - len(taken)):
        taken += part
        if len(taken) > max_bytes:
            raise _NotTakenError(f"the answer is larger than {max_bytes} bytes")
    if response.length:
        raise _UnusableError("the answer ends before its end")
    return bytes(taken)
