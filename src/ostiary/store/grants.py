"""What was consented to, and what grew from it: consents, families of tokens, and the codes and refresh tokens in them.

Functions on one open transaction. Codes and refresh tokens are kept by their SHA-256 alone.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.store import tables
from ostiary.store.clients import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How long a family is remembered once nothing more can come of it: whoever shows an old token of it is told apart.
REMEMBERED_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What a person consented to for a client; `digest` names the client as it was shown."""

    client: str
    account: str
    agent: str
    client_name: str
    third_party: str
    redirect_host: str
    classes: tuple[str, ...]
    servers: tuple[str, ...]
    digest: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One authorization. `scope` holds classes; `ended_at` is set once nothing more may come of it."""

    id: str
    client: str
    account: str
    agent: str
    third_party: str | None
    scope: tuple[str, ...]
    servers: tuple[str, ...]
    created_at: int
    expires_at: int
    ended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGrant:
    """A code or refresh token; never its text."""

    hash: str
    kind: Literal["code", "refresh"]
    family: str
    binding: Mapping[str, Any]
    created_at: int
    expires_at: int
    used_at: int | None


# Consents -------------------------------------------------------------------------------------------------------------


def consent(connection: sa.Connection, client: str, account: str) -> Consent | None:
    """Return what was consented to, expired or not."""
    table = tables.consents
    same = (table.c.client == client) & (table.c.account == account)
    row = connection.execute(sa.select(table).where(same)).one_or_none()
    if row is None:
        return None
    lists = {"classes": tuple(json.loads(row.classes)), "servers": tuple(json.loads(row.servers))}
    return Consent(**{**row._mapping, **lists})


def put_consent(connection: sa.Connection, given: Consent) -> None:
    """Keep a consent, in place of the one before."""
    values = {name: getattr(given, name) for name in Consent.__dataclass_fields__}
    values |= {"classes": json.dumps(given.classes), "servers": json.dumps(given.servers)}
    row = insert(tables.consents).values(values)
    connection.execute(row.on_conflict_do_update(["client", "account"], set_=values))


# Families -------------------------------------------------------------------------------------------------------------


def add_family(connection: sa.Connection, family: Family) -> None:
    """Begin a family, and forget those of which nothing has come for a day."""
    table = tables.families
    connection.execute(sa.delete(table).where(table.c.expires_at < family.created_at - REMEMBERED_S))
    values = {name: getattr(family, name) for name in Family.__dataclass_fields__}
    values |= {"scope": json.dumps(family.scope), "servers": json.dumps(family.servers)}
    connection.execute(sa.insert(table).values(values))


def family(connection: sa.Connection, family_id: str) -> Family | None:
    """Return a family, ended or not."""
    row = connection.execute(sa.select(tables.families).where(tables.families.c.id == family_id)).one_or_none()
    if row is None:
        return None
    found = {name: row._mapping[name] for name in Family.__dataclass_fields__}
    return Family(**{**found, "scope": tuple(json.loads(row.scope)), "servers": tuple(json.loads(row.servers))})


def use_family(connection: sa.Connection, family_id: str, *, now: int, expires_at: int) -> None:
    """Remember that tokens were taken from a family, and until when more can be."""
    table = tables.families
    connection.execute(sa.update(table).where(table.c.id == family_id).values(used_at=now, expires_at=expires_at))


def end_family(connection: sa.Connection, family_id: str, why: str, *, now: int) -> bool:
    """Let nothing more come of a family, and return whether anything could have."""
    table = tables.families
    live = (table.c.id == family_id) & table.c.ended_at.is_(None)
    return bool(connection.execute(sa.update(table).where(live).values(ended_at=now, why=why)).rowcount)


# Codes and refresh tokens ---------------------------------------------------------------------------------------------


def add_grant(
    connection: sa.Connection,
    kind: Literal["code", "refresh"],
    family_id: str,
    binding: Mapping[str, Any],
    *,
    now: int,
    expires_at: int,
) -> str:
    """Make a code or refresh token and return its text, which is nowhere else."""
    text = secrets.token_urlsafe(32)
    connection.execute(
        sa.insert(tables.grants).values(
            hash=digest(text),
            kind=kind,
            family=family_id,
            binding=json.dumps(binding),
            created_at=now,
            expires_at=expires_at,
        )
    )
    return text


def grant(connection: sa.Connection, kind: Literal["code", "refresh"], text: str) -> StoredGrant | None:
    """Return the code or refresh token with this text, used and expired ones too."""
    table = tables.grants
    same = (table.c.hash == digest(text)) & (table.c.kind == kind)
    row = connection.execute(sa.select(table).where(same)).one_or_none()
    return None if row is None else StoredGrant(**{**row._mapping, "binding": json.loads(row.binding)})


def use_grant(connection: sa.Connection, found: StoredGrant, *, now: int) -> None:
    """Mark a code or refresh token as used: it was good once."""
    connection.execute(sa.update(tables.grants).where(tables.grants.c.hash == found.hash).values(used_at=now))
