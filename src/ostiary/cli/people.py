"""`ostiary people`: who may own, who is still there, who is disabled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from ostiary.cli.output import ConfigOption, JsonOption, err, out, print_json
from ostiary.cli.registry import (
    Columns,
    NameArgument,
    ReasonOption,
    act,
    listing,
    moment,
    moment_of,
    pick,
    plain,
    show_fields,
    show_hit,
    show_listing,
    tell_force,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="People: who owns what, and who is still there.")
    group.command("list")(list_people)
    group.command("show")(show)
    group.command("confirm")(confirm)
    group.command("disable")(disable)
    group.command("enable")(enable)
    app.add_typer(group, name="people")


def list_people(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """List the people whom the file declares and those who have signed in, and whether their agents may work."""
    columns: Columns = {
        "person": "name",
        "state": _state,
        "until": moment_of("until"),
        "agents": "agents",
        "signed in": moment_of("signed_in"),
    }
    show_listing(config, "/people", columns, empty="the file declares nobody in `people`", as_json=as_json)


def show(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Show all that is known of one person, by key or principal id."""
    person = pick(listing(config, "/people")["people"], name, "people")
    if as_json:
        print_json(person)
    else:
        _show(person)


def confirm(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Say that a person is still there: her agents work for another `oauth.owner_lease`."""
    _changed(act(config, "/people/confirm", {"name": name}), as_json=as_json)


def disable(
    name: NameArgument,
    reason: ReasonOption = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Refuse a person's sign-in, suspend her agents, and revoke all that acts in her name."""
    answer = act(config, "/people/disable", {"name": name, "reason": reason})
    if as_json:
        print_json(answer)
        return
    person = answer["person"]
    out().print(Text.assemble(plain(person["name"]), " is ", ("disabled", "bold red")))
    show_hit(answer["hit"], running=answer["running"])
    for service in person["services"]:
        tell = (
            f"the service {service} goes on, with {person['name']} as its owner: `ostiary revoke --service {service}`"
        )
        err().print(plain(tell))


def enable(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Let a disabled person in again. What was revoked stays revoked."""
    _changed(act(config, "/people/enable", {"name": name}), as_json=as_json)


def _changed(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    person = answer["person"]
    until = f" until {moment(person['until'])}" if person["until"] is not None else ""
    out().print(Text.assemble(plain(person["name"]), ": ", _state(person), until))
    tell_force(running=answer["running"])


def _show(person: dict[str, Any]) -> None:
    show_fields(
        [
            ("person", person["name"]),
            ("ids", person["ids"]),
            ("email", person["email"]),
            ("state", f"{'live' if person['live'] else 'not live'}: {person['why']}"),
            ("why", person["disabled_why"]),
            ("until", moment(person["until"])),
            ("signed in", moment(person["signed_in"])),
            ("confirmed", moment(person["confirmed"])),
            ("owns agents", person["agents"]),
            ("deputy of", person["deputy_of"]),
            ("owns services", person["services"]),
            ("owns servers", person["servers"]),
            ("last token", moment(person["last_token"])),
            ("last request", moment(person["last_request"])),
        ]
    )


def _state(person: dict[str, Any]) -> Text:
    return Text(person["why"], style="" if person["live"] else "red")
