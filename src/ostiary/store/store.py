"""The store itself: one SQLite database, read and changed in short transactions."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from ostiary.store import tables
from ostiary.store.errors import StoreError
from ostiary.store.sealing import SealingKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from ostiary.store.paths import StorePath

#: The newest file in `migrations/versions`.
NEWEST: Final = "0002"
BUSY_TIMEOUT_S: Final = 5
SEALING_CHECK: Final = "sealing_check"
LOCKDOWN: Final = "lockdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A signing key as the store has it; `seed` is the private part, `None` once retired."""

    kid: str
    public: dict[str, str]
    created_at: int
    retired_at: int | None
    seed: bytes | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockdown:
    """Deny everything, since `at` (seconds since the epoch), on the word of `by`."""

    at: int
    by: str
    reason: str | None
    recorded: bool = True


class Store:
    """An open store. Whoever changes it holds its `StoreLock`; reading needs none."""

    def __init__(self, path: StorePath, engine: sa.Engine, sealing: SealingKey | None) -> None:
        self.path = path
        self._engine = engine
        self._sealing = sealing

    @classmethod
    def open(cls, path: StorePath, *, key: str | None, base: Path) -> Self:
        """Open for use, bringing the tables up to date; the caller holds the lock.

        `key` is the reference in `store.key`, relative to the folder `base`; without one the key file beside the
        store serves, made on the first start. Raises `StoreError`, and `SealingKeyError` before anything is written
        if the key does not fit.
        """
        path.prepare()
        engine = _engine(path.database)
        try:
            _migrate(engine)
            store = cls(path, engine, None)
            check = store._setting(SEALING_CHECK)
            sealing = (
                SealingKey.load(key, base)
                if key is not None
                else SealingKey.load_or_make(path.sealing_key, may_make=check is None)
            )
            if check is None:
                sealed = sealing.seal(SEALING_CHECK.encode(), SEALING_CHECK)
                store._set(SEALING_CHECK, {"sealed": sealed.hex()}, now=0)
            else:
                sealing.open(bytes.fromhex(check["sealed"]), SEALING_CHECK)
        except DatabaseError as error:
            engine.dispose()
            raise StoreError(f"the store {path.database} cannot be used: {error.orig}") from error
        except BaseException:
            engine.dispose()
            raise
        store._sealing = sealing
        return store

    @classmethod
    def open_public(cls, path: StorePath) -> Self:
        """Open what needs no sealing key: public keys, snapshots and the lockdown.

        An existing store is read as it is; raises `StoreError` if there is none.
        """
        if not path.database.is_file() or not path.database.stat().st_size:
            raise StoreError(f"there is no store at {path.database}", hint="it is made by the first `ostiary run`")
        return cls(path, _engine(path.database), None)

    @classmethod
    def open_unsealed(cls, path: StorePath) -> Self:
        """Open for the lockdown alone, which must work without key and config; the caller holds the lock."""
        path.prepare()
        engine = _engine(path.database)
        try:
            _migrate(engine)
        except DatabaseError as error:
            engine.dispose()
            raise StoreError(f"the store {path.database} cannot be used: {error.orig}") from error
        return cls(path, engine, None)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sealing(self) -> SealingKey:
        """The key that this store was opened with. Raises `StoreError` if it was opened without."""
        if self._sealing is None:
            raise StoreError("the store was opened without its sealing key")
        return self._sealing

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Read in one transaction. Raises `StoreError`."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except DatabaseError as error:
            raise StoreError(f"the store {self.path.database} cannot be read: {error.orig}") from error

    @contextlib.contextmanager
    def changing(self) -> Iterator[sa.Connection]:
        """Read and change in one transaction that nobody else changes meanwhile. Raises `StoreError`."""
        try:
            with self._engine.execution_options(immediate=True).begin() as connection:
                yield connection
        except DatabaseError as error:
            raise StoreError(f"the store {self.path.database} cannot be changed: {error.orig}") from error

    # Keys ------------------------------------------------------------------------------------------------------------

    def all_keys(self) -> list[StoredKey]:
        """Return all keys, the newest first, without private parts."""
        query = sa.select(tables.keys).order_by(tables.keys.c.created_at.desc(), tables.keys.c.kid)
        with self.reading() as connection:
            return [_stored_key(row, None) for row in connection.execute(query)]

    def signing_key(self) -> StoredKey | None:
        """Return the key that signs now, with its private part; `None` before the first one is made."""
        query = sa.select(tables.keys).where(tables.keys.c.retired_at.is_(None))
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return _stored_key(row, self.sealing.open(row.sealed, f"key {row.kid}"))

    def add_key(self, kid: str, public: dict[str, str], seed: bytes, *, now: int) -> None:
        """Make `kid` the signing key. The one before retires: it can be verified with, and sign nothing more."""
        sealed = self.sealing.seal(seed, f"key {kid}")
        with self.changing() as connection:
            connection.execute(
                sa.update(tables.keys).where(tables.keys.c.retired_at.is_(None)).values(retired_at=now, sealed=None)
            )
            connection.execute(
                sa.insert(tables.keys).values(
                    kid=kid, public=json.dumps(public, sort_keys=True), sealed=sealed, created_at=now
                )
            )

    # Snapshots -------------------------------------------------------------------------------------------------------

    def keep_snapshot(self, data: bytes, *, now: int) -> str:
        """Keep a snapshot's bytes and return their digest; keeping the same bytes again changes nothing."""
        digest = hashlib.sha256(data).hexdigest()
        row = insert(tables.snapshots).values(digest=digest, data=data, first_used_at=now).on_conflict_do_nothing()
        with self.changing() as connection:
            connection.execute(row)
        return digest

    def snapshot(self, digest: str) -> bytes | None:
        """Return the bytes of a snapshot that was once in force."""
        query = sa.select(tables.snapshots.c.data).where(tables.snapshots.c.digest == digest)
        with self.reading() as connection:
            data: bytes | None = connection.execute(query).scalar_one_or_none()
        return data

    # Lockdown --------------------------------------------------------------------------------------------------------

    def lockdown(self) -> Lockdown | None:
        """Return the lockdown in force, if any."""
        value = self._setting(LOCKDOWN)
        return None if value is None else Lockdown(**value)

    def lock_down(self, lockdown: Lockdown) -> None:
        """Put a lockdown in force; it stays over restarts until lifted."""
        value = {"at": lockdown.at, "by": lockdown.by, "reason": lockdown.reason, "recorded": lockdown.recorded}
        self._set(LOCKDOWN, value, now=lockdown.at)

    def lift(self) -> None:
        """End the lockdown; without one, nothing happens."""
        with self.changing() as connection:
            connection.execute(sa.delete(tables.settings).where(tables.settings.c.name == LOCKDOWN))

    # Settings --------------------------------------------------------------------------------------------------------

    def _setting(self, name: str) -> dict[str, Any] | None:
        query = sa.select(tables.settings.c.value).where(tables.settings.c.name == name)
        with self.reading() as connection:
            text: str | None = connection.execute(query).scalar_one_or_none()
        return None if text is None else json.loads(text)

    def _set(self, name: str, value: dict[str, Any], *, now: int) -> None:
        changed = {"value": json.dumps(value, sort_keys=True), "changed_at": now}
        row = insert(tables.settings).values(name=name, **changed).on_conflict_do_update(["name"], set_=changed)
        with self.changing() as connection:
            connection.execute(row)


