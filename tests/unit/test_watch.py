"""When a file counts as changed: at rest, through links, renames and folders that come later."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from ostiary.watch import QUIET_S, Watcher, folders_of, take_stamps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_S = 10.0


def change_and_wait(path: Path, change: Callable[[], None]) -> float:
    """Return how long after `change` the watcher told of it."""

    async def scene() -> float:
        watcher = Watcher(take_stamps([path]))
        listening = asyncio.create_task(watcher.run())
        change()
        began = time.monotonic()
        async with asyncio.timeout(DEADLINE_S):
            stamps = await watcher.changed()
        took = time.monotonic() - began
        assert stamps == take_stamps([path])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        return took

    return asyncio.run(scene())


def mount(tmp_path: Path, text: str, name: str) -> None:
    """Do what the kubelet does: write a new folder and swap the link `..data` to it."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.yaml").write_text(text)
    (tmp_path / "..data_tmp").symlink_to(name)
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")


@pytest.mark.parametrize("how", ["in place", "renamed over", "removed", "appears", "swapped mount", "through a link"])
def test_a_change_is_told_once_the_file_is_at_rest(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one")

    def renamed() -> None:
        (tmp_path / ".a.swp").write_text("two")
        (tmp_path / ".a.swp").replace(path)

    changes: dict[str, Callable[[], object]] = {
        "in place": lambda: path.write_text("two"),
        "renamed over": renamed,
        "removed": path.unlink,
    }
    if how == "appears":
        path = tmp_path / "sub" / "b.yaml"

        def appear() -> None:
            path.parent.mkdir()
            path.write_text("new")

        changes[how] = appear
    elif how == "swapped mount":
        path = tmp_path / "mount" / "a.yaml"
        path.parent.mkdir()
        mount(path.parent, "one", "..1")
        path.symlink_to("..data/a.yaml")
        changes[how] = lambda: mount(path.parent, "two", "..2")
    elif how == "through a link":
        target = tmp_path / "elsewhere"
        target.mkdir()
        (target / "real.yaml").write_text("one")
        path = tmp_path / "link.yaml"
        path.symlink_to("elsewhere/real.yaml")
        changes[how] = lambda: (target / "real.yaml").write_text("two!")
    assert change_and_wait(path, lambda: changes[how]() and None) >= QUIET_S


def test_a_file_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("")

    async def scene() -> None:
        watcher = Watcher(take_stamps([path]))
        listening = asyncio.create_task(watcher.run())
        told = asyncio.create_task(watcher.changed())
        last = 0.0
        with path.open("a") as file:
            for _ in range(8):
                file.write("more\n")
                file.flush()
                last = time.monotonic()
                await asyncio.wait([told], timeout=QUIET_S / 2)
                assert not told.done() or time.monotonic() - last >= QUIET_S
        async with asyncio.timeout(DEADLINE_S):
            stamps = await told
        assert time.monotonic() - last >= QUIET_S
        assert stamps == take_stamps([path])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    asyncio.run(scene())


def test_other_files_in_the_folder_are_no_change(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one")

    async def scene() -> None:
        watcher = Watcher(take_stamps([path]))
        listening = asyncio.create_task(watcher.run())
        told = asyncio.create_task(watcher.changed())
        (tmp_path / "noise.log").write_text("x")
        await asyncio.wait([told], timeout=3 * QUIET_S)
        assert not told.done()
        path.write_text("two")
        async with asyncio.timeout(DEADLINE_S):
            await told
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    asyncio.run(scene())


def test_every_folder_on_the_way_through_links_is_watched(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    mount(tmp_path / "mount", "one", "..1")
    (tmp_path / "mount" / "a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "a.yaml").symlink_to(tmp_path / "mount" / "a.yaml")
    folders = folders_of([tmp_path / "a.yaml", tmp_path / "absent" / "deep" / "b.yaml"])
    assert folders >= {tmp_path, tmp_path / "mount", tmp_path / "mount" / "..1"}
    assert all(folder.is_dir() for folder in folders)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert tmp_path in folders_of([tmp_path / "a"])
    assert take_stamps([tmp_path / "a"]) == {tmp_path / "a": None}


def test_a_link_into_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a/x")
    assert tmp_path in folders_of([tmp_path / "a" / "y"])
