"""`ostiary agents`: programs that act, each with somebody who answers for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ostiary.cli.output import ConfigOption, JsonOption, out, print_json
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
    show_table,
    tell_force,
)
from ostiary.cli.workload import FederatedIssuer, FederatedPreset, FederatedSubject, Jwks, credentials_of

STYLES = {"live": "green", "suspended": "red", "expired": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Agents: what each may do at most, and who answers for it.")
    group.command("list")(list_agents)
    group.command("show")(show)
    group.command("add")(add)
    group.command("hand-over")(hand_over)
    group.command("suspend")(suspend)
    group.command("resume")(resume)
    group.command("remove")(remove)
    group.command("orphans")(orphans)
    app.add_typer(group, name="agents")


def list_agents(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """List all agents: of the file, registered, and the clients that people consented to."""
    columns: Columns = {
        "agent": "name",
        "id": "id",
        "from": "from",
        "owner": "owner",
        "state": _state,
        "servers": lambda agent: " ".join(agent["servers"]),
        "classes": lambda agent: " ".join(agent["classes"]),
        "third party": "third_party",
        "last token": moment_of("last_token"),
        "last request": moment_of("last_request"),
    }
    show_listing(config, "/agents", columns, empty="no agent is known", as_json=as_json)


def show(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Show all that is known of one agent, by name or principal id."""
    agent = pick(listing(config, "/agents")["agents"], name, "agents")
    if as_json:
        print_json(agent)
        return
    show_fields(
        [
            ("agent", agent["name"]),
            ("id", agent["id"]),
            ("from", agent["from"]),
            ("owner", agent["owner"]),
            ("deputy", agent["deputy"]),
            ("purpose", agent["purpose"]),
            ("environment", agent["environment"]),
            ("servers", agent["servers"]),
            ("tools", agent["tools"]),
            ("classes", agent["classes"]),
            ("expires", moment(agent["expires"])),
            ("third party", agent["third_party"]),
            ("clients", agent["clients"]),
            ("credentials", agent["credentials"]),
            ("state", agent["state"]),
            ("why", agent["why"]),
            ("last token", moment(agent["last_token"])),
            ("last request", moment(agent["last_request"])),
        ]
    )


def add(
    name: NameArgument,
    owner: Annotated[str, typer.Option(help="Who answers for it: a key of `people`.", metavar="PERSON")],
    purpose: Annotated[str, typer.Option(help="What it is for.", metavar="TEXT")],
    server: Annotated[list[str], typer.Option(help="A server that it may call; may be repeated.", metavar="NAME")],
    classes: Annotated[
        list[str],
        typer.Option("--class", help="What it may do: read, query, update or admin; may be repeated.", metavar="CLASS"),
    ],
    deputy: Annotated[
        str | None, typer.Option(help="Who answers for it where the owner no longer does.", metavar="PERSON")
    ] = None,
    environment: Annotated[str | None, typer.Option(help="Where it runs, as in production.", metavar="NAME")] = None,
    tool: Annotated[
        list[str] | None, typer.Option(help="The only tools that it may call; may be repeated.", metavar="SERVER/TOOL")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it stops working, as in 2027-06-30.", metavar="DATE")
    ] = None,
    third_party: Annotated[str | None, typer.Option(help="Whose agent it is, if not ours.", metavar="NAME")] = None,
    client: Annotated[
        list[str] | None,
        typer.Option(
            help="An OAuth client that acts as this agent, as `clients list` shows it; may be repeated.", metavar="ID"
        ),
    ] = None,
    jwks: Jwks = None,
    federated_preset: FederatedPreset = None,
    federated_subject: FederatedSubject = None,
    federated_issuer: FederatedIssuer = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Register an agent while the gateway runs. Its owner must be live, and its ceiling says the most it can do."""
    section: dict[str, Any] = {
        "owner": owner,
        "deputy": deputy,
        "purpose": purpose,
        "environment": environment,
        "ceiling": {"servers": server, "classes": classes, **({"tools": tool} if tool else {})},
        "expires": expires,
        "third_party": third_party,
        "clients": {"local": client} if client else None,
        "credentials": credentials_of(jwks, federated_preset, federated_subject, federated_issuer),
    }
    given = {key: value for key, value in section.items() if value not in (None, [])}
    answer = act(config, "/agents/add", {"name": name, "section": given})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble(plain(answer["agent"]["id"]), " is registered, owned by ", plain(owner)))
    tell_force(running=answer["running"])


def hand_over(
    name: NameArgument,
    to: Annotated[str, typer.Option(help="The next owner: a key of `people`.", metavar="PERSON")],
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Give a registered agent another owner, and revoke what it was issued under the one before."""
    answer = act(config, "/agents/hand-over", {"name": name, "to": to})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble(plain(answer["agent"]["id"]), " is owned by ", (to, "bold")))
    show_hit(answer["hit"], running=answer["running"])
    if answer["agent"]["credentials"]:
        out().print("it keeps its credentials: whoever holds their keys still gets tokens for it")


