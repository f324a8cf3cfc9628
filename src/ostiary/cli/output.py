"""How commands speak: results on standard output, everything else on standard error, errors in one block."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from ostiary.errors import ConfigError, OperationError, OstiaryError

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True, metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def out() -> Console:
    """Return the console of standard output."""
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Return the console of standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print `value` as one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def tell_problems(error: ConfigError, folder: Path) -> None:
    """Tell everything that is wrong with files whose names are relative to `folder`, each with its line."""
    from ostiary.cli.problems import Blocks

    console = err()
    blocks = Blocks(console, folder, error.problems)
    for problem in error.problems:
        blocks.show(problem)
    count = len(error.problems)
    console.print(f"{count} error{'s' * (count != 1)} in the configuration: nothing was done", style="bold red")


def tell_error(error: OstiaryError) -> None:
    """Tell what was wrong in one block: what, where, and what would help."""
    if isinstance(error, ConfigError):
        tell_problems(error, error.folder)
        return
    console = err()
    message, hint = (error.message, error.hint) if isinstance(error, OperationError) else (str(error), "")
    console.print(Text.assemble(("error", "bold red"), f": {message}"))
    if hint:
        console.print(Text.assemble("  ", (hint, "dim")))
