"""What the gateway must remember between starts: keys, snapshots and the lockdown.

One folder holds it: the database (SQLite), its lock, the sealing key and the admin socket. What needs the database
is loaded when it is first asked for: commands that only ask the running gateway start without it.
"""

from typing import TYPE_CHECKING, Any

from ostiary.store.errors import SealingKeyError, StoreError, StoreInUseError
from ostiary.store.paths import LOCK_WAIT_S, StoreLock, StorePath

if TYPE_CHECKING:
    from ostiary.store.sealing import SealingKey
    from ostiary.store.store import Lockdown, Store, StoredKey

__all__ = [
    "LOCK_WAIT_S",
    "Lockdown",
    "SealingKey",
    "SealingKeyError",
    "Store",
    "StoreError",
    "StoreInUseError",
    "StoreLock",
    "StorePath",
    "StoredKey",
]


def __getattr__(name: str) -> Any:
    if name == "SealingKey":
        from ostiary.store import sealing

        return sealing.SealingKey
    if name in {"Lockdown", "Store", "StoredKey"}:
        from ostiary.store import store

        return getattr(store, name)
    raise AttributeError(name)
