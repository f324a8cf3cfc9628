"""Shows problems of files to people: one block each, with the line and a caret below the place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from ostiary.errors import Problem

_WIDTH = 100


class Blocks:
    """Prints problems whose file names are relative to `folder`, reading each file once.

    A line on which a secret stands is not shown, whatever the problem is about.
    """

    def __init__(self, console: Console, folder: Path, problems: Sequence[Problem]) -> None:
        self._console = console
        self._folder = folder
        self._lines: dict[str, list[str]] = {}
        self._hidden = {(problem.file, problem.line) for problem in problems if problem.secret}

    def show(self, problem: Problem, *, severity: str = "error") -> None:
        """Print one block."""
        style = "red" if severity == "error" else "yellow"
        block = Text.assemble((severity, f"bold {style}"), ": ", (problem.message, "bold"), "\n")
        gutter = " " * len(str(problem.line))
        place = str(self._folder / problem.file)
        if problem.line:
            place += f":{problem.line}" + (f":{problem.column}" if problem.column else "")
        block.append(f"{gutter} at ", "cyan").append(place)
        if problem.key:
            block.append(f"  ({problem.key})", "dim")
        self._quote(block, problem, gutter, style)
        if problem.hint:
            block.append(f"\n{gutter}  = ", "cyan").append(f"help: {problem.hint}")
        self._console.print(block, soft_wrap=True)
        self._console.print()

    def _quote(self, block: Text, problem: Problem, gutter: str, style: str) -> None:
        line = self._line(problem)
        if not line:
            return
        start = max(0, problem.column - 1 - _WIDTH // 2) if len(line) > _WIDTH else 0
        shown = line[start : start + _WIDTH]
        block.append(f"\n{gutter}  |\n{problem.line}  | ", "cyan").append(shown)
        if problem.column:
            before = " " * cell_len(shown[: problem.column - 1 - start])
            block.append(f"\n{gutter}  | ", "cyan").append(f"{before}^", f"bold {style}")

    def _line(self, problem: Problem) -> str:
        """Return the line of the problem, with nothing in it that could move the cursor; empty if not to be shown."""
        if problem.line == 0 or (problem.file, problem.line) in self._hidden:
            return ""
        if problem.file not in self._lines:
            try:
                text = (self._folder / problem.file).read_bytes().decode("utf-8-sig", "replace")
            except OSError:
                text = ""
            self._lines[problem.file] = text.split("\n")
        lines = self._lines[problem.file]
        line = lines[problem.line - 1] if problem.line <= len(lines) else ""
        return "".join(character if character.isprintable() else " " for character in line).rstrip()
