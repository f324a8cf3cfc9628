"""`ostiary run`: the gateway itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ostiary.cli.output import ConfigOption  # noqa: TC001  (typer reads annotations when it runs)

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(config: ConfigOption = Path("ostiary.yaml")) -> None:
    """Run the gateway until it is told to stop (Ctrl-C or SIGTERM).

    It is ready when /readyz on admin.listen answers 200. Saved files come into force by themselves; SIGHUP reads them
    at once.
    """
    import asyncio

    from ostiary.serve import configure_log, serve

    configure_log()
    asyncio.run(serve(config))
