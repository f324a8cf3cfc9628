"""How often somebody may do something, and what was tried in vain a moment ago. Kept in memory, and bounded."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, deque
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ostiary.oauth.web import OAuthError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Found = TypeVar("Found")
#: How many callers or names are remembered; beyond, those who came first are forgotten.
REMEMBERED: Final = 10_000


def network(address: str) -> str:
    """Return as who an address counts: itself, or its /64, since a host of IPv6 has all of that."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if known.version == 4:
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.IPv6Network((known, 64), strict=False))


class Window:
    """At most `limit` times within `seconds` for each network (see `network`)."""

    def __init__(self, *, limit: int, seconds: int) -> None:
        self._limit, self._seconds = limit, seconds
        self._seen: OrderedDict[str, deque[int]] = OrderedDict()
        self._turn = threading.Lock()

    def take(self, address: str, now: int) -> bool:
        """Count one, unless there were too many; then false."""
        caller = network(address)
        with self._turn:
            times = self._seen.setdefault(caller, deque())
            self._seen.move_to_end(caller)
            while times and times[0] <= now - self._seconds:
                times.popleft()
            if len(times) >= self._limit:
                return False
            times.append(now)
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            return True


class Slots:
    """At most `total` at a time, and one of them for each network (see `network`)."""

    def __init__(self, *, total: int) -> None:
        self._total = total
        self._held: set[str] = set()
        self._free = threading.Condition()

    @contextmanager
    def hold(self, address: str, *, patience_s: float) -> Iterator[bool]:
        """Hold a slot meanwhile; false if none was free within `patience_s`."""
        caller = network(address)
        with self._free:
            held = self._free.wait_for(lambda: caller not in self._held and len(self._held) < self._total, patience_s)
            if held:
                self._held.add(caller)
        try:
            yield held
        finally:
            if held:
                with self._free:
                    self._held.remove(caller)
                    self._free.notify_all()


class UnreachedError(OAuthError):
    """A document could not be asked for: that says nothing of what stands in it."""


class LimitedError(UnreachedError):
    """A document was not asked for, since too much was: that says nothing of its site either."""


class Flights(Generic[Found]):
    """One at a time for each name: who comes meanwhile waits for what comes of it. Few may wait, and not for long."""

    def __init__(self, *, waiting: int) -> None:
        self._waiting = threading.BoundedSemaphore(waiting)
        self._under_way: dict[str, Future[Found]] = {}
        self._turn = threading.Lock()

    def share(self, name: str, go: Callable[[], Found], *, patience_s: float) -> Found:
        """Return what `go` returns, or what comes of one that is under way already; raises what that raises.

        Raises `LimitedError` if that takes longer than `patience_s`, or too many wait.
        """
        with self._turn:
            there = self._under_way.get(name)
            mine: Future[Found] = Future()
            if there is None:
                self._under_way[name] = mine
        if there is not None:
            return self._wait(there, go, patience_s)
        try:
            mine.set_result(go())
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._turn:
                del self._under_way[name]
        return mine.result()

    def _wait(self, there: Future[Found], go: Callable[[], Found], patience_s: float) -> Found:
        if not self._waiting.acquire(blocking=False):
            raise LimitedError("invalid_client", "Too many clients are being looked up. Try again.", status=503)
        try:
            return there.result(timeout=patience_s)
        except TimeoutError:
            raise LimitedError("invalid_client", "The client is being looked up. Try again.", status=503) from None
        except LimitedError:
            return go()  # the limits of who went are not those of who waits
        finally:
            self._waiting.release()


class Failures:
    """What could not be had, for a short while."""

    def __init__(self, *, lasting_s: int) -> None:
        self._lasting_s = lasting_s
        self._failed: OrderedDict[str, tuple[OAuthError, int]] = OrderedDict()
        self._turn = threading.Lock()

    def note(self, name: str, why: OAuthError, now: int) -> None:
        """Remember how `name` failed."""
        with self._turn:
            self._failed[name] = (why, now + self._lasting_s)
            self._failed.move_to_end(name)
            while len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)

    def check(self, name: str, now: int) -> None:
        """Raise `OAuthError` if `name` failed a moment ago."""
        with self._turn:
            why, until = self._failed.get(name, (None, 0))
        if why is not None and now < until:
            raise type(why)(why.error, why.description, status=why.status)
