"""`ostiary services`: workloads with an identity of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ostiary.cli.output import ConfigOption, JsonOption, out, print_json
from ostiary.cli.registry import Columns, NameArgument, act, moment_of, plain, show_hit, show_listing, tell_force
from ostiary.cli.workload import FederatedIssuer, FederatedPreset, FederatedSubject, Jwks, credentials_of


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Services: workloads with an identity of their own.")
    group.command("list")(list_services)
    group.command("add")(add)
    group.command("remove")(remove)
    app.add_typer(group, name="services")


def list_services(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """List the services of the file and those that were registered."""
    columns: Columns = {
        "service": "name",
        "from": "from",
        "owner": _owner,
        "purpose": "purpose",
        "credentials": "credentials",
        "last token": moment_of("last_token"),
        "last request": moment_of("last_request"),
    }
    show_listing(config, "/services", columns, empty="no service is known", as_json=as_json)


def add(
    name: NameArgument,
    owner: Annotated[str, typer.Option(help="Who answers for it: a key of `people`.", metavar="PERSON")],
    purpose: Annotated[str | None, typer.Option(help="What it is for.", metavar="TEXT")] = None,
    jwks: Jwks = None,
    federated_preset: FederatedPreset = None,
    federated_subject: FederatedSubject = None,
    federated_issuer: FederatedIssuer = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Register a service while the gateway runs. Its owner must be live."""
    section: dict[str, Any] = {
        "owner": owner,
        "purpose": purpose,
        "credentials": credentials_of(jwks, federated_preset, federated_subject, federated_issuer),
    }
    given = {key: value for key, value in section.items() if value not in (None, [])}
    answer = act(config, "/services/add", {"name": name, "section": given})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble(plain(answer["service"]["id"]), " is registered, owned by ", plain(owner)))
    tell_force(running=answer["running"])


def remove(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Forget a registered service, and revoke what it holds."""
    answer = act(config, "/services/remove", {"name": name})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble("service ", plain(answer["removed"]), " is removed"))
    show_hit(answer["hit"], running=answer["running"])


def _owner(service: dict[str, Any]) -> str | Text:
    return service["owner"] if service["owner_live"] else Text(f"{service['owner']} (not live)", style="red")
