"""Who asked for something: counted by the data plane, kept in the store for the inventory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from ostiary.errors import OstiaryError
from ostiary.store import registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.store import Store

log = structlog.get_logger()


class Uses:
    """What is handed in is in the store, or still here: the data plane tells of each request once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._left: dict[str, int] = {}
        self._turn = threading.Lock()

    def keep(self, told: Mapping[str, int]) -> None:
        """Keep when principals asked last (by id, in seconds), and what could not be kept before."""
        with self._turn:
            for principal, at in told.items():
                self._left[principal] = max(at, self._left.get(principal, 0))
            if not self._left:
                return
            try:
                with self._store.changing() as connection:
                    registry.note_requests(connection, self._left)
            except OstiaryError as error:
                log.error("who asked for something cannot be kept yet", error=str(error))  # noqa: TRY400
            else:
                self._left = {}
