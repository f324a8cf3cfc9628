"""The configuration as its files say it: read as one state, with what must be looked at again for a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ostiary.config import Config, load
from ostiary.errors import ConfigError, Problem
from ostiary.tls import TlsError, read_pair
from ostiary.watch import take_stamps

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ostiary.tls import Pair
    from ostiary.watch import Stamps

#: How often files that keep changing are read before what was read counts; the watch tells of the rest.
READINGS: Final = 5
#: What is read once, at the start.
FIXED: Final = ("gateway.listen", "admin.listen", "store.url", "store.key", "audit.dir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """How the last look at the files ended. `problems` is empty if what they say is in force."""

    at: float
    problems: tuple[str, ...] = ()


def read_files(path: Path, known: Iterable[Path]) -> tuple[Config | ConfigError, Stamps]:
    """Read the configuration, and stamp the files that it stands in as they were when they were read.

    Reads again if a file changed meanwhile, or turned out to belong to it: a mixture of two states is never returned
    as one. `known` are files that are expected to belong to it.
    """
    files = {path, *known}
    result: Config | ConfigError
    for _ in range(READINGS):
        before = take_stamps(files)
        try:
            result = load(path)
            more = set(result.sources)
        except ConfigError as error:
            result = error
            more = set(error.sources)
        if more <= files and take_stamps(files) == before:
            break
        files |= more
    return result, before


def tls_pair(config: Config) -> Pair | None:
    """Return the pair of the public door. Raises `ConfigError` where it has gone bad since the file was read."""
    if config.gateway.tls is None:
        return None
    try:
        return read_pair(config.gateway.tls, config.folder)
    except TlsError as error:
        key = f"gateway.tls.{error.part}"
        problem = Problem(file=config.path.name, line=0, column=0, key=key, message=str(error), hint=error.hint)
        raise ConfigError([problem]) from error


def moved(old: Config, new: Config) -> list[str]:
    """Return the settings that changed and are read at the start alone."""

    def read(config: Config, setting: str) -> Any:
        section, _, name = setting.partition(".")
        return getattr(getattr(config, section), name)

    return [setting for setting in FIXED if read(old, setting) != read(new, setting)]
