"""How the servers of others are asked: not too often, and with few who wait while one of them hangs."""

from __future__ import annotations

import threading
from typing import Final

#: Because of a key that is not known, a source may be asked so many times in a row, each in a second of its own, and
#: after that once in so many seconds: a new key is found at once, and whoever makes up names of keys gains little.
LOOKS: Final = 5
LOOK_S: Final = 12
#: After a failure, a source of which nothing is known that counts is left alone for so long, in seconds.
RETRY_S: Final = 3


class Looks:
    """How often each source may be asked ahead of time (see `LOOKS`). Sources are those of the configuration."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        #: When it was last asked, and when its whole allowance will be there again, in seconds since the epoch.
        self._seen: dict[str, tuple[int, int]] = {}

    def take(self, source: str, now: int) -> bool:
        """Count one more question, unless there were too many; then false."""
        with self._turn:
            last, whole = self._seen.get(source, (-1, 0))
            if now < last:  # the clock was set back
                whole = 0
            if now == last or whole - now > (LOOKS - 1) * LOOK_S:
                return False
            self._seen[source] = now, max(whole, now) + LOOK_S
            return True


class Queue:
    """Those who wait for another thread to fetch what they cannot do without: few at a time, and briefly."""

    def __init__(self, *, most: int, wait_s: float) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._wait_s = wait_s

    def take(self, lock: threading.Lock, *, wait: bool) -> bool:
        """Take the lock, if it is free or, where it is worth to `wait`, soon becomes so."""
        if lock.acquire(blocking=False):
            return True
        if not wait or not self._places.acquire(blocking=False):
            return False
        try:
            return lock.acquire(timeout=self._wait_s)
        finally:
            self._places.release()
