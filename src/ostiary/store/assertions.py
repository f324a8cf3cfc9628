"""Assertions that were used, until they have expired: each is good once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.errors import OperationError
from ostiary.store import tables

if TYPE_CHECKING:
    from ostiary.store.store import Store

#: Expired ones are forgotten once the oldest is this old, so that not every use has to clean up.
FORGET_S: Final = 60
#: How many are remembered of one that anybody can be.
MOST: Final = 10_000
_TABLE: Final = tables.assertions


class UsedError(OperationError):
    """The assertion has been used before, or its issuer has used too many."""


def use(store: Store, issuer: str, jti: str, *, expires_at: int, now: int, most: int | None = None) -> None:
    """Do as `use_up` in a change of its own."""
    with store.changing() as connection:
        use_up(connection, issuer, jti, expires_at=expires_at, now=now, most=most)


def use_up(
    connection: sa.Connection, issuer: str, jti: str, *, expires_at: int, now: int, most: int | None = None
) -> None:
    """Remember the assertion `jti` of `issuer` until `expires_at`, from when on it is refused for its age.

    Raises `UsedError` if it is remembered already, or `most` of that issuer are; of several at once, one passes.
    """
    oldest = connection.execute(sa.select(sa.func.min(_TABLE.c.expires_at))).scalar()
    if oldest is not None and oldest <= now - FORGET_S:
        connection.execute(sa.delete(_TABLE).where(_TABLE.c.expires_at <= now))
    if most is not None:
        live = sa.select(sa.literal(1)).where((_TABLE.c.issuer == issuer) & (_TABLE.c.expires_at > now)).limit(most)
        if (connection.execute(sa.select(sa.func.count()).select_from(live.subquery())).scalar() or 0) >= most:
            raise UsedError("the client has used too many assertions of late")
    row = insert(_TABLE).values(issuer=issuer, jti=jti, expires_at=expires_at)
    same = ["issuer", "jti"]
    kept = row.on_conflict_do_update(same, set_={"expires_at": expires_at}, where=_TABLE.c.expires_at <= now)
    if not connection.execute(kept).rowcount:
        raise UsedError("the assertion has been used before")
