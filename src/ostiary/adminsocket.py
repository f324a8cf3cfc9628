"""The Unix socket between a running gateway and its operators: both ends of it, and who is at the other.

It lies in a folder that only the gateway's user may enter. This module stays small, so that commands start quickly.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Final

from ostiary.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUN_PATH_BYTES: Final = 100


class ListenError(OperationError):
    """An address of the operators' door cannot be had."""


def bind_unix(path: Path) -> socket.socket:
    """Bind the admin socket, 0600 in a 0700 folder; the caller holds the store's lock, so an old file is a dead one."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        found = path.parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ListenError(f"{path.parent} is not a folder of ours")
        path.parent.chmod(0o700)
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(path) as name:
            bound.bind(name)
        path.chmod(0o600)
        bound.listen(16)
    except OSError as error:
        raise ListenError(f"the admin socket {path} cannot be made: {error}") from error
    return bound


def connect_unix(path: Path, timeout_s: float) -> socket.socket:
    """Connect to the admin socket at `path`. Raises `OSError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with _short(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name of `path` that fits into a socket address, which holds about 100 bytes."""
    if len(os.fsencode(path)) <= SUN_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def peer_uid(connection: socket.socket) -> int:
    """Return the user id at the other end of a Unix socket."""
    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return int(uid)
    # Elsewhere the folder's mode (0700) is the proof: nobody else but root gets as far as the socket.
    return os.getuid()
