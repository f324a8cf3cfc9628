"""What is in force: the file, with what is registered in the store merged in, and which agents are suspended.

Read at every change and with time, since leases and expiries end by themselves. The file wins over the store; what
clashes with it, or lacks an owner, is left out and told as a problem.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from ostiary.config import AgentSection, ServiceSection
from ostiary.errors import Problem
from ostiary.registry.liveness import People, owner_forms
from ostiary.registry.sections import RegistryError, faults, missing, narrowed, read_section
from ostiary.store import clients, registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import sqlalchemy as sa

    from ostiary.config import Config
    from ostiary.control import EpochKind
    from ostiary.store import Store
    from ostiary.store.registry import AgentMark, Registered

__all__ = ["Effective", "effective", "from_file", "keys_of_token", "merge", "owner_forms", "suspension", "troubles"]

Suspended = Literal["agent_suspended", "owner_inactive"]
SUSPENDED: Final[Mapping[Suspended, str]] = {
    "agent_suspended": "it is suspended, or its registration has expired",
    "owner_inactive": "nobody live answers for it: its owner signs in, or `ostiary people confirm OWNER`",
}
"""The reasons in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The configuration in force. `suspended` gives the reason for each agent, by key, that may not act now.

    `until` is the second from which on that is no longer so by itself, if there is one: a lease or registration ends.
    """

    config: Config
    suspended: Mapping[str, Suspended]
    problems: tuple[Problem, ...]
    until: int | None


def effective(config: Config, store: Store, *, now: int) -> Effective:
    """Return what is in force at `now` (seconds) under the file's `config`; one that is merged already will do."""
    with store.reading() as connection:
        merged, problems = merge(config, connection)
        people, marks = People.read(merged, connection), registry.agent_marks(connection)
        clashes = tuple(_client_clashes(merged, connection))
    found = {key: _suspension(merged, people, marks, key, now) for key in merged.agents}
    suspended = {key: reason for key, reason in found.items() if reason is not None}
    return Effective(
        config=merged, suspended=suspended, problems=(*problems, *clashes), until=_until(merged, people, now)
    )


def troubles(found: Effective) -> Iterator[str]:
    """Yield what must be told: registrations that do not count, and agents that may not act."""
    yield from map(str, found.problems)
    for key, reason in found.suspended.items():
        yield f"agent {key} may not act: {SUSPENDED[reason]}; `ostiary agents show {key}` says more"


def suspension(config: Config, connection: sa.Connection, key: str, *, now: int) -> Suspended | None:
    """Return why the agent with this key may not act at `now`; whoever issues a token asks in its transaction."""
    agent = config.agents[key]
    if f"agents.{key}" in config.registered and not registry.is_registered(connection, "agent", key):
        return "agent_suspended"  # removed, and `config` does not know yet
    owners = [name for name in (agent.owner, agent.deputy) if name is not None]
    people = People.read(config, connection, only=owners)
    return _suspension(config, people, registry.agent_marks(connection), key, now)


def from_file(config: Config) -> Config:
    """Return a configuration without what was merged in from the store."""
    if not config.registered:
        return config
    agents = {key: agent for key, agent in config.agents.items() if f"agents.{key}" not in config.registered}
    services = {key: each for key, each in config.services.items() if f"services.{key}" not in config.registered}
    return replace(config, agents=agents, services=services, registered=frozenset())


def merge(config: Config, connection: sa.Connection) -> tuple[Config, tuple[Problem, ...]]:
    """Return the file's configuration with all registrations that go with it, and what is wrong with the rest."""
    merged, problems = from_file(config), list[Problem]()
    for each in registry.all_registered(connection):
        merged, found = _with(merged, each)
        problems += found
    return merged, tuple(problems)


def keys_of_token(
    config: Config,
    *,
    subject: str,
    client: str,
    agent: str | None = None,
    family: str | None = None,
    third_party: str | None = None,
) -> list[tuple[EpochKind, str]]:
    """Return all that a token would be revoked by; its epoch floor is taken over these.

    `agent` is the principal id of what acts. Its owner is what the registry says, or the subject where nobody
    registered it.
    """
    keys: list[tuple[EpochKind, str]] = [("subject", subject), ("client", client)]
    if family is not None:
        keys.append(("family", family))
    if agent is not None:
        keys.append(("agent", agent))
        section = next((each for key, each in config.agents.items() if config.agent_id(key) == agent), None)
        owner = subject if section is None else section.owner
        keys += [("owner", form) for form in owner_forms(config, owner)]
        third_party = third_party if section is None else section.third_party
    if third_party is not None:
        keys.append(("third_party", third_party))
    return keys


def _with(config: Config, each: Registered) -> tuple[Config, list[Problem]]:
    """Return `config` with one registration, or without it where that cannot be."""
    place = f"{each.kind}s.{each.name}"

    def problem(message: str, hint: str) -> Problem:
        told = f"registered, and not as told: {message}"
        return Problem(file=config.path.name, line=0, column=0, key=place, message=told, hint=hint)

    try:
        section = read_section(each.kind, each.name, each.section)
    except RegistryError as error:
        return config, [problem(error.message, error.hint)]
    serious = [problem(fault.message, fault.hint) for fault in faults(config, each.name, section)]
    if serious:
        return config, serious
    problems = [problem(fault.message, fault.hint) for fault in missing(config, section)]
    registered = config.registered | {place}
    if isinstance(section, AgentSection):
        agents = {**config.agents, each.name: narrowed(config, section)}
        return replace(config, agents=agents, registered=registered), problems
    services: dict[str, ServiceSection] = {**config.services, each.name: section}
    return replace(config, services=services, registered=registered), problems


def _suspension(config: Config, people: People, marks: Mapping[str, AgentMark], key: str, now: int) -> Suspended | None:
    agent = config.agents[key]
    if agent.owner not in config.people:
        return "owner_inactive"  # of a registered agent: the file took her out
    if config.agent_id(key) in marks or (agent.expires is not None and agent.expires <= now):
        return "agent_suspended"
    owners = [agent.owner, *([] if agent.deputy is None else [agent.deputy])]
    # Undeclared owners are nobody, whatever the store may say of that name.
    if any(name in config.people and people.standing(name, now=now).live for name in owners):
        return None
    return "owner_inactive"


def _until(config: Config, people: People, now: int) -> int | None:
    """Return when the next lease of an owner or deputy, or the next agent, ends."""
    named = {agent.owner for agent in config.agents.values()} | {agent.deputy for agent in config.agents.values()}
    leases = [people.standing(name, now=now).until for name in config.people if name in named]
    expiries = [agent.expires for agent in config.agents.values()]
    return min((at for at in (*leases, *expiries) if at is not None and at > now), default=None)


def _client_clashes(config: Config, connection: sa.Connection) -> Iterator[Problem]:
    """Yield each client that goes by the name under which an agent or service gets tokens: it is one or the other."""
    for kind, sections in (("agents", config.agents), ("services", config.services)):
        for key, section in sections.items():
            if section.credentials and clients.get(connection, key) is not None:
                message = f"a client is registered under this name, and {kind}.{key} gets tokens under it"
                hint = f"ostiary clients remove {key}"
                yield Problem(file=config.path.name, line=0, column=0, key=f"clients.{key}", message=message, hint=hint)
