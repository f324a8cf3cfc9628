"""`ostiary lockdown`: refuse everything, now, whatever the files say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ostiary.cli.output import ConfigOption, JsonOption, err, out, print_json

if TYPE_CHECKING:
    from ostiary.store import StorePath


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lockdown")(lockdown)


def lockdown(
    lift: Annotated[bool, typer.Option("--lift", help="End the lockdown.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; it is recorded.", metavar="TEXT")] = None,
    store: Annotated[
        str | None, typer.Option(help="The store, where the configuration file cannot say it.", metavar="PATH")
    ] = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Refuse every call until `--lift`, over restarts too. Works with a wrong configuration file, or none."""
    from ostiary.cli.reach import ask_or, locate_store

    if reason is not None:
        # What is no text in the terminal's encoding could not be recorded, and must not stand in the way.
        reason = reason.encode("utf-8", "replace").decode("utf-8")
    path = locate_store(config, store, without_file=True)
    asked = ("/lift" if lift else "/lockdown", {"reason": reason})
    answer, _ = ask_or(path, "POST", *asked, lambda: {"recorded": _without_gateway(path, config, reason, lift=lift)})
    recorded = answer.get("recorded", True)
    if as_json:
        print_json({"lockdown": not lift})
    elif lift:
        out().print("the lockdown is lifted")
    else:
        out().print("[bold red]lockdown[/bold red]: every call is refused until `ostiary lockdown --lift`")
    if not recorded:
        err().print("[dim]it could not be recorded now: the next start of the gateway records it[/dim]")


def _without_gateway(path: StorePath, file: Path, reason: str | None, *, lift: bool) -> bool:
    """Change the store itself; false if the record has to wait for the next start."""
    from ostiary.acts import open_for_acts
    from ostiary.cli.reach import AdminError
    from ostiary.config import load
    from ostiary.errors import ConfigError, OperationError
    from ostiary.registrar import Operator, mark_lockdown
    from ostiary.store import LOCK_WAIT_S, Store, StoreLock, StorePath

    by = Operator.of_this_process()
    try:
        config = load(file)
    except ConfigError:
        config = None
    known = config is not None and StorePath.from_url(config.store.url, config.folder) == path
    if lift:
        # Lifting gives, so it is recorded first; without a usable file there is nowhere to record it.
        if config is None or not known:
            raise AdminError("no gateway runs on this store, and no configuration file says where its record is")
        with open_for_acts(config) as (registrar, _):
            registrar.lift(reason, by)
        return True
    if not known and not path.database.is_file():
        raise AdminError(f"there is no store at {path.database}", hint="say where it is with --store")
    with StoreLock(path, wait_s=LOCK_WAIT_S), Store.open_unsealed(path) as store:
        mark_lockdown(store, reason, by)
    if config is None or not known:
        return False
    try:
        with open_for_acts(config) as (registrar, _):
            registrar.record_lockdown(by)
    except OperationError:
        return False
    return True
