"""`ostiary audit`: read and verify the record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ostiary.cli.output import ConfigOption, JsonOption, out, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLLOW_S: Final = 0.2
DirOption = Annotated[
    Path | None, typer.Option("--dir", help="The record's folder, instead of audit.dir.", metavar="FOLDER")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Read and verify the record of every decision.")
    group.command("tail")(tail)
    group.command("show")(show)
    group.command("verify")(verify)
    app.add_typer(group, name="audit")


def tail(
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many records.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is added.")] = False,
    folder: DirOption = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Print the last records, one line each; with --json each is one JSON object a line."""
    from ostiary.audit.read import Follower, last_records

    place = _folder(folder, config)
    follower = Follower(place)
    for record in last_records(place, count):
        _print_record(record, as_json=as_json)
    if follow:
        for record in _following(follower):
            _print_record(record, as_json=as_json)


def show(
    decision: Annotated[str, typer.Argument(help="The id of a decision, as refusals and records name it.")],
    folder: DirOption = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Show all that is recorded of one decision, its outcome included."""
    from ostiary.audit.read import find_decision
    from ostiary.audit.show import describe

    found = find_decision(_folder(folder, config), decision)
    if as_json:
        print_json(found)
    else:
        out().print(describe(found))


def verify(folder: DirOption = None, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Check that the record is whole: the hash chain over all segments, and the signed checkpoints.

    Works while the gateway writes. Exits with 1 if anything was changed, left out or put in.
    """
    from ostiary.audit.verify import verify_folder

    verdict = verify_folder(_folder(folder, config), _store_keys(config))
    if as_json:
        print_json(verdict.as_json())
    else:
        _print_verdict(verdict)
    raise typer.Exit(0 if verdict.ok else 1)


def _print_verdict(verdict: Any) -> None:
    console = out()
    if verdict.first_bad is None:
        console.print(
            f"[green]✓[/green] {_count(verdict.records, 'record')} in {_count(verdict.segments, 'segment')}, "
            f"one unbroken chain, {_count(verdict.checkpoints, 'checkpoint')}"
        )
    else:
        bad = verdict.first_bad
        console.print(f"[bold red]✗[/bold red] {bad.segment} line {bad.index + 1}: {bad.why}")
    for warning in verdict.warnings:
        console.print(f"[yellow]![/yellow] {warning}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _print_record(record: dict[str, Any], *, as_json: bool) -> None:
    import json
    import sys

    from ostiary.audit.show import one_line

    if as_json:
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        out().print(one_line(record))


def _following(follower: Any) -> Iterator[dict[str, Any]]:
    while True:
        yield from follower.new_records()
        time.sleep(FOLLOW_S)


def _folder(folder: Path | None, file: Path) -> Path:
    from ostiary.config import load

    return folder if folder is not None else load(file).audit_dir


def _store_keys(file: Path) -> list[dict[str, str]] | None:
    """Return every public key that the store has had; `None` where there is no store to be read."""
    from ostiary.cli.reach import AdminError, locate_store
    from ostiary.errors import ConfigError
    from ostiary.store import Store, StoreError

    try:
        with Store.open_public(locate_store(file)) as store:
            return [key.public for key in store.all_keys()]
    except (StoreError, AdminError, ConfigError):
        return None
