"""`ostiary run`: the gateway itself."""

from __future__ import annotations

from pathlib import Path

import typer

from ostiary.cli.output import ConfigOption, tell_problems


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(config: ConfigOption = Path("ostiary.yaml")) -> None:
    """Run the gateway until it is told to stop (Ctrl-C or SIGTERM).

    It is ready when /readyz on admin.listen answers 200. Saved files come into force by themselves; SIGHUP reads them
    at once.
    """
    import asyncio

    from ostiary.errors import ConfigError
    from ostiary.serve import configure_log, serve

    configure_log()
    try:
        asyncio.run(serve(config))
    except ConfigError as error:
        tell_problems(error, config.parent)
        raise typer.Exit(1) from None
