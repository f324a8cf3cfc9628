"""Who and what a rule means: turns the names in rules into the ids that facts carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ostiary.errors import Problem
    from ostiary.yamlsource import Node

LOCAL = "local"
"""The issuer of the gateway's own tokens, for agents and services."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What reading the rules brought up. A file with `problems` is not used; `warnings` are only told."""

    problems: list[Problem]
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the configuration declares, as far as rules can refer to it.

    None stands for a section that was not given at all (a policy file read by itself): names that would refer to it
    are then taken as written. `assumed` are full principal ids that a bare name may mean in that case; it is
    how `explain --policy` lets `user: alice` mean the `human:corp:alice` of its facts.
    """

    people: Mapping[str, str | None] | None = None
    """Key to full id; None for a person without issuer and subject."""
    agents: Mapping[str, str] | None = None
    services: Mapping[str, str] | None = None
    servers: Mapping[str, frozenset[str]] | None = None
    """Server to the tools that its catalogue lists."""
    issuers: Mapping[str, str] | None = None
    """Name of an issuer or provider to the type of principal that it speaks for."""
    timezone: str = "UTC"
    assumed: tuple[str, ...] = ()


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the hint "did you mean `x`?", or nothing where no known word is near."""
    match = get_close_matches(word.lower(), sorted(set(known)), n=1, cutoff=0.6)
    return f"did you mean `{match[0]}`?" if match else ""


def listed(words: Iterable[str]) -> str:
    """Return `words` as a phrase: `a`, `b` or `c`."""
    quoted = [f"`{word}`" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def resolve(refers: str, text: str, node: Node, names: Names, findings: Findings) -> str:
    """Return what `text` means as an operand that refers to `refers`, and report names that nothing stands for."""
    if refers == "user":
        return _user(text, node, names, findings)
    if refers == "agent":
        return _registered("agent", names.agents, text, node, names, findings)
    if refers == "service":
        return _registered("service", names.services, text, node, names, findings)
    if refers == "owner":
        return owner(text, node, names, findings)
    if refers == "server":
        _server(text, node, names, findings)
    elif refers == "tool":
        _tool(text, node, names, findings)
    elif refers == "mcp_tool":
        _bare_tool(text, node, names, findings)
    return text


def _wrong_type(wanted: str, text: str, node: Node, findings: Findings) -> bool:
    """Report a full id of another type of principal than `wanted`."""
    for other, criterion in (("human", "user"), ("agent", "agent"), ("service", "service")):
        if other != wanted and text.startswith(f"{other}:") and text.count(":") >= 2:
            message = f"`{text}` is not the id of {'an agent' if wanted == 'agent' else f'a {wanted}'}"
            findings.problems.append(node.problem(message, f"the criterion for it is `{criterion}`"))
            return True
    return False


def _assumed(kind: str, text: str, names: Names) -> str:
    """Return the assumed id of type `kind` whose subject is `text`, else `text` itself."""
    return next((i for i in names.assumed if i.startswith(f"{kind}:") and i.split(":", 2)[2:] == [text]), text)


def _user(text: str, node: Node, names: Names, findings: Findings) -> str:
    if _wrong_type("human", text, node, findings):
        return text
    sources = None if names.issuers is None else [name for name, kind in names.issuers.items() if kind == "human"]
    if text.startswith("human:"):
        issuer, _, subject = text.removeprefix("human:").partition(":")
        if not issuer or not subject:
            findings.problems.append(node.problem(f"`{text}` is not a full id", "write `human:ISSUER:SUBJECT`"))
        elif sources is not None and issuer not in sources:
            message = f"no provider or issuer of humans is called `{issuer}`"
            findings.problems.append(node.problem(message, nearest(issuer, sources)))
        return text
    if names.people is not None and text in names.people:
        person = names.people[text]
        if person is None:
            message = f"`{text}` has no issuer and subject in `people`, so no caller can be known to be `{text}`"
            findings.problems.append(node.problem(message, f"give `people.{text}` an `issuer` and a `subject`"))
            return text
        return person
    if sources is None:
        return _assumed("human", text, names)
    if len(sources) == 1:
        return f"human:{sources[0]}:{text}"
    if not sources:
        known = nearest(text, names.people or ())
        message = f"nobody is called `{text}`, and no provider or issuer of humans is declared that could know the name"
        findings.problems.append(node.problem(message, known or "declare a provider, or an issuer with `type: human`"))
    else:
        message = f"`{text}` could come from {listed(sources)}: two sources that say the same name are two people"
        known = nearest(text, names.people or ())
        findings.problems.append(
            node.problem(message, known or f"write `human:{sources[0]}:{text}`, or a key of people")
        )
    return text


def _registered(
    kind: str, registry: Mapping[str, str] | None, text: str, node: Node, names: Names, findings: Findings
) -> str:
    if _wrong_type(kind, text, node, findings):
        return text
    if registry is None:
        return _assumed(kind, text, names)
    if text in registry:
        return registry[text]
    if text.startswith(f"{kind}:client:"):
        return text  # of a client that people consented to; no file declares it
    if text not in registry.values():
        message = f"`{text}` is not declared in `{kind}s`"
        if text.startswith(f"{kind}:local:"):
            hint = f"the rule speaks of it once `ostiary {kind}s add` has registered it"
            findings.warnings.append(node.problem(message, hint))
            return text
        findings.problems.append(node.problem(message, nearest(text, [*registry, *registry.values()])))
    return text


def owner(text: str, node: Node, names: Names, findings: Findings) -> str:
    """Return the key in `people` of the owner called `text`, which may be a full id."""
    if names.people is None or text in names.people:
        return text
    keys = [key for key, person in names.people.items() if person is not None and person == text]
    if keys:
        return keys[0]
    if not text.startswith("human:"):
        findings.problems.append(node.problem(f"`{text}` is not declared in `people`", nearest(text, names.people)))
    return text


def _server(text: str, node: Node, names: Names, findings: Findings) -> None:
    if names.servers is not None and text not in names.servers:
        findings.problems.append(node.problem(f"`{text}` is not declared in `servers`", nearest(text, names.servers)))


def _tool(text: str, node: Node, names: Names, findings: Findings) -> None:
    server, slash, tool = text.partition("/")
    if not (server and slash and tool):
        hint = "write `SERVER/TOOL`, or use `mcp_tool` for the bare name"
        findings.problems.append(node.problem(f"`{text}` names no server", hint))
        return
    if names.servers is None:
        return
    if server not in names.servers:
        _server(server, node, names, findings)
    elif tool not in names.servers[server]:
        _unlisted(text, f"servers.{server}.tools", tool, names.servers[server], node, findings)


def _bare_tool(text: str, node: Node, names: Names, findings: Findings) -> None:
    if names.servers is None:
        return
    known = {tool for tools in names.servers.values() for tool in tools}
    if text in known:
        return
    if text.partition("/")[0] in names.servers and "/" in text:
        hint = "`mcp_tool` is the bare name; use `tool` for `SERVER/TOOL`"
        findings.warnings.append(node.problem(f"no server lists a tool called `{text}`", hint))
    else:
        _unlisted(text, "the `tools` of any server", text, known, node, findings)


def _unlisted(text: str, where: str, tool: str, known: Iterable[str], node: Node, findings: Findings) -> None:
    message = f"`{text}` is not listed in {where}: only its default class is known"
    findings.warnings.append(node.problem(message, nearest(tool, known)))
