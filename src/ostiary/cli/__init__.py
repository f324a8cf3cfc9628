"""The command line. Each command is a module with `register(app)`, which imports what it needs when it runs."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ostiary.cli.output import tell_error
from ostiary.errors import OstiaryError

COMMANDS = (
    *("run", "demo", "init", "check", "schema", "explain"),
    *("people", "agents", "services", "clients", "tokens", "keys", "credentials"),
    *("revoke", "lockdown", "audit"),
)


class _Group(TyperGroup):
    """Tells every error of ours in one block and exits with 1; wrong use exits with 2, Ctrl-C quietly with 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OstiaryError as error:
            tell_error(error)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("ostiary")
        except PackageNotFoundError:
            number = "from its sources"
        typer.echo(f"ostiary {number}")
        raise typer.Exit


@app.callback()
def _ostiary(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Stand between AI agents and an organisation's MCP servers: every request decided, recorded, re-signed."""


for _name in COMMANDS:
    importlib.import_module(f"ostiary.cli.{_name}").register(app)