def suspend(
    name: NameArgument,
    reason: ReasonOption = None,
    config: ConfigOption = Path("ostiary.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Stop an agent until `resume`, over restarts too, and revoke what it holds."""
    answer = act(config, "/agents/suspend", {"name": name, "reason": reason})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble(plain(answer["agent"]["id"]), " is ", ("suspended", "bold red")))
    show_hit(answer["hit"], running=answer["running"])


def resume(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Let a suspended agent act again. What was revoked stays revoked."""
    answer = act(config, "/agents/resume", {"name": name})
    if as_json:
        print_json(answer)
        return
    agent = answer["agent"]
    why = f" ({agent['why']})" if agent["why"] else ""
    out().print(Text.assemble(plain(agent["id"]), ": ", _state(agent), plain(why)))
    tell_force(running=answer["running"])


def remove(name: NameArgument, config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """Forget a registered agent, and revoke what it holds."""
    answer = act(config, "/agents/remove", {"name": name})
    if as_json:
        print_json(answer)
        return
    out().print(Text.assemble("agent ", plain(answer["removed"]), " is removed"))
    show_hit(answer["hit"], running=answer["running"])


def orphans(config: ConfigOption = Path("ostiary.yaml"), as_json: JsonOption = False) -> None:
    """List the agents that are suspended because nobody live answers for them, with what would help."""
    found = [each for each in listing(config, "/agents")["agents"] if each["reason"] == "owner_inactive"]
    people = {each["name"]: each for each in listing(config, "/people")["people"]} if found else {}
    orphaned = [{**each, "remedy": _remedy(each, config), "confirm": _confirm(each, people)} for each in found]
    if as_json:
        print_json({"orphans": orphaned})
        return
    rows = [(each["id"], each["owner"], each["why"], each["confirm"], each["remedy"]) for each in orphaned]
    columns = ("agent", "owner", "why", "if the owner is still there", "to hand it over")
    show_table(columns, rows, empty="every agent has a live owner")


def _remedy(agent: dict[str, Any], config: Path) -> str:
    if agent["from"] == "store":
        return f"ostiary agents hand-over {agent['name']} --to PERSON"
    if agent["from"] == "file":
        return f"change agents.{agent['name']}.owner in {config}"
    return f"ostiary revoke --client {agent['clients'][0]}"


def _confirm(agent: dict[str, Any], people: dict[str, dict[str, Any]]) -> str | None:
    """Return the command that brings the owner back, unless she is disabled or nobody knows her."""
    owner = people.get(agent["owner"])
    if owner is None or owner["disabled"] is not None or not (owner["declared"] or owner["signed_in"] is not None):
        return None
    return f"ostiary people confirm {owner['name']}"


def _state(agent: dict[str, Any]) -> Text:
    return Text(agent["state"], style=STYLES[agent["state"]])
