"""`ostiary explain`: says which rule decides, and what would change it. Needs no running gateway.

Three forms: facts in a file against a policy file; a request put together from options against the configuration;
and a decision of the past, told from its record and the Snapshot that it was made under.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.text import Text

from ostiary.cli.output import ConfigOption, JsonOption, out, print_json, tell_error, tell_problems
from ostiary.config import DEFAULT_FILE, load
from ostiary.errors import ConfigError, OperationError, OstiaryError
from ostiary.policy import explanation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from ostiary._core import Snapshot
    from ostiary.recall import Past

TYPES = ("human", "service", "agent")
METHODS = {"tool": "tools/call", "prompt": "prompts/get", "resource": "resources/read"}
"""What is sent if only this is said."""
WRONG_USE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the options of the command describe it."""

    principal: str
    agent: str | None
    server: str
    method: str
    tool: str | None
    prompt: str | None
    resource: str | None
    server_request: str | None
    args: str | None
    groups: str | None
    email: str | None
    time: str | None

    def facts(self) -> str:
        """Return the facts of the request as JSON; the arguments stay as they were written.

        Raises `typer.BadParameter`.
        """
        kind, _, rest = self.principal.partition(":")
        if kind not in TYPES or not rest:
            raise typer.BadParameter("write TYPE:ISSUER:SUBJECT, as in human:corp:alice", param_hint="--principal")
        try:
            json.loads("{}" if self.args is None else self.args)
        except ValueError as error:
            raise typer.BadParameter(f"this is not JSON: {error}", param_hint="--args") from error
        principal: dict[str, Any] = {"type": kind, "id": self.principal if ":" in rest else rest}
        if self.email is not None:
            principal["email"] = self.email
        if self.groups is not None:
            principal["groups"] = [group.strip() for group in self.groups.split(",") if group.strip()]
        facts: dict[str, Any] = {
            "principal": principal,
            "server": self.server,
            "mcp_method": self.method,
            "time": self.time or datetime.now(UTC).isoformat(timespec="seconds"),
        }
        named = {"tool": self.tool, "prompt": self.prompt, "resource_uri": self.resource}
        named["server_request"] = self.server_request
        facts |= {name: value for name, value in named.items() if value is not None}
        if self.agent is not None:
            facts["agent"] = {"id": self.agent}
        text = json.dumps(facts)
        return text if self.args is None else f'{text[:-1]}, "arguments": {self.args}}}'


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("explain")(explain)


