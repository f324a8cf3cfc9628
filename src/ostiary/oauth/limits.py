"""How often somebody may do something, and what was tried in vain a moment ago. Kept in memory, and bounded."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, deque
from typing import Final

from ostiary.oauth.web import OAuthError

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


class Failures:
    """What could not be had, for a short while."""

    def __init__(self, *, lasting_s: int) -> None:
        self._lasting_s = lasting_s
        self._failed: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._turn = threading.Lock()

    def note(self, name: str, why: str, now: int) -> None:
        """Remember that `name` failed."""
        with self._turn:
            self._failed[name] = (why, now + self._lasting_s)
            self._failed.move_to_end(name)
            while len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)

    def check(self, name: str, now: int) -> None:
        """Raise `OAuthError` if `name` failed a moment ago."""
        with self._turn:
            why, until = self._failed.get(name, ("", 0))
        if now < until:
            raise unusable(why)


def unusable(why: str) -> OAuthError:
    """Return the refusal of a client whose document cannot be had."""
    return OAuthError("invalid_client", f"the client's document cannot be used: {why}", status=401)
