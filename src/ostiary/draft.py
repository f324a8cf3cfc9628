"""What would be in force now: compiled from the file and the store, whole, and not yet applied."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostiary import _core, keys
from ostiary.compile import compile as compile_snapshot
from ostiary.compile import snapshot_problem
from ostiary.errors import ConfigError
from ostiary.identity.remotekeys import issuer_keys
from ostiary.registry.effective import effective

if TYPE_CHECKING:
    from ostiary.config import Config
    from ostiary.identity.remotekeys import RemoteKeys
    from ostiary.registry.effective import Effective
    from ostiary.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The bytes of a snapshot, and what they were compiled from."""

    data: bytes
    locked_down: bool
    found: Effective

    @classmethod
    def of(cls, file: Config, store: Store, remote_keys: RemoteKeys, *, now: int) -> Draft:
        """Compile what file and store say at `now`, in seconds."""
        keys.ensure_key(store, now=now)
        found = effective(file, store, now=now)
        locked_down = store.lockdown() is not None
        data = compile_snapshot(
            found.config,
            local_keys=keys.published(store, now=now),
            lockdown=locked_down,
            suspended=found.suspended,
            remote_keys=issuer_keys(found.config, remote_keys, now=now),
        )
        return cls(data=data, locked_down=locked_down, found=found)

    @property
    def digest(self) -> str:
        """The SHA-256 of its bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    def build(self) -> _core.Snapshot:
        """Return the snapshot. Raises `ConfigError`."""
        try:
            return _core.Snapshot(self.data)
        except _core.SnapshotError as error:
            raise ConfigError([snapshot_problem(self.found.config, error.path, error.message)]) from error
