"""What can go wrong, as one tree, and how a fault in a file is told.

    OstiaryError            anything that Ostiary raises on purpose
    ├── ConfigError         the configuration or a policy file cannot be used; lists every `Problem`
    └── OperationError      something cannot be done now, and `hint` says what would help
        └── …               StoreError, TokenRefusedError, AuditError, AdminError: in the modules that raise them

Modules add their own leaves under `OstiaryError`, so that a command can catch the whole tree in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class OstiaryError(Exception):
    """The root of every error that Ostiary raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in a file, at the place where somebody would put it right.

    `file` is the name relative to the folder of the configuration file. `line` and `column` count from 1, in
    characters; what is not known is 0 (of a file that is not there, both). `key` is the dotted path of the
    value, as in `servers.notes.url` or `policy[2].allow`. `hint` says what to write instead, and may be empty.
    `secret` says that the place may hold a secret, so that its text must not be shown.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    hint: str = ""
    secret: bool = False

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {key}{self.message}{hint}"

    def as_json(self) -> dict[str, str | int]:
        """Return the problem as `check --json` prints it."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "key": self.key,
            "message": self.message,
            "hint": self.hint,
        }


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return `problems` without repetitions, by file and place, so that the same files always tell the same story."""
    return sorted(set(problems), key=lambda p: (p.file, p.line, p.column, p.key, p.message, p.hint))


class ConfigError(OstiaryError):
    """The configuration cannot be used. `problems` holds every fault that was found, not only the first.

    `folder` is where the configuration file is, as it was asked for: file names of problems are relative to it.
    `sources` are the files that were read, or looked for in vain: a change of one of them may put things right.
    """

    def __init__(
        self, problems: Sequence[Problem], *, folder: Path | None = None, sources: Sequence[Path] = ()
    ) -> None:
        self.problems = in_order(problems)
        self.folder = Path() if folder is None else folder
        self.sources = tuple(sources)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class OperationError(OstiaryError):
    """Something cannot be done as things are. `hint` is one sentence on what would help, and may be empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} ({hint})" if hint else message)
