"""Tells when watched files have changed and come to rest.

Folders are watched, not files: editors rename a new file over the old one, and a Kubernetes mount swaps a symbolic
link two levels up. Events only wake us; what counts is each file's stamp. A look at the stamps every quarter of a
second covers file systems that send no events.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from watchfiles import awatch

if TYPE_CHECKING:
    from collections.abc import Iterable

QUIET_S: Final = 0.1
POLL_S: Final = 0.25

Stamp = tuple[int, int, int, int, int]
Stamps = dict[Path, Stamp | None]


def take_stamps(paths: Iterable[Path]) -> Stamps:
    """Return what tells one state of each file from another, through all links; `None` for a file that is not there."""
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def folders_of(paths: Iterable[Path]) -> frozenset[Path]:
    """Return every folder in which a change could make one of `paths` another file, as far as they exist."""
    folders: set[Path] = set()
    todo, seen = [path.absolute() for path in paths], set[Path]()
    bound = 40 * len(todo)
    # Links that lead into themselves make ever longer paths; the system gives up on a path after 40 links.
    while todo and len(seen) < bound:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        folders.add(_existing(path.parent))
        for part in (path, *path.parents):
            if part.is_symlink():
                folders.add(part.parent)
                target = Path(os.path.normpath(part.parent / part.readlink()))
                todo.append(target / path.relative_to(part))
    return frozenset(folders)


def _existing(folder: Path) -> Path:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


class Watcher:
    """Watches files. `run` is a task of its own; `changed` is awaited by whoever reads them."""

    def __init__(self, stamps: Stamps) -> None:
        """Begin with `stamps`, taken before the files were read."""
        self._accepted = stamps
        self._woken = asyncio.Event()
        self._restart = asyncio.Event()

    @property
    def paths(self) -> frozenset[Path]:
        """The files that are watched."""
        return frozenset(self._accepted)

    def accept(self, stamps: Stamps) -> None:
        """Take `stamps` as what has been read: only what differs from them is a change from now on."""
        moved = self.paths != stamps.keys()
        self._accepted = stamps
        if moved:
            self._restart.set()

    async def changed(self) -> Stamps:
        """Wait until the files differ from what was accepted and have been at rest for `QUIET_S`; return their stamps.

        Cancelling it loses nothing.
        """
        candidate: Stamps | None = None
        since = 0.0
        while True:
            stamps = take_stamps(self._accepted)
            wait = POLL_S
            if stamps == self._accepted:
                candidate = None
            elif stamps != candidate:
                candidate, since, wait = stamps, time.monotonic(), QUIET_S
            else:
                wait = since + QUIET_S - time.monotonic()
                if wait <= 0:
                    return stamps
            self._woken.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def run(self) -> None:
        """Listen for events until cancelled, wherever the links lead at the time."""
        while True:
            folders = folders_of(self._accepted)
            self._restart.clear()
            try:
                events = awatch(
                    *folders,
                    watch_filter=None,
                    recursive=False,
                    debounce=50,
                    step=10,
                    rust_timeout=1000,
                    yield_on_timeout=True,
                    stop_event=self._restart,
                )
                async for _ in events:
                    self._woken.set()
                    if folders_of(self._accepted) != folders:
                        break
            except OSError:
                # A folder went away between the look and the watch; the stamps are looked at all the same.
                await asyncio.sleep(POLL_S)
