"""`ostiary revoke`: from now on, refuse what was issued until now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ostiary.cli.output import ConfigOption, JsonOption, print_json
from ostiary.cli.registry import ReasonOption, act, show_hit


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("revoke")(revoke)


def revoke(
    agent: Annotated[
        str | None, typer.Option(help="All that was issued to an agent, by name or id.", metavar="ID")
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="All that was issued to a service, by name or id.", metavar="ID")
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="All agents that a person owns, and all clients that act for her.", metavar="NAME"),
    ] = None,
    client: Annotated[str | None, typer.Option(help="All that an OAuth client was granted.", metavar="ID")] = None,
    token: Annotated[
        str | None, typer.Option(help="One access token, by its `jti`, as recorded.", metavar="JTI")
    ] = None,
    third_party: Annotated[
        str | None, typer.Option(help="All agents of a third party, as `agents list` shows it.", metavar="NAME")
    ] = None,
    reason: ReasonOption = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Refuse every token that was issued until now to one of these, and end what would bring new ones.

    It does not keep anybody out: for that, suspend or remove the agent, disable the person, remove a registered client.
    Clients by document come back when they are asked for: `oauth.allowed_client_id_domains` says which may.
    """
    named = {
        "agent": agent,
        "service": service,
        "owner": owner,
        "client": client,
        "token": token,
        "third_party": third_party,
    }
    given = [(kind, value) for kind, value in named.items() if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("name exactly one: --agent, --service, --owner, --client, --token or --third-party")
    kind, value = given[0]
    answer = act(config, "/revoke", {"kind": kind, "value": value, "reason": reason})
    if as_json:
        print_json(answer)
    else:
        show_hit(answer, running=answer["running"])
