"""Registrations as they would stand in the file: read, and held to what the file declares.

The file wins: whatever clashes with it is refused when it is registered, and left out where the file came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from ostiary.config import AgentSection, ServiceSection
from ostiary.errors import OperationError
from ostiary.fields import ALGORITHMS, Name, describe
from ostiary.jwks import JwksError, read_keys
from ostiary.policy.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ostiary.config import CeilingSection, Config, CredentialSection, FederatedSection
    from ostiary.store.registry import RegisteredKind

_NAME: Final = TypeAdapter(Name)
Section = AgentSection | ServiceSection


class RegistryError(OperationError):
    """Something cannot be registered, or changed as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a registration, and what would help."""

    message: str
    hint: str = ""


def read_section(kind: RegisteredKind, name: str, section: Mapping[str, Any]) -> AgentSection | ServiceSection:
    """Read a registration. Raises `RegistryError` with the first thing that is wrong with it."""
    model: type[AgentSection | ServiceSection] = AgentSection if kind == "agent" else ServiceSection
    try:
        _NAME.validate_python(name)
        return model.model_validate(_frozen(section))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        context = first.get("ctx", {})
        where = ".".join(str(part) for part in first["loc"])
        message, hint = str(context.get("message", first["msg"])), str(context.get("hint", ""))
        if first["type"] == "literal_error":
            message, hint = f"{describe(first['input'])} is not known here", f"use {context['expected']}"
        raise RegistryError(f"{kind}s.{name[:80]}{f'.{where}' if where else ''}: {message}", hint=hint) from None


def faults(config: Config, name: str, section: Section) -> Iterator[Fault]:
    """Yield what keeps a registration from being used beside `config`, which does not hold it yet."""
    yield from _clash(config, name)
    yield from _credentials(config, section.credentials)
    if isinstance(section, AgentSection):
        yield from _clients(config, section)
    else:
        yield from _owner(config, section)


def missing(config: Config, section: Section) -> Iterator[Fault]:
    """Yield what a registration names and nobody declares, though it is kept: an agent without owner is suspended."""
    if not isinstance(section, AgentSection):
        return
    yield from _owner(config, section)
    if section.deputy is not None and section.deputy not in config.people:
        hint = nearest(section.deputy, config.people) or f"declare people.{section.deputy} in {config.path.name}"
        yield Fault(message=f"the deputy `{section.deputy}` is not declared in `people`", hint=hint)
    for server in section.ceiling.servers:
        if server not in config.servers:
            hint = nearest(server, config.servers) or "ostiary.yaml says which servers there are"
            yield Fault(message=f"the server `{server}` is not declared in `servers`", hint=hint)
    for tool in section.ceiling.tools or ():
        server, slash, word = tool.partition("/")
        if not (server and slash and word):
            yield Fault(message=f"`{tool[:80]}` is not a tool", hint="write SERVER/TOOL")
        elif server not in section.ceiling.servers:
            yield Fault(message=f"`{server[:80]}` is not among the servers of this ceiling", hint="add it there")


def unreadable_keys(config: Config, section: Section) -> Iterator[Fault]:
    """Yield each key set in a file that a credential names and that cannot be used."""
    for credential in section.credentials:
        for part in (credential.private_key_jwt, credential.federated):
            if part is None or part.jwks is None or part.jwks.file is None:
                continue
            try:
                read_keys(config.folder / part.jwks.file, ALGORITHMS)
            except JwksError as error:
                yield Fault(message=f"the key set {part.jwks.file} {error}", hint="it holds public keys, as JSON")


def narrowed(config: Config, section: AgentSection) -> AgentSection:
    """Return the section with only those servers and tools in its ceiling that are declared."""
    ceiling: CeilingSection = section.ceiling
    servers = tuple(server for server in ceiling.servers if server in config.servers)
    if servers == ceiling.servers:
        return section
    tools = ceiling.tools
    if tools is not None:
        tools = tuple(tool for tool in tools if tool.partition("/")[0] in servers)
    return section.model_copy(update={"ceiling": ceiling.model_copy(update={"servers": servers, "tools": tools})})


def _owner(config: Config, section: Section) -> Iterator[Fault]:
    if section.owner not in config.people:
        yield Fault(
            message=f"the owner `{section.owner}` is not declared in `people`",
            hint=nearest(section.owner, config.people) or f"declare people.{section.owner} in {config.path.name}",
        )


def _clash(config: Config, name: str) -> Iterator[Fault]:
    for kind, taken in (("agents", config.agents), ("services", config.services)):
        if name in taken:
            place = "registered" if f"{kind}.{name}" in config.registered else f"declared in {config.path}"
            yield Fault(message=f"{kind}.{name} is already {place}", hint="choose another name")


def _clients(config: Config, section: AgentSection) -> Iterator[Fault]:
    taken = {
        (issuer, client): key
        for key, agent in config.agents.items()
        for issuer, clients in agent.clients.items()
        for client in clients
    }
    own = {key for each in (config.agents, config.services) for key, known in each.items() if known.credentials}
    for issuer, clients in section.clients.items():
        for client in clients:
            if (issuer, client) in taken:
                other = taken[issuer, client]
                yield Fault(message=f"the client `{client[:80]}` already stands for `{other}`", hint="it is one agent")
            if client in own or client.startswith(("agent:local:", "service:local:")):
                message = f"`{client[:80]}` is what an agent or service itself is called at the token endpoint"
                yield Fault(message=message, hint="people come through a client of another name")


def _credentials(config: Config, credentials: Iterable[CredentialSection]) -> Iterator[Fault]:
    """Yield what makes a credential no proof, or a proof to be somebody else."""
    taken = {
        _workload(config, credential.federated): key
        for section in (config.agents, config.services)
        for key, each in section.items()
        for credential in each.credentials
        if credential.federated is not None
    }
    for credential in credentials:
        federated = credential.federated
        if (credential.private_key_jwt is None) == (federated is None):
            yield Fault(message="a credential is one of `private_key_jwt` and `federated`", hint="name each by itself")
            continue
        if credential.private_key_jwt is not None:
            jwks = credential.private_key_jwt.jwks
            if (jwks.file is None) == (jwks.url is None):
                yield Fault(message="a key set is a `file` or a `url`", hint="name one of them")
        if federated is None:
            continue
        if federated.issuer is None and federated.preset != "github-actions":
            yield Fault(message="the issuer of the workload's tokens is missing", hint="name it: --federated-issuer")
        if federated.issuer == config.gateway.url:
            yield Fault(message="the gateway itself is this issuer", hint="name that of the platform")
        other = taken.get(_workload(config, federated))
        if other is not None:
            yield Fault(message=f"the workload `{federated.subject[:80]}` is already `{other}`", hint="it is one")


def _workload(config: Config, federated: FederatedSection) -> tuple[str | None, str, str]:
    return federated.issuer or federated.preset, federated.subject, federated.audience or config.gateway.url


def _frozen(value: Any) -> Any:
    """Return data of JSON as the reader of the file gives it: lists become tuples."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    return value
