"""Takes back what was issued: epochs for the data plane, and the end of everything in the store that could issue anew.

Both in one transaction, and before they are recorded, since revoking only takes. It ends what was issued and does not
keep anybody out: for that, agents are suspended or removed, people disabled, registered clients removed. A client by
document comes back with its next request: `oauth.allowed_client_id_domains` keeps those out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from ostiary.control import EpochKind
from ostiary.errors import OperationError
from ostiary.policy.names import nearest
from ostiary.registry.effective import merge
from ostiary.registry.liveness import People
from ostiary.store import epochs, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostiary.config import Config
    from ostiary.control import Control, Epoch, Person
    from ostiary.registrar import Operator

_FAMILIES, _CONSENTS, _CLIENTS = tables.families.c, tables.consents.c, tables.clients.c
_CLIENT_AGENT = "agent:client:"
_NOT_KEPT = "tokens are not kept, so whether there is one of this id cannot be said here"

Target = EpochKind | Literal["service"]
"""What can be named. A service has no epochs of a kind of its own: it is the client of its tokens."""


class RevocationError(OperationError):
    """A target can match no token of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """What a revocation reached. `known` is false where neither file nor store know the name: a token may be about."""

    epochs: tuple[Epoch, ...]
    agents: tuple[str, ...]
    families: int
    known: bool
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as commands print it."""
        return {
            "revoked": [each.as_json() for each in self.epochs],
            "agents": list(self.agents),
            "families": self.families,
            "known": self.known,
            "hint": self.hint,
        }


@dataclass(slots=True, kw_only=True)
class _Reach:
    """What one target matches, in the data plane and in the store."""

    keys: list[tuple[EpochKind, str]]
    families: sa.ColumnElement[bool]
    consents: sa.ColumnElement[bool] | None = None
    agents: set[str] = field(default_factory=set)
    accounts: tuple[str, ...] = ()
    known: bool = False
    hint: str = ""


def revoke(
    control: Control, targets: Sequence[tuple[Target, str]], by: Operator | Person | None, *, why: str | None
) -> Hit:
    """Refuse, from now on, every token that matches one of `targets` and was issued until now.

    An agent may be named by its key or principal id, an owner by any name. Raises `RevocationError` where a target
    can match no token of its kind.
    """
    with control.store.changing() as connection:
        hit = end(control, connection, targets, why=why)
    enforce(control, hit, by, why=why)
    return hit


def end(control: Control, connection: sa.Connection, targets: Sequence[tuple[Target, str]], *, why: str | None) -> Hit:
    """Do the part of `revoke` that is in the store, within a change of it; `enforce` must follow once it is made."""
    config, _ = merge(control.config, connection)
    people = People.read(config, connection)
    reaches = [_reach(connection, config, people, kind, value) for kind, value in targets]
    keys = list(dict.fromkeys(key for reach in reaches for key in reach.keys))
    made = epochs.revoke(connection, keys, why=why, now=control.now())
    for reach in reaches:
        reach.agents |= _agents_of(connection, reach)
    ended = _end(connection, reaches, why, now=control.now())
    return Hit(
        epochs=made,
        agents=tuple(sorted(set[str]().union(*(reach.agents for reach in reaches)))),
        families=ended,
        known=any(reach.known or reach.agents for reach in reaches) or ended > 0,
        hint=next((reach.hint for reach in reaches if reach.hint), ""),
    )


def enforce(control: Control, hit: Hit, by: Operator | Person | None, *, why: str | None, **detail: Any) -> None:
    """Put what `end` kept in force at once, and record it with `detail`."""
    told = {"agents": list(hit.agents), "families": hit.families}
    control.revoke(hit.epochs, by, why=why or "revoked", hit=told, **detail)


# What each kind reaches ----------------------------------------------------------------------------------------------


def _reach(connection: sa.Connection, config: Config, people: People, kind: Target, value: str) -> _Reach:
    if not value.strip():
        raise RevocationError("nothing is named")
    match kind:
        case "token":
            return _Reach(keys=[("token", value)], families=sa.false(), hint=_NOT_KEPT)
        case "family":
            return _Reach(keys=[("family", value)], families=_FAMILIES.id == value)
        case "client":
            return _client(connection, config, value)
        case "agent":
            return _agent(config, value)
        case "service":
            return _service(connection, config, value)
        case "owner":
            return _owner(config, people, value)
        case "subject":
            return _subject(people, value)
        case "third_party":
            return _third_party(connection, config, value)


def _client(connection: sa.Connection, config: Config, value: str) -> _Reach:
    registered = connection.execute(sa.select(_CLIENTS.id).where(_CLIENTS.id == value)).one_or_none() is not None
    # An autonomous agent or a service is its own client, and may use its bare name.
    ids = {value}
    if not registered and value in config.agents:
        ids.add(config.agent_id(value))
    elif not registered and value in config.services:
        ids.add(config.service_id(value))
    agents = {
        config.agent_id(key)
        for key, agent in config.agents.items()
        if config.agent_id(key) in ids or ids & set(agent.clients.get("local", ()))
    }
    services = {config.service_id(key) for key in config.services}
    return _Reach(
        keys=[("client", each) for each in sorted(ids)],
        families=_FAMILIES.client.in_(ids),
        consents=_CONSENTS.client.in_(ids),
        agents=agents,
        known=registered or bool(ids & services),
    )


def _agent(config: Config, value: str) -> _Reach:
    kind, colon, _ = value.partition(":")
    if colon and kind in ("human", "service"):
        hint = (
            f"use --service {value}" if kind == "service" else "use --owner for its agents, or `ostiary people disable`"
        )
        raise RevocationError(f"{value} is not an agent", hint=hint)
    ids = {key: config.agent_id(key) for key in config.agents}
    agent = ids.get(value) or (value if colon and kind == "agent" else f"agent:local:{value}")
    return _Reach(
        keys=[("agent", agent)],
        families=_FAMILIES.agent == agent,
        consents=_CONSENTS.agent == agent,
        agents={agent} & set(ids.values()),
        hint="" if agent in ids.values() or agent.startswith(_CLIENT_AGENT) else _not_an_agent(config, value),
    )


def _not_an_agent(config: Config, value: str) -> str:
    if value in config.services:
        return f"it is a service: `ostiary revoke --service {value}`"
    return nearest(value, config.agents)


def _service(connection: sa.Connection, config: Config, value: str) -> _Reach:
    """Return what its id reaches: as the client of tokens of ours, as the subject of those of another issuer."""
    kind, colon, _ = value.partition(":")
    if colon and kind != "service":
        hint = f"use --{'agent' if kind == 'agent' else 'owner'} {value}"
        raise RevocationError(f"{value} is not a service", hint=hint)
    ids = {key: config.service_id(key) for key in config.services}
    service = ids.get(value) or (value if colon else f"service:local:{value}")
    reach = _client(connection, config, service)
    if not service.startswith("service:local:"):
        reach.keys = [("subject", service)]
    if not reach.known:
        an_agent = value in config.agents
        reach.hint = f"it is an agent: `ostiary revoke --agent {value}`" if an_agent else nearest(value, ids)
    return reach


def _owner(config: Config, people: People, value: str) -> _Reach:
    forms = people.forms(value)
    owned = {config.agent_id(key) for key, agent in config.agents.items() if agent.owner in forms}
    # Of a client that nobody registered, the owner is whoever it acts for.
    hers = _FAMILIES.account.in_(forms) & _FAMILIES.agent.startswith(_CLIENT_AGENT, autoescape=True)
    consented = _CONSENTS.account.in_(forms) & _CONSENTS.agent.startswith(_CLIENT_AGENT, autoescape=True)
    known = people.known(value)
    return _Reach(
        keys=[("owner", form) for form in forms],
        families=hers | _FAMILIES.agent.in_(owned),
        consents=consented | _CONSENTS.agent.in_(owned),
        agents=owned,
        known=known,
        hint="" if known else nearest(value, config.people),
    )


def _subject(people: People, value: str) -> _Reach:
    ids = [form for form in people.forms(value) if ":" in form] or [value]
    accounts = tuple(account.id for account in people.accounts_of(value))
    return _Reach(
        keys=[("subject", each) for each in ids],
        families=_FAMILIES.account.in_(ids),
        accounts=accounts,
        known=people.known(value),
    )


def _third_party(connection: sa.Connection, config: Config, value: str) -> _Reach:
    names = {agent.third_party for agent in config.agents.values() if agent.third_party is not None}
    names |= set(connection.execute(sa.select(_CONSENTS.third_party)).scalars())
    return _Reach(
        keys=[("third_party", value)],
        families=_FAMILIES.third_party == value,
        consents=_CONSENTS.third_party == value,
        agents={config.agent_id(key) for key, agent in config.agents.items() if agent.third_party == value},
        known=value in names,
        hint="" if value in names else nearest(value, names),
    )


# Ending it -----------------------------------------------------------------------------------------------------------


def _agents_of(connection: sa.Connection, reach: _Reach) -> set[str]:
    """Return the agents whose families or consents are about to end."""
    live = sa.select(_FAMILIES.agent).where(reach.families & _FAMILIES.ended_at.is_(None))
    found = set(connection.execute(live).scalars())
    if reach.consents is not None:
        found |= set(connection.execute(sa.select(_CONSENTS.agent).where(reach.consents)).scalars())
    return found


def _end(connection: sa.Connection, reaches: Iterable[_Reach], why: str | None, *, now: int) -> int:
    """End families, consents and browser sessions; returns how many families were live until now."""
    ended = 0
    for reach in reaches:
        live = reach.families & _FAMILIES.ended_at.is_(None)
        change = sa.update(tables.families).where(live).values(ended_at=now, why=why or "revoked")
        ended += connection.execute(change).rowcount
        if reach.consents is not None:
            connection.execute(sa.delete(tables.consents).where(reach.consents))
        if reach.accounts:
            sessions = tables.browser_sessions
            connection.execute(sa.delete(sessions).where(sessions.c.account.in_(reach.accounts)))
    return ended
