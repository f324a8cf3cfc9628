"""The control side for commands that only look while no gateway runs: the store under its lock, and no record."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ostiary.authority import Authority
from ostiary.registrar import Registrar
from ostiary.registry.effective import effective
from ostiary.store import LOCK_WAIT_S, Store, StoreLock, StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostiary.config import Config


class _NoJournal:
    """Takes no record, as nothing is changed."""

    def append(self, record: str, /) -> str:
        raise OSError(f"nothing is changed here: {len(record)} bytes are not kept")


@contextlib.contextmanager
def open_reading(config: Config) -> Iterator[Authority]:
    """Take the store's lock and give what listings need. Raises `StoreInUseError` while a gateway runs."""
    path = StorePath.from_url(config.store.url, config.folder)
    lock = StoreLock(path, wait_s=LOCK_WAIT_S)
    with lock, Store.open(path, key=config.store.key, base=config.folder) as store:
        registrar = Registrar(store, _NoJournal())
        yield Authority(registrar, effective(config, store, now=registrar.now()).config)
