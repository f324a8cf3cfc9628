"""`ostiary check`: says everything that is wrong with a configuration, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ostiary.cli.output import JsonOption, out, print_json
from ostiary.cli.problems import Blocks
from ostiary.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostiary.config import Config


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("check")(check)


def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The configuration file.")] = Path(
        "ostiary.yaml"
    ),
    *,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration, its policy files and key sets. Exit code 0: it can be used; 1: it cannot."""
    from ostiary.config import load

    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    digest: str | None = None
    try:
        config = load(file)
        warnings = [*config.warnings, *_unset(config)]
        digest = _digest(config)
    except ConfigError as error:
        problems = error.problems
    if as_json:
        found = {
            "ok": not problems,
            "problems": [problem.as_json() for problem in problems],
            "warnings": [warning.as_json() for warning in warnings],
            "digest": digest,
        }
        print_json(found)
    else:
        _show(file, problems, warnings)
    if problems:
        raise typer.Exit(1)


def _digest(config: Config) -> str:
    """Return the digest of the snapshot, compiled by the very code of the data plane.

    The gateway's own keys are not part of what is checked, so this is not the digest that a running gateway records.
    """
    from ostiary._core import Snapshot, SnapshotError
    from ostiary.compile import compile, snapshot_problem  # noqa: A004  (the step is called so everywhere)

    try:
        return Snapshot(compile(config, local_keys=())).digest
    except SnapshotError as error:
        raise ConfigError([snapshot_problem(config, error.path, error.message)]) from error


def _unset(config: Config) -> Iterator[Problem]:
    """Yield a warning for each secret that is not here: it may well be where the gateway will run."""
    from ostiary.confignodes import below
    from ostiary.secretref import unset_client_secrets
    from ostiary.yamlsource import read_file

    root = read_file(config.path, config.path.name, [])
    for name, reference in unset_client_secrets(config):
        node = below(root, "identity", "providers", name, "client_secret")
        if node is None:
            continue
        kind, _, place = reference.partition(":")
        what = f"the variable `{place}` is not set here" if kind == "env" else f"the file `{place}` cannot be read here"
        message = f"{what}, or is empty: without it nobody can sign in at `{name}`"
        yield node.problem(message, f"{'set' if kind == 'env' else 'write'} it where the gateway runs")


def _show(file: Path, problems: Sequence[Problem], warnings: Sequence[Problem]) -> None:
    console = out()
    blocks = Blocks(console, file.parent, problems)
    for warning in warnings:
        blocks.show(warning, severity="warning")
    for problem in problems:
        blocks.show(problem)
    told = [
        f"{len(them)} {word}{'s' * (len(them) != 1)}" for them, word in ((problems, "error"), (warnings, "warning"))
    ]
    if problems:
        console.print(f"{file} cannot be used: {told[0]}.", style="bold red", markup=False)
    else:
        console.print(f"{file} can be used{f': {told[1]}' if warnings else ''}.", style="bold green", markup=False)
