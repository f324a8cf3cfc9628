"""What has ended is forgotten in time, and nothing before it."""

from pathlib import Path

import sqlalchemy as sa

from ostiary.control import Epoch
from ostiary.store import Store, StorePath, epochs, sweep, tables

NOW = 2_000_000_000
DAY = 24 * 3600


def test_what_ended_long_ago_is_forgotten_and_the_rest_stays(tmp_path: Path) -> None:
    account = {"provider": "sso", "claims": "{}", "signed_in_at": 1, "checked_at": 1}
    consent = {"agent": "a", "client_name": "c", "third_party": "t", "redirect_host": "h", "classes": "[]"}
    consent |= {"servers": "[]", "digest": "d", "created_at": 1}
    client = {"name": "c", "metadata": "{}", "created_at": 1}
    with Store.open(StorePath(database=tmp_path / "s.db"), key=None, base=tmp_path) as store:
        with store.changing() as connection:
            connection.execute(sa.insert(tables.accounts).values(id="p", subject="p", **account))
            for name, ended in (("old", NOW - 8 * DAY), ("new", NOW - 6 * DAY)):
                row = {"client": name, "account": "p", "expires_at": ended, **consent}
                connection.execute(sa.insert(tables.consents).values(row))
            for name, kind in (("old", "document"), ("new", "document"), ("kept", "registered")):
                row = {"id": name, "kind": kind, "used_at": NOW - 9 * DAY, **client}
                connection.execute(sa.insert(tables.clients).values(row))
            old = Epoch(kind="family", value="old", epoch=NOW - 92 * DAY)
            new = Epoch(kind="family", value="new", epoch=NOW - 80 * DAY)
            owner = Epoch(kind="owner", value="alice", epoch=NOW - 400 * DAY)
            epochs.add(connection, [old, new, owner])
            sweep.forget(connection, now=NOW)
        with store.reading() as connection:
            assert connection.execute(sa.select(tables.consents.c.client)).scalars().all() == ["new"]
            assert set(connection.execute(sa.select(tables.clients.c.id)).scalars()) == {"new", "kept"}
            assert {each.value for each in epochs.since(connection, 0)[0]} == {"new", "alice"}