def explain(
    decision: Annotated[str | None, typer.Argument(help="The id of a decision in the record.")] = None,
    *,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A policy file, or any part of an ostiary.yaml.")
    ] = None,
    facts: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file with facts as JSON; - reads them from standard input.")
    ] = None,
    principal: Annotated[str | None, typer.Option(metavar="TYPE:ISSUER:SUBJECT", help="Who calls.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="ID", help="The agent that acts: its id or its key.")] = None,
    server: Annotated[str | None, typer.Option(help="The server that is called.")] = None,
    tool: Annotated[str | None, typer.Option(help="The tool that is called.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The prompt that is got, or completed.")] = None,
    resource: Annotated[str | None, typer.Option(metavar="URI", help="The resource that is read, or so.")] = None,
    method: Annotated[
        str | None, typer.Option(help="What the client sends, if not tools/call, prompts/get or resources/read.")
    ] = None,
    server_request: Annotated[
        str | None, typer.Option(metavar="METHOD", help="What the server asks of the client meanwhile.")
    ] = None,
    args: Annotated[
        str | None, typer.Option(metavar="JSON", help="The arguments, or the params of what the server asks.")
    ] = None,
    groups: Annotated[str | None, typer.Option(metavar="A,B", help="Groups of the principal.")] = None,
    email: Annotated[str | None, typer.Option(help="E-mail address of the principal.")] = None,
    time: Annotated[str | None, typer.Option(metavar="RFC3339", help="When; now if left out.")] = None,
    config: ConfigOption = Path(DEFAULT_FILE),
    as_json: JsonOption = False,
) -> None:
    """Say whether something is allowed, which rule decides, and what would change it.

    Give the id of a DECISION; or --policy and --facts; or --principal, --server and what is asked: --tool, --prompt,
    --resource or --method.
    Exit code 0: allowed, 1: denied, 2: wrong use.
    """
    described = {"principal": principal, "server": server, "tool": tool, "agent": agent, "args": args}
    described |= {"groups": groups, "email": email, "time": time, "prompt": prompt, "resource": resource}
    described |= {"method": method, "server-request": server_request}
    if decision is not None:
        _refuse("a decision", {"policy": policy, "facts": facts, **described})
        past = _recall(decision, config)
        _tell_past(past, as_json=as_json)
        _leave(past.then)
    if policy is not None or facts is not None:
        _refuse("--policy and --facts", described)
        if policy is None or facts is None:
            raise typer.BadParameter("--policy and --facts go together")
        given = _read_facts(facts)
        answer = _decide(_compile(policy, partial=True, assumed=_ids(given)), given)
    else:
        asked = method or next((of for name, of in METHODS.items() if described[name] is not None), None)
        if principal is None or server is None or asked is None:
            raise typer.BadParameter(
                "give a DECISION, or --policy and --facts, or --principal, --server and what is asked: "
                "--tool, --prompt, --resource or --method"
            )
        given = Request(
            principal=principal,
            agent=agent,
            server=server,
            method=asked,
            tool=tool,
            prompt=prompt,
            resource=resource,
            server_request=server_request,
            args=args,
            groups=groups,
            email=email,
            time=time,
        ).facts()
        answer = _decide(_compile(config, partial=False), given)
    if as_json:
        print_json(answer)
    else:
        _tell(out(), answer)
    _leave(answer)


def _refuse(form: str, others: Mapping[str, object]) -> None:
    wrong = [f"--{name}" for name, value in others.items() if value is not None]
    if wrong:
        raise typer.BadParameter(f"{' and '.join(wrong)} cannot be given with {form}")


def _leave(answer: Mapping[str, Any]) -> NoReturn:
    raise typer.Exit(0 if answer["decision"] == "allow" else 1)


def _fail(error: OstiaryError, file: Path) -> NoReturn:
    if isinstance(error, ConfigError):
        tell_problems(error, file.parent)
    else:
        tell_error(error)
    raise typer.Exit(WRONG_USE)


def _read_facts(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"`{name}` cannot be read: {error}", param_hint="--facts") from error


def _ids(facts: str) -> tuple[str, ...]:
    """Return the principal ids in facts: whom bare names in rules may mean, where nobody is declared."""
    try:
        read = json.loads(facts)
    except ValueError:
        return ()
    parts = [read.get(name) for name in ("principal", "agent")] if isinstance(read, dict) else []
    found = [part.get("id") for part in parts if isinstance(part, dict)]
    return tuple(text for text in found if isinstance(text, str) and text.count(":") >= 2)


def _compile(file: Path, *, partial: bool, assumed: tuple[str, ...] = ()) -> Snapshot:
    from ostiary._core import Snapshot, SnapshotError
    from ostiary.compile import compile, snapshot_problem  # noqa: A004  (the step is called so everywhere)

    try:
        loaded = load(file, partial=partial, assumed=assumed)
        try:
            return Snapshot(compile(loaded, local_keys=(), partial=partial))
        except SnapshotError as error:
            raise ConfigError([snapshot_problem(loaded, error.path, error.message)]) from error
    except ConfigError as error:
        _fail(error, file)


def _decide(snapshot: Snapshot, facts: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(snapshot.decide(facts))
    except ValueError as error:
        _fail(OperationError(f"these facts cannot be used: {error}"), Path())
    return answer


def _recall(decision: str, config: Path) -> Past:
    from ostiary.recall import recall

    try:
        return recall(decision, config)
    except OstiaryError as error:
        _fail(error, config)


def _tell(console: Console, answer: Mapping[str, Any]) -> None:
    style = "bold green" if answer["decision"] == "allow" else "bold red"
    console.print(Text(explanation.verdict(answer), style=style))
    if told := explanation.deciding(answer):
        console.print(Text(f"  {told}"))
    for line, leaves in explanation.nearest(answer):
        console.print(Text(f"  {line}{':' if leaves else ''}"))
        for leaf in leaves:
            console.print(Text(f"    {leaf}", style="dim"))
    for change in explanation.changes(answer):
        console.print(Text(f"  what would change it: {change}"))
    if told := explanation.shadow(answer):
        console.print(Text(f"  {told}", style="dim"))


def _tell_past(past: Past, *, as_json: bool) -> None:
    if as_json:
        print_json(past.as_json())
        return
    console = out()
    console.print(Text(f"then, at {past.time}", style="bold"))
    _tell(console, past.then)
    if past.today is not None:
        console.print(Text("today", style="bold"))
        _tell(console, past.today)
    for remark in past.remarks:
        console.print(Text(remark))
