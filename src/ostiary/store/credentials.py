"""What servers want to see of us that is no JWT: sealed in the store, opened only to be handed to the data plane.

Nothing here shows a value in a listing, an error or a `repr`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.errors import OperationError
from ostiary.store import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.config import ServerSection
    from ostiary.store import Store
    from ostiary.store.sealing import SealingKey

MAX_VALUE_CHARS: Final = 8192
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
#: What a field value may hold without folding or guessing at its encoding (RFC 9110 section 5.5).
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?\Z")


class CredentialError(OperationError):
    """A credential cannot be kept. The message never holds its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredential:
    """A credential without its value."""

    name: str
    created_at: int
    rotated_at: int


def check_name(name: str) -> str:
    """Return `name` if it can stand in a configuration. Raises `CredentialError`."""
    if _NAME.match(name) is None:
        raise CredentialError(
            f"`{name[:80]}` is not a name",
            hint="letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first",
        )
    return name


def check_value(value: str) -> str:
    """Return `value` if a header can carry it as it is. Raises `CredentialError`."""
    if not value:
        raise CredentialError("the value is empty")
    if len(value) > MAX_VALUE_CHARS:
        raise CredentialError(f"the value is longer than {MAX_VALUE_CHARS} characters")
    if _VALUE.match(value) is None:
        raise CredentialError(
            "the value holds what no header can carry",
            hint="one line of printable ASCII, without spaces at its ends; encode anything else first",
        )
    return value


def header_value(value: str, header: str) -> str:
    """Return what `header` carries for `value`: in Authorization, one word alone is a bearer token (RFC 6750)."""
    return f"Bearer {value}" if header.lower() == "authorization" and " " not in value else value


def put(connection: sa.Connection, sealing: SealingKey, name: str, value: str, *, now: int) -> None:
    """Seal and keep a value, in place of the one before if there is one. Raises `CredentialError`."""
    sealed = sealing.seal(check_value(value).encode("ascii"), f"credential {check_name(name)}")
    row = insert(tables.credentials).values(name=name, sealed=sealed, created_at=now, rotated_at=now)
    connection.execute(row.on_conflict_do_update(["name"], set_={"sealed": sealed, "rotated_at": now}))


def remove(connection: sa.Connection, name: str) -> None:
    """Forget a credential."""
    connection.execute(sa.delete(tables.credentials).where(tables.credentials.c.name == name))


def listing(connection: sa.Connection) -> list[StoredCredential]:
    """Return what there is, by name."""
    columns = tables.credentials.c
    query = sa.select(columns.name, columns.created_at, columns.rotated_at).order_by(columns.name)
    return [
        StoredCredential(name=row.name, created_at=row.created_at, rotated_at=row.rotated_at)
        for row in connection.execute(query)
    ]


def all_values(store: Store) -> dict[str, str]:
    """Return every value by name: for the secrets of the data plane, and for nothing else."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(tables.credentials)).all()
    return {row.name: store.sealing.open(row.sealed, f"credential {row.name}").decode("ascii") for row in rows}


def header_values(store: Store, servers: Mapping[str, ServerSection]) -> dict[str, str]:
    """Return what the data plane is handed: for each credential that a server names and that is set, its header value.

    A name stands for one value: the configuration lets none go into Authorization and into another header too.
    """
    values = all_values(store)
    return {name: header_value(values[name], header) for name, header in _wanted(servers) if name in values}


def used_by(servers: Mapping[str, ServerSection]) -> dict[str, list[str]]:
    """Return which servers name which credential."""
    found: dict[str, list[str]] = {}
    for server, section in sorted(servers.items()):
        if not isinstance(section.identity, str):
            found.setdefault(section.identity.credential.removeprefix("store:"), []).append(server)
    return found


def _wanted(servers: Mapping[str, ServerSection]) -> list[tuple[str, str]]:
    return [
        (section.identity.credential.removeprefix("store:"), section.identity.header)
        for section in servers.values()
        if not isinstance(section.identity, str)
    ]
