"""Where the store's files are, and the lock that says who may change them."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from ostiary.store.errors import StoreError, StoreInUseError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


#: How long a command, or a gateway that starts, waits for a command to be done with the store, in seconds.
LOCK_WAIT_S: Final = 5.0
LOCK_STEP_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePath:
    """The database file of a store, absolute; everything else lies beside it."""

    database: Path

    @classmethod
    def from_url(cls, url: str, base: Path) -> Self:
        """Read a `sqlite:///` URL; a relative path in it is relative to the folder `base`.

        Raises `StoreError` for any other kind of store.
        """
        name = url.removeprefix("sqlite:///")
        if name == url or not name or name == ":memory:":
            kind = url.partition(":")[0]  # what follows may hold a password
            raise StoreError(f"store.url must name an SQLite file, not {kind}:…", hint="write sqlite:///var/ostiary.db")
        return cls(database=(base / name).absolute())

    @property
    def folder(self) -> Path:
        """The folder that holds all of it."""
        return self.database.parent

    @property
    def lock(self) -> Path:
        """The file whose lock the one writing process holds."""
        return self.database.with_name(self.database.name + ".lock")

    @property
    def sealing_key(self) -> Path:
        """The default place of the sealing key."""
        return self.database.with_name(self.database.name + ".key")

    @property
    def socket(self) -> Path:
        """The admin socket of the running gateway, in a folder that only its user may enter."""
        return self.database.with_name(self.database.name + ".run") / "admin.sock"

    @property
    def control_socket(self) -> Path:
        """Where the data plane of the running gateway reaches the control app, in the same folder."""
        return self.socket.with_name("control.sock")

    def prepare(self) -> None:
        """Make the folder (0700) and the empty database (0600) where they do not exist.

        Raises `StoreError` if others may write to the folder: they could put files of their own in place of ours.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = stat.S_IMODE(self.folder.stat().st_mode)
            if mode & 0o022 and not mode & stat.S_ISVTX:
                raise StoreError(
                    f"others may write to the store's folder {self.folder} (mode {mode:04o})",
                    hint=f"chmod 700 {self.folder}",
                )
            os.close(os.open(self.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"the store {self.database} cannot be made: {error.strerror}") from error


class StoreLock:
    """The right to change one store, held by one process at a time and given back when it ends, however it ends."""

    def __init__(self, path: StorePath, *, wait_s: float = 0.0) -> None:
        """Take the lock, now or within `wait_s` seconds. Raises `StoreInUseError` if another process holds it on."""
        path.prepare()
        self._file = os.open(path.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        end = time.monotonic() + wait_s
        while not self._taken():
            if time.monotonic() < end:
                time.sleep(LOCK_STEP_S)
                continue
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreInUseError(
                f"the store {path.database} is in use by process {holder}",
                hint="one gateway or command uses a store at a time; stop that one, or give this one its own store",
            )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would let two processes lock two files."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
