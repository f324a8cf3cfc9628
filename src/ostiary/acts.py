"""Opens what acts of operators need when no gateway runs: the store under its lock, and the record."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ostiary import _core, keys
from ostiary.authority import Authority
from ostiary.errors import OperationError
from ostiary.registrar import NotRecordedError, Registrar
from ostiary.registry.effective import effective
from ostiary.store import LOCK_WAIT_S, Store, StoreLock, StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostiary.config import Config


class StartError(OperationError):
    """The gateway cannot start."""


@contextlib.contextmanager
def open_authority(config: Config) -> Iterator[Authority]:
    """Take the store's lock and give the control side of the configuration, as long as no gateway runs."""
    with open_for_acts(config) as (registrar, _):
        found = effective(config, registrar.store, now=registrar.now())
        yield Authority(registrar, found.config)


@contextlib.contextmanager
def open_for_acts(config: Config) -> Iterator[tuple[Registrar, _core.Journal]]:
    """Take the store's lock, open store and journal, and give all back at the end.

    Raises `StoreInUseError` while another process holds the lock, and other `OstiaryError`s.
    """
    path = StorePath.from_url(config.store.url, config.folder)
    lock = StoreLock(path, wait_s=LOCK_WAIT_S)
    with lock, Store.open(path, key=config.store.key, base=config.folder) as store:
        journal = _open_journal(config, store)
        try:
            yield Registrar(store, journal), journal
        finally:
            _close_journal(journal)


def _open_journal(config: Config, store: Store) -> _core.Journal:
    try:
        config.audit_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _core.Journal(
            str(config.audit_dir), config.gateway.url, keys.checkpoint_key(store, now=int(time.time()))
        )
    except OSError as error:
        raise StartError(f"the record in {config.audit_dir} cannot be written: {error}") from error


def _close_journal(journal: _core.Journal) -> None:
    try:
        journal.close()
    except OSError as error:
        raise NotRecordedError(f"the record could not be closed properly: {error}") from error
