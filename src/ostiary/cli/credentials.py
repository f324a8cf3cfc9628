"""`ostiary credentials`: what servers want to see of the gateway that is no JWT."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ostiary.cli.output import ConfigOption, JsonOption, err, out, print_json
from ostiary.cli.registry import Columns, NameArgument, act, moment_of, plain, show_listing, tell_force


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Sealed credentials for servers that know no JWT of ours.")
    group.command("list")(list_credentials)
    group.command("set")(set_credential)
    group.command("remove")(remove)
    app.add_typer(group, name="credentials")


def list_credentials(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """List the credentials that are set or wanted; never their values."""
    columns: Columns = {"credential": "name", "state": _state, "set at": moment_of("rotated"), "servers": "servers"}
    empty = "no credential is set, and no server names one"
    show_listing(config, "/credentials", columns, empty=empty, as_json=as_json)


def set_credential(
    name: NameArgument,
    from_env: Annotated[
        str | None, typer.Option(help="Take the value from this environment variable.", metavar="VAR")
    ] = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Set or rotate a credential. The value comes from standard input, or a prompt that does not show it."""
    answer = act(config, "/credentials/set", {"name": name, "value": _value(name, from_env)})
    if as_json:
        print_json(answer)
        return
    done = "rotated" if answer["rotated"] else "set"
    out().print(Text.assemble("credential ", plain(answer["credential"]), f" is {done}"))
    if not answer["servers"]:
        err().print(Text(f"no server names it: write `credential: store:{name}` under `identity`", style="dim"))
    tell_force(running=answer["running"])


def remove(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Forget a credential. Servers that name it are not reached until it is set again."""
    answer = act(config, "/credentials/remove", {"name": name})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble("credential ", plain(answer["removed"]), " is removed"))
    if answer["servers"]:
        err().print(Text(f"not reached without it: {', '.join(answer['servers'])}", style="yellow"))
    tell_force(running=answer["running"])


def _value(name: str, variable: str | None) -> str:
    if variable is not None:
        value = os.environ.get(variable)
        if value is None:
            raise typer.BadParameter(f"the environment variable {variable} is not set")
        return value
    if sys.stdin.isatty():
        return str(typer.prompt(f"Value of {name}", hide_input=True, err=True))
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def _state(credential: dict[str, Any]) -> Text:
    return Text("set") if credential["set"] else Text("not set", style="red")
