"""The last good answers of addresses that were fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.store import tables

if TYPE_CHECKING:
    from ostiary.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A document as it was at `fetched_at`, seconds since the epoch."""

    body: str
    fetched_at: int


def get(store: Store, url: str) -> Stored | None:
    """Return what was last kept of `url`."""
    query = sa.select(tables.documents).where(tables.documents.c.url == url)
    with store.reading() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else Stored(body=row.body, fetched_at=row.fetched_at)


def keep(store: Store, url: str, document: Stored) -> None:
    """Keep a document in place of what was kept of `url` before."""
    values = {"body": document.body, "fetched_at": document.fetched_at}
    row = insert(tables.documents).values(url=url, **values).on_conflict_do_update(["url"], set_=values)
    with store.changing() as connection:
        connection.execute(row)
