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
from rich.console import Console
from rich.text import Text

from ostiary import config as configuration
from ostiary._core import Snapshot, SnapshotError
from ostiary.compile import compile as compile_snapshot
from ostiary.errors import ConfigError, OstiaryError
from ostiary.policy import explanation
from ostiary.recall import Past, recall

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES = ("human", "service", "agent")
WRONG_USE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the options of the command describe it."""

    principal: str
    agent: str | None
    server: str
    tool: str
    args: str
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
            json.loads(self.args)
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
            "mcp_method": "tools/call",
            "tool": self.tool,
            "time": self.time or datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self.agent is not None:
            facts["agent"] = {"id": self.agent}
        return f'{json.dumps(facts)[:-1]}, "arguments": {self.args}}}'


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(explain)


def explain(
    decision: Annotated[str | None, typer.Argument(help="The id of a decision in the record.")] = None,
    policy: Annotated[Path | None, typer.Option(help="A policy file, or any part of an ostiary.yaml.")] = None,
    facts: Annotated[str | None, typer.Option(help="A file with facts as JSON; - reads them from stdin.")] = None,
    principal: Annotated[str | None, typer.Option(help="Who: TYPE:ISSUER:SUBJECT.")] = None,
    agent: Annotated[str | None, typer.Option(help="The agent that acts for them: its id or its key.")] = None,
    server: Annotated[str | None, typer.Option(help="The server that is called.")] = None,
    tool: Annotated[str | None, typer.Option(help="The tool that is called.")] = None,
    args: Annotated[str, typer.Option(help="Its arguments as JSON.")] = "{}",
    groups: Annotated[str | None, typer.Option(help="Groups of the principal, joined by commas.")] = None,
    email: Annotated[str | None, typer.Option(help="E-mail address of the principal.")] = None,
    time: Annotated[str | None, typer.Option(help="When, as RFC 3339; now if left out.")] = None,
    config: Annotated[Path, typer.Option(help="The configuration file.")] = Path(configuration.DEFAULT_FILE),
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether something is allowed, which rule decides, and what would change it.

    Exit code 0: allowed, 1: denied, 2: wrong use.
    """
    try:
        if decision is not None:
            _refuse_others("a decision", policy=policy, facts=facts, principal=principal, server=server, tool=tool)
            past = recall(decision, config)
            _print_past(past, json_output=json_output)
            _leave(past.then)
        elif policy is not None or facts is not None:
            _refuse_others("--policy and --facts", principal=principal, agent=agent, server=server, tool=tool)
            if policy is None or facts is None:
                raise typer.BadParameter("--policy and --facts go together")
            given = _read_facts(facts)
            answer = _decide(_compile(policy, partial=True, assumed=_ids(given)), given)
        else:
            if principal is None or server is None or tool is None:
                raise typer.BadParameter(
                    "give a DECISION, or --policy and --facts, or --principal, --server and --tool"
                )
            request = Request(
                principal=principal,
                agent=agent,
                server=server,
                tool=tool,
                args=args,
                groups=groups,
                email=email,
                time=time,
            )
            given = request.facts()
            answer = _decide(_compile(config, partial=False), given)
    except ConfigError as error:
        _fail("the file cannot be used:", *(str(problem) for problem in error.problems))
    except OstiaryError as error:
        _fail(str(error))
    _print(answer, given, json_output=json_output)
    _leave(answer)


def _refuse_others(form: str, **others: object) -> None:
    wrong = [f"--{name}" for name, value in others.items() if value is not None]
    if wrong:
        raise typer.BadParameter(f"{' and '.join(wrong)} cannot be given with {form}")


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(WRONG_USE)


def _leave(answer: Mapping[str, Any]) -> NoReturn:
    raise typer.Exit(0 if answer["decision"] == "allow" else 1)


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
    loaded = configuration.load(file, partial=partial, assumed=assumed)
    try:
        return Snapshot(compile_snapshot(loaded, local_keys=[], partial=partial))
    except SnapshotError as error:
        _fail(f"{file}: {error}")


def _decide(snapshot: Snapshot, facts: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(snapshot.decide(facts))
    except ValueError as error:
        _fail(f"the facts cannot be used: {error}")
    return answer


def _print(answer: Mapping[str, Any], facts: str, *, json_output: bool) -> None:
    if json_output:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    _print_answer(console, answer)
    if answer["decision"] == "allow":
        return
    given = json.loads(facts)
    console.print(Text(f"  asked: {asked(given)}", style="dim"))


def asked(facts: Mapping[str, Any]) -> str:
    """Return who asked for what, in one line."""
    who = str(facts.get("principal", {}).get("id"))
    agent = facts.get("agent")
    through = f" through {agent.get('id')}" if isinstance(agent, dict) and agent.get("id") != who else ""
    what = (
        f"{facts.get('server')}/{facts['tool']}"
        if facts.get("tool")
        else f"{facts.get('mcp_method')} on {facts.get('server')}"
    )
    return f"{who}{through}, {what}"


def _print_answer(console: Console, answer: Mapping[str, Any]) -> None:
    style = "bold green" if answer["decision"] == "allow" else "bold red"
    console.print(Text(explanation.verdict(answer), style=style))
    console.print(Text(f"  {explanation.deciding(answer)}"))
    for name, failed in explanation.nearest(answer):
        word = "met by" if answer["reason"] == "denied_by_rule" else "not met"
        console.print(Text(f"  nearest: {name}"))
        for leaf in failed:
            console.print(Text(f"    {word}: {leaf}", style="dim"))
    for change in explanation.changes(answer):
        console.print(Text(f"  would change it: {change}"))
    if (told := explanation.shadow(answer)) is not None:
        console.print(Text(f"  {told}", style="dim"))


def _print_past(past: Past, *, json_output: bool) -> None:
    if json_output:
        typer.echo(json.dumps(past.as_json(), ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"then, at {past.time}:", style="bold"))
    _print_answer(console, past.then)
    for line in past.remarks:
        console.print(Text(f"  {line}", style="dim"))
    if past.today is not None:
        console.print(Text("today:", style="bold"))
        _print_answer(console, past.today)
