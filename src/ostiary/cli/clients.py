"""`ostiary clients`: the OAuth clients through which people let programs act."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ostiary.cli.output import ConfigOption, JsonOption, err, out, print_json
from ostiary.cli.registry import Columns, NameArgument, act, moment_of, plain, show_hit, show_listing, tell_force


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="OAuth clients, through which people let programs act.")
    group.command("list")(list_clients)
    group.command("add")(add)
    group.command("remove")(remove)
    app.add_typer(group, name="clients")


def list_clients(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """List the clients that are known: registered, by document, or by themselves."""
    columns: Columns = {
        "client": "id",
        "name": "name",
        "kind": "kind",
        "acts as": "agent",
        "redirects": "redirect_uris",
        "used": moment_of("used"),
    }
    show_listing(config, "/clients", columns, empty="no client is known", as_json=as_json)


def add(
    name: NameArgument,
    redirect_uri: Annotated[
        list[str], typer.Option(help="Where the browser may be sent back to; may be repeated.", metavar="URI")
    ],
    confidential: Annotated[
        bool, typer.Option("--confidential", help="Give it a secret, which is printed this once.")
    ] = False,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Register a client; NAME is its id. A program on somebody's own machine keeps no secret, so it gets none."""
    body = {"name": name, "redirect_uris": redirect_uri, "confidential": confidential}
    answer = act(config, "/clients/add", body)
    if as_json:
        print_json(answer)
        return
    err().print(Text.assemble("client ", plain(answer["client_id"]), " is registered"))
    tell_force(running=answer["running"])
    if "client_secret" in answer:
        err().print(Text("its secret follows, and is shown this once:", style="dim"))
        typer.echo(answer["client_secret"])


def remove(
    client: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Forget a client, and revoke what it was granted."""
    answer = act(config, "/clients/remove", {"id": client})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble("client ", plain(answer["removed"]), " is removed"))
    show_hit(answer["hit"], running=answer["running"])
