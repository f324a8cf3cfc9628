"""`ostiary tokens`: access tokens for agents and services."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ostiary.cli.output import ConfigOption, JsonOption, err, print_json

if TYPE_CHECKING:
    from ostiary.oauth.token import TokenRequest


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Access tokens for agents and services.")
    group.command("issue")(issue)
    app.add_typer(group, name="tokens")


def issue(
    server: Annotated[str, typer.Option(help="The server that it opens.", metavar="NAME")],
    agent: Annotated[str | None, typer.Option(help="The agent that it is for.", metavar="NAME")] = None,
    service: Annotated[str | None, typer.Option(help="The service that it is for.", metavar="NAME")] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="Scopes, as in 'mcp:read mcp:query'. By default all of the ceiling.", metavar="SCOPES"),
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it lives, as in 90s or 10m; at most 60m.", metavar="TIME")] = "10m",
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Issue an access token for one agent or service and one server, and record it. People sign in instead."""
    from ostiary.oauth.token import TokenRequest, parse_ttl

    if (agent is None) == (service is None):
        raise typer.BadParameter("say who it is for: either --agent or --service")
    kind: Literal["agent", "service"] = "agent" if agent is not None else "service"
    request = TokenRequest(
        type=kind,
        name=agent or service or "",
        server=server,
        scope=None if scope is None else scope.split(),
        ttl_s=parse_ttl(ttl),
    )
    token = _issue(config, request)
    if as_json:
        print_json(token)
        return
    # The token alone on standard output, so that TOKEN=$(ostiary tokens issue …) holds just that.
    err().print(
        f"[dim]{token['subject']}, owned by {token['owner']}, for {token['audience']}\n"
        f"{token['scope']} for {token['expires_in']} s[/dim]"
    )
    typer.echo(token["access_token"])


def _issue(file: Path, request: TokenRequest) -> dict[str, Any]:
    from ostiary.cli.reach import ask_or, locate_store

    body = {
        "type": request.type,
        "name": request.name,
        "server": request.server,
        "scope": None if request.scope is None else list(request.scope),
        "ttl_s": request.ttl_s,
    }
    return ask_or(locate_store(file), "POST", "/tokens", body, lambda: _issue_here(file, request))[0]


def _issue_here(file: Path, request: TokenRequest) -> dict[str, Any]:
    # Loaded only where no gateway does the work.
    from ostiary.acts import open_authority
    from ostiary.config import load
    from ostiary.registrar import Operator

    config = load(file)
    with open_authority(config) as authority:
        return authority.registrar.issue_token(authority.config, request, Operator.of_this_process()).as_json()
