"""Assertions that were used, until they have expired: each is good once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.errors import OperationError
from ostiary.store import tables

if TYPE_CHECKING:
    from ostiary.store.store import Store


class UsedError(OperationError):
    """The assertion has been used before."""


def use(store: Store, issuer: str, jti: str, *, expires_at: int, now: int) -> None:
    """Remember the assertion `jti` of `issuer` until `expires_at`, from when on it is refused for its age.

    Raises `UsedError` if it is remembered already; of several at once, one passes.
    """
    table = tables.assertions
    row = insert(table).values(issuer=issuer, jti=jti, expires_at=expires_at).on_conflict_do_nothing()
    with store.changing() as connection:
        connection.execute(sa.delete(table).where(table.c.expires_at <= now))
        if not connection.execute(row).rowcount:
            raise UsedError("the assertion has been used before")