def _engine(database: Path) -> sa.Engine:
    # No limit on connections: whoever tells the data plane what is revoked must not wait for those who sign in.
    url = sa.URL.create("sqlite", database=str(database))
    # Errors name the statement, never what was to be written: it ends up in the log.
    engine = sa.create_engine(url, max_overflow=-1, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # WAL lets `verify` and `keys list` read beside a running gateway; FULL keeps a rotation over a power cut.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.isolation_level = None  # transactions begin below, not with the first change

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # What is read before a change must still hold when the change is made.
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _migrate(engine: sa.Engine) -> None:
    if _revision(engine) == NEWEST:
        return
    # Loaded only where there is something to do: it takes longer than all else at a start.
    from alembic import command
    from alembic.config import Config as AlembicConfig
    from alembic.util.exc import CommandError

    config = AlembicConfig()
    # Alembic reads its options with %-interpolation, which a path may not trip.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"the store was made by another version of Ostiary ({error})", hint="use that version, or a newer one"
        ) from error


def _revision(engine: sa.Engine) -> str | None:
    """Return the migration that the tables are at, as Alembic keeps it; `None` in a new database."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _stored_key(row: Any, seed: bytes | None) -> StoredKey:
    return StoredKey(
        kid=row.kid,
        public=json.loads(row.public),
        created_at=row.created_at,
        retired_at=row.retired_at,
        seed=seed,
    )
