"""`ostiary keys`: the gateway's own signing keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from ostiary.cli.output import ConfigOption, JsonOption, out, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The gateway's own signing keys.")
    group.command("list")(list_keys)
    group.command("rotate")(rotate)
    app.add_typer(group, name="keys")


def list_keys(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """List the signing keys: which one signs, and until when the old ones are published."""
    from ostiary.cli.reach import ask, locate_store

    path = locate_store(config)
    answer = ask(path, "GET", "/keys")
    if answer is None:
        from ostiary.keys import describe
        from ostiary.store import Store

        with Store.open_public(path) as store:
            answer = {"keys": describe(store.all_keys())}
    if as_json:
        print_json(answer)
        return
    console = out()
    console.print(f"[dim]{'key':<43}  state      {'made':<20}  published until[/dim]")
    for key in answer["keys"]:
        made, until = _time(key["created_at"]), _time(key["published_until"])
        console.print(f"{key['kid']:<43}  {_state(key)}  {made:<20}  {until}")


def rotate(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Make a new signing key and sign with it from now on.

    The one before can sign nothing more, and stays published until every token that it signed has expired.
    """
    from ostiary.cli.reach import ask_or, locate_store

    answer, _ = ask_or(locate_store(config), "POST", "/keys/rotate", None, lambda: _rotate_here(config))
    if as_json:
        print_json(answer)
    else:
        out().print(f"[bold]{answer['kid']}[/bold] signs from now on")


def _rotate_here(config: Path) -> dict[str, Any]:
    # Loaded only where no gateway does the work.
    from ostiary.acts import open_for_acts
    from ostiary.config import load
    from ostiary.registrar import Operator

    with open_for_acts(load(config)) as (registrar, _):
        return {"kid": registrar.rotate_keys(Operator.of_this_process()).kid}


def _state(key: dict[str, Any]) -> str:
    if key["state"] == "signing":
        return "[green]signs    [/green]"
    return "published" if time.time() < key["published_until"] else "[dim]retired  [/dim]"


def _time(at: int | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
