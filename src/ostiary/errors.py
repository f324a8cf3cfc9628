"""What can go wrong, as one tree, and how a fault in a file is told.

    OstiaryError            anything that Ostiary raises on purpose
    ├── ConfigError         the configuration or a policy file cannot be used; lists every `Problem`
    └── OperationError      something cannot be done now, and `hint` says what would help
        └── …               StoreError, TokenRefusedError, AuditError, AdminError: in the modules that raise them

Modules add their own leaves under `OstiaryError`, so that a command can catch the whole tree in one place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class OstiaryError(Exception):
    """The root of every error that Ostiary raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in a file, at the place where somebody would put it right.

    `file` is the name relative to the folder of the configuration file. `line` and `column` count from 1, in
    characters; both are 0 where the fault has no place (a file that is not there). `key` is the dotted path of the
    value, as in `servers.notes.url` or `policy[2].allow`. `hint` says what to write instead, and may be empty.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = self.file if self.line == 0 else f"{self.file}:{self.line}:{self.column}"
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {key}{self.message}{hint}"

    def as_json(self) -> dict[str, str | int]:
        """Return the problem as `check --json` prints it."""
        return asdict(self)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return `problems` without repetitions, by file and place, so that the same files always tell the same story."""
    return sorted(set(problems), key=lambda p: (p.file, p.line, p.column, p.key, p.message, p.hint))


class ConfigError(OstiaryError):
    """The configuration cannot be used. `problems` holds every fault that was found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class OperationError(OstiaryError):
    """Something cannot be done as things are. `hint` is one sentence on what would help, and may be empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} ({hint})" if hint else message)
