"""What the commands of the registry share: asking the running gateway or doing it here, and showing what came of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ostiary.cli.output import err, out, print_json
from ostiary.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

ReasonOption = Annotated[str | None, typer.Option(help="Why; it is recorded.", metavar="TEXT")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]

Json = dict[str, Any]
#: Of a listing, by heading: the member that is shown, or what makes the cell of an entry.
Columns = Mapping[str, str | Callable[[Json], Any]]


def listing(config: Path, path: str) -> Json:
    """Return a listing of the running gateway, or of the store where none runs."""
    from ostiary.cli.reach import ask_or, locate_store

    return ask_or(locate_store(config), "GET", path, None, lambda: _listing_here(config, path))[0]


def _listing_here(config: Path, path: str) -> Json:
    # Loaded only where no gateway does the work.
    from ostiary.config import load
    from ostiary.registry.acts import LISTINGS
    from ostiary.registry.reading import open_reading

    with open_reading(load(config)) as control:
        return LISTINGS[path](control)


def act(config: Path, path: str, body: Json) -> Json:
    """Have the running gateway do an act, or do it under the store's lock; `running` in the answer says which."""
    from ostiary.cli.reach import ask_or, locate_store

    answer, running = ask_or(locate_store(config), "POST", path, body, lambda: _act_here(config, path, body))
    return {**answer, "running": running}


def _act_here(config: Path, path: str, body: Json) -> Json:
    from pydantic import ValidationError

    from ostiary.acts import open_authority
    from ostiary.config import load
    from ostiary.registrar import Operator
    from ostiary.registry.acts import perform

    with open_authority(load(config)) as control:
        try:
            return perform(control, path, json.dumps(body).encode(), Operator.of_this_process())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise OperationError(f"{where}: {first['msg']}") from None


def pick(found: Sequence[Json], name: str, kind: str) -> Json:
    """Return the entry of a listing that goes by `name`. Raises `OperationError`."""
    for each in found:
        if name in (each["name"], each.get("id"), *each.get("ids", ())):
            return each
    from ostiary.policy.names import nearest

    hint = nearest(name, [each["name"] for each in found]) or f"`ostiary {kind} list` shows what there is"
    raise OperationError(f"{name} is not among the {kind}", hint=hint)


# Showing -------------------------------------------------------------------------------------------------------------


def show_listing(config: Path, path: str, columns: Columns, *, empty: str, as_json: bool) -> None:
    """Print a listing: as JSON, or as a table whose columns are members of an entry, or made of one."""
    found = listing(config, path)
    if as_json:
        print_json(found)
        return
    entries = found[path.removeprefix("/")]
    cells = columns.values()
    rows = ([each[cell] if isinstance(cell, str) else cell(each) for cell in cells] for each in entries)
    show_table(list(columns), rows, empty=empty)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print rows under their columns, or what it means that there are none."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else plain(cell) for cell in row))
    if not table.row_count:
        err().print(Text(empty, style="dim"))
        return
    console = out()
    # As wide as it gets: a pipe must not lose what a narrow terminal has no room for.
    wide = console.options.update(max_width=100_000)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def show_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Print what is known of one thing, a line for each, without what is not."""
    console = out()
    for name, value in fields:
        if value not in (None, [], "", {}):
            console.print(Text.assemble((f"{name:<14}", "dim"), plain(value)))


def show_hit(hit: Json, *, running: bool) -> None:
    """Print what a revocation reached, and whether it is in force."""
    agents, families = hit["agents"], hit["families"]
    reached = [
        f"{len(agents)} agent{'s' * (len(agents) != 1)}" + (f" ({', '.join(agents[:5])})" if agents else ""),
        f"{families} grant{'s' * (families != 1)} ended",
    ]
    console = out()
    for each in hit["revoked"]:
        console.print(Text.assemble(("revoked ", "bold"), plain(f"{each['kind']} {each['value']}")))
    console.print(plain(", ".join(reached)))
    tell_force(running=running)
    if hit["known"]:
        return
    hint = f" ({hit['hint']})" if hit["hint"] else ""
    unknown = f"nothing of that name is known here{hint}; a token of it would be refused"
    if any(each["kind"] == "token" for each in hit["revoked"]):
        unknown = f"{hit['hint']}; one that comes is refused from now on"
    err().print(Text(unknown, style="yellow"))


def tell_force(*, running: bool) -> None:
    """Say whether what was done counts already."""
    if running:
        err().print(Text("in force", style="dim"))
    else:
        err().print(Text("no gateway runs on this store: it counts from the next start on", style="dim"))


def plain(value: Any) -> Text:
    """Return a value as text that can move no cursor: clients choose their own names."""
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    text = "" if value is None else str(value)
    return Text("".join(character if character.isprintable() else "·" for character in text))


def moment(at: int | None) -> str:
    """Return a moment as people read it, in UTC; nothing for never."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(at))


def moment_of(member: str) -> Callable[[Json], str]:
    """Return the column of a listing that shows the moment in `member`."""
    return lambda entry: moment(entry[member])
