"""What the store knows of agents, services and people: registrations, marks of operators, and when each was last seen.

Functions on one open transaction of the store, so that callers can do several things as one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.store import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

RegisteredKind = Literal["agent", "service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An agent or service that was registered while running; `section` is as it would stand in the file."""

    kind: RegisteredKind
    name: str
    section: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonMark:
    """What operators said of a person, at what second."""

    confirmed_at: int | None = None
    disabled_at: int | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentMark:
    """An operator suspended the agent."""

    suspended_at: int
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """When a principal was last seen, in seconds: the latest `iat` of its tokens from here, its last request."""

    token_at: int | None = None
    request_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose an agent is: a key in `people`, and the principal id that stood there, if one did."""

    key: str
    person: str | None

    def is_another(self, owner: Owner) -> bool:
        """Say whether `owner` is somebody else. An id that is added or taken away leaves her who she is."""
        pinned = self.person is not None and owner.person is not None
        return self.key != owner.key or (pinned and self.person != owner.person)


# Registrations --------------------------------------------------------------------------------------------------------


def all_registered(connection: sa.Connection) -> list[Registered]:
    """Return all registrations, by kind and name."""
    query = sa.select(tables.registered).order_by(tables.registered.c.kind, tables.registered.c.name)
    return [
        Registered(kind=row.kind, name=row.name, section=json.loads(row.section), created_at=row.created_at)
        for row in connection.execute(query)
    ]


def is_registered(connection: sa.Connection, kind: RegisteredKind, name: str) -> bool:
    """Say whether there is a registration of that kind and name."""
    same = (tables.registered.c.kind == kind) & (tables.registered.c.name == name)
    return connection.execute(sa.select(tables.registered.c.name).where(same)).one_or_none() is not None


def register(
    connection: sa.Connection, kind: RegisteredKind, name: str, section: Mapping[str, Any], *, now: int
) -> None:
    """Keep a registration, in place of the one of that name if there is one."""
    text = json.dumps(section, sort_keys=True, ensure_ascii=False)
    row = insert(tables.registered).values(kind=kind, name=name, section=text, created_at=now)
    connection.execute(row.on_conflict_do_update(["kind", "name"], set_={"section": text}))


def unregister(connection: sa.Connection, kind: RegisteredKind, name: str) -> None:
    """Forget a registration."""
    same = (tables.registered.c.kind == kind) & (tables.registered.c.name == name)
    connection.execute(sa.delete(tables.registered).where(same))


# Marks ----------------------------------------------------------------------------------------------------------------


def person_marks(connection: sa.Connection) -> dict[str, PersonMark]:
    """Return the marks on people, by key in `people` or principal id."""
    return {
        row.name: PersonMark(confirmed_at=row.confirmed_at, disabled_at=row.disabled_at, why=row.why)
        for row in connection.execute(sa.select(tables.people_marks))
    }


def confirm_person(connection: sa.Connection, name: str, *, now: int) -> None:
    """Mark a person as still there."""
    _mark_person(connection, name, {"confirmed_at": now})


def disable_person(connection: sa.Connection, name: str, why: str | None, *, now: int) -> None:
    """Mark a person as one who may not act and for whom nothing may."""
    _mark_person(connection, name, {"disabled_at": now, "why": why})


def enable_person(connection: sa.Connection, name: str) -> None:
    """Take that mark away."""
    _mark_person(connection, name, {"disabled_at": None, "why": None})


def _mark_person(connection: sa.Connection, name: str, values: dict[str, Any]) -> None:
    row = insert(tables.people_marks).values(name=name, **values)
    connection.execute(row.on_conflict_do_update(["name"], set_=values))


def agent_marks(connection: sa.Connection) -> dict[str, AgentMark]:
    """Return the agents that operators suspended, by principal id."""
    return {
        row.agent: AgentMark(suspended_at=row.suspended_at, why=row.why)
        for row in connection.execute(sa.select(tables.agent_marks))
    }


def suspend_agent(connection: sa.Connection, agent: str, why: str | None, *, now: int) -> None:
    """Mark an agent, by principal id, as suspended."""
    row = insert(tables.agent_marks).values(agent=agent, suspended_at=now, why=why)
    connection.execute(row.on_conflict_do_update(["agent"], set_={"why": why}))


def resume_agent(connection: sa.Connection, agent: str) -> None:
    """Take that mark away."""
    connection.execute(sa.delete(tables.agent_marks).where(tables.agent_marks.c.agent == agent))


# Owners ---------------------------------------------------------------------------------------------------------------


def owners(connection: sa.Connection) -> dict[str, Owner]:
    """Return whose each agent was when that was last noted, by principal id; those that are gone included."""
    return {row.agent: Owner(key=row.owner, person=row.person) for row in connection.execute(sa.select(tables.owners))}


def note_owner(connection: sa.Connection, agent: str, owner: Owner) -> None:
    """Remember whose an agent is."""
    values = {"owner": owner.key, "person": owner.person}
    row = insert(tables.owners).values(agent=agent, **values)
    connection.execute(row.on_conflict_do_update(["agent"], set_=values))


def forget_owner(connection: sa.Connection, agent: str) -> None:
    """Forget whose an agent was: it holds nothing any more."""
    connection.execute(sa.delete(tables.owners).where(tables.owners.c.agent == agent))


# Uses -----------------------------------------------------------------------------------------------------------------


def uses(connection: sa.Connection) -> dict[str, Use]:
    """Return when principals were last seen, by principal id."""
    return {
        row.principal: Use(token_at=row.token_at, request_at=row.request_at)
        for row in connection.execute(sa.select(tables.uses))
    }


def note_token(connection: sa.Connection, principal: str, *, issued_at: int) -> None:
    """Remember that a token with this `iat` was issued to `principal`; in the transaction that read the floor."""
    _note(connection, principal, "token_at", issued_at)


def note_requests(connection: sa.Connection, seen: Mapping[str, int]) -> None:
    """Remember when principals last asked for something, as the data plane counted it."""
    for principal, at in seen.items():
        _note(connection, principal, "request_at", at)


def _note(connection: sa.Connection, principal: str, column: str, at: int) -> None:
    row = insert(tables.uses).values(principal=principal, **{column: at})
    latest = sa.func.max(sa.func.coalesce(tables.uses.c[column], 0), row.excluded[column])
    connection.execute(row.on_conflict_do_update(["principal"], set_={column: latest}))
