"""Many callers at once, each on a connection of its own, until told to stop."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from .wire import CutError, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from .wire import Reply


@dataclass
class Load:
    """`with Load(...) as load`: each caller asks `make(n)` for bytes, sends them, and gives `(n, reply)` to `keep`.

    `n` is never the same twice. A connection that ends is opened anew; `cut` counts those that ended before an answer.
    """

    address: tuple[str, int]
    make: Callable[[int], bytes]
    keep: Callable[[int, Reply], None] = lambda _n, _reply: None
    callers: int = 3
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    cut: int = 0
    done: int = 0
    faults: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, daemon=True) for _ in range(self.callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self.faults:
            raise self.faults[0]

    def _guarded(self) -> None:
        try:
            self._work()
        except BaseException as fault:  # noqa: BLE001 - a thread's top: handed to the test by `__exit__`
            self.faults.append(fault)

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                with Wire(self.address) as wire:
                    self._on(wire)
            except (OSError, CutError):
                self.cut += 1
                self._stopped.wait(0.01)

    def _on(self, wire: Wire) -> None:
        while not self._stopped.is_set():
            number = next(self.numbers)
            reply = wire.ask(self.make(number))
            self.done += 1
            self.keep(number, reply)
            if (reply.header("connection") or "").lower() == "close":
                return
