"""Reaches the running gateway over its admin socket, or does the same work under the store's lock when none runs."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ostiary.adminsocket import connect_unix
from ostiary.config import load
from ostiary.errors import ConfigError, OperationError
from ostiary.store import StoreInUseError, StorePath

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

TIMEOUT_S: Final = 20.0
DEFAULT_STORE: Final = "sqlite:///var/ostiary.db"
_STORE_URL: Final = re.compile(r"""sqlite:///[^\s"'},#]+""")


class AdminError(OperationError):
    """The running gateway did not do what was asked."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock: socket.socket = connect_unix(self._path, TIMEOUT_S)


def ask(path: StorePath, method: str, target: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Ask the gateway that runs on the store at `path`; `None` if none does. Raises `AdminError` if it refuses."""
    connection = _UnixConnection(path.socket)
    try:
        try:
            connection.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        text = None if body is None else json.dumps(body)
        connection.request(method, target, body=text, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except PermissionError as error:
        raise AdminError(
            f"{path.socket} may not be entered", hint="run this as the gateway's own user, or as root"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(f"the running gateway does not answer on {path.socket}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        message, hint = _error(content)
        raise AdminError(message, hint=hint)
    answer: dict[str, Any] = json.loads(content)
    return answer


def ask_or(
    path: StorePath, method: str, target: str, body: dict[str, Any] | None, here: Callable[[], dict[str, Any]]
) -> tuple[dict[str, Any], bool]:
    """Ask the gateway that runs on the store at `path`, or do it `here` where none does; say whether one runs."""
    answer = ask(path, method, target, body)
    if answer is not None:
        return answer, True
    try:
        return here(), False
    except StoreInUseError:
        # It may be a gateway that has started since.
        answer = ask(path, method, target, body)
        if answer is None:
            raise
        return answer, True


def locate_store(file: Path, store: str | None = None, *, without_file: bool = False) -> StorePath:
    """Return where the store is, even if the configuration file is wrong.

    `store` is what the user said: a `sqlite:///` URL or a path. Otherwise the file says it; if it cannot be used, the
    one store URL in its text counts, and without one the default. Raises `ConfigError` where there is no file to read:
    a gateway that happens to run here is not the one that was meant. With `without_file` the default counts then too.
    """
    if store is not None:
        return StorePath.from_url(store if "://" in store else f"sqlite:///{store}", Path.cwd())
    folder = file.absolute().parent
    try:
        return StorePath.from_url(load(file).store.url, folder)
    except ConfigError as error:
        try:
            found = set(_STORE_URL.findall(file.read_text("utf-8", "replace")))
        except OSError:
            if not without_file:
                raise error from None
            found = set()
    if len(found) > 1:
        raise AdminError(f"{file} cannot be used, and names more than one store", hint="say which with --store")
    return StorePath.from_url(found.pop() if found else DEFAULT_STORE, folder)


def _error(body: bytes) -> tuple[str, str]:
    try:
        told = json.loads(body)
        return str(told["error"]), str(told["hint"])
    except (ValueError, KeyError, TypeError):
        return "the gateway gave no answer that can be read", ""
