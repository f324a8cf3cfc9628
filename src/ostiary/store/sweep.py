"""What nobody can need any more is forgotten here; the record keeps what happened."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ostiary.store import tables

#: How long something that has ended is still shown, in seconds.
SHOWN_S: Final = 7 * 24 * 3600
#: Longer than any refresh token lives, in seconds.
FAMILY_S: Final = 91 * 24 * 3600


def forget(connection: sa.Connection, *, now: int) -> None:
    """Forget consents that ended a week ago, clients' documents that nobody consents to, and families long gone."""
    connection.execute(sa.delete(tables.consents).where(tables.consents.c.expires_at < now - SHOWN_S))
    consented = sa.select(tables.consents.c.client)
    document = (tables.clients.c.kind == "document") & (tables.clients.c.used_at < now - SHOWN_S)
    connection.execute(sa.delete(tables.clients).where(document & tables.clients.c.id.not_in(consented)))
    gone = (tables.epochs.c.kind == "family") & (tables.epochs.c.epoch < now - FAMILY_S)
    connection.execute(sa.delete(tables.epochs).where(gone))
