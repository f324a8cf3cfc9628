"""The control side where no gateway runs: whoever holds the store's lock does the same acts, with the same records."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ostiary import keys
from ostiary.registrar import Operator, Registrar
from ostiary.registry.effective import effective
from ostiary.runtime import open_for_acts
from ostiary.store import Store, StoreLock, StorePath
from ostiary.store import epochs as stored_epochs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostiary import _core
    from ostiary.config import Config
    from ostiary.control import Epoch, Person
    from ostiary.store import StoredKey


class OfflineControl:
    """A `Control` without a data plane: what it changes counts from the next start of the gateway on."""

    def __init__(self, config: Config, registrar: Registrar) -> None:
        """Use `open_control`."""
        self._registrar = registrar
        self._config = effective(config, registrar.store, now=registrar.now()).config

    @property
    def config(self) -> Config:
        """The file, with what is registered merged in."""
        return self._config

    @property
    def store(self) -> Store:
        """The store."""
        return self._registrar.store

    def now(self) -> int:
        """Return seconds since the epoch."""
        return self._registrar.now()

    def signing_key(self) -> StoredKey:
        """Return the key that signs now."""
        return keys.ensure_key(self.store, now=self.now())

    def snapshot(self) -> _core.Snapshot | None:
        """Return nothing: none is in force."""
        return None

    def record(self, kind: str, event: str, by: Operator | Person | None, **fields: Any) -> str:
        """Append one record. People act only where a gateway runs."""
        return self._registrar.record(kind, event, by if isinstance(by, Operator) else None, **fields)

    def revoke(self, epochs: Sequence[Epoch], by: Operator | Person | None, *, why: str, **fields: Any) -> None:
        """Keep the epochs and record them; the gateway loads them before it listens."""
        with self.store.changing() as connection:
            stored_epochs.add(connection, epochs)
        told = [{"kind": each.kind, "value": each.value, "epoch": each.epoch} for each in epochs]
        self.record("control", "revoked", by, detail={"epochs": told, "why": why, **fields})

    def registry_changed(self, by: Operator | Person | None) -> None:
        """Read what the store says now."""
        del by
        self._config = effective(self._config, self.store, now=self.now()).config


@contextlib.contextmanager
def open_control(config: Config) -> Iterator[OfflineControl]:
    """Take the store's lock and give what acts need. Raises `StoreInUseError` while a gateway runs."""
    with open_for_acts(config) as (registrar, _):
        yield OfflineControl(config, registrar)


class _NoJournal:
    """Takes no record, for what only looks."""

    def append(self, record: str, /) -> str:
        raise OSError(f"nothing is changed here: {len(record)} bytes are not kept")


@contextlib.contextmanager
def open_listing(config: Config) -> Iterator[OfflineControl]:
    """Take the store's lock and give what listings need; no record is opened."""
    path = StorePath.from_url(config.store.url, config.folder)
    with StoreLock(path), Store.open(path, key=config.store.key, base=config.folder) as store:
        yield OfflineControl(config, Registrar(store, _NoJournal()))
