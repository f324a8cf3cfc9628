"""The last good answers of addresses that are fetched again and again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.store.tables import documents

if TYPE_CHECKING:
    from ostiary.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON object as it was fetched; `fetched_at` is seconds since the epoch."""

    body: dict[str, Any]
    fetched_at: int


def get(store: Store, url: str) -> Document | None:
    """Return what `url` answered last, if it ever did."""
    query = sa.select(documents.c.body, documents.c.fetched_at).where(documents.c.url == url)
    with store.reading() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else Document(body=json.loads(row.body), fetched_at=row.fetched_at)


def keep(store: Store, url: str, body: dict[str, Any], *, now: int) -> Document:
    """Keep what `url` answered `now`."""
    changed = {"body": json.dumps(body, sort_keys=True), "fetched_at": now}
    row = insert(documents).values(url=url, **changed).on_conflict_do_update(["url"], set_=changed)
    with store.changing() as connection:
        connection.execute(row)
    return Document(body=body, fetched_at=now)
