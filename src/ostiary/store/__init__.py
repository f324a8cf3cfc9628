"""What the gateway must remember between starts: keys, snapshots and the lockdown.

One folder holds it: the database (SQLite), its lock, the sealing key and the admin socket. Public names: `Store`,
`StoredKey`, `Lockdown`, `StorePath`, `StoreLock`, `SealingKey`, and the errors.
"""

from ostiary.store.errors import SealingKeyError, StoreError, StoreInUseError
from ostiary.store.paths import StoreLock, StorePath
from ostiary.store.sealing import SealingKey
from ostiary.store.store import Lockdown, Store, StoredKey

__all__ = [
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
