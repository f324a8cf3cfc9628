"""The store: what it keeps, who may open it, and that a wrong sealing key changes nothing."""

import base64
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ostiary import keys
from ostiary.store import (
    Lockdown,
    SealingKey,
    SealingKeyError,
    Store,
    StoreError,
    StoreInUseError,
    StoreLock,
    StorePath,
    store,
)
from ostiary.store.tables import metadata

NOW = 1_790_000_000


@pytest.fixture
def path(tmp_path: Path) -> StorePath:
    return StorePath.from_url("sqlite:///var/ostiary.db", tmp_path)


def open_store(path: StorePath, key: str | None = None) -> Store:
    return Store.open(path, key=key, base=path.folder)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///var/ostiary.db", "/base/var/ostiary.db"),
        ("sqlite:////srv/o.db", "/srv/o.db"),
        ("sqlite:///o.db", "/base/o.db"),
    ],
)
def test_a_relative_store_is_relative_to_the_folder_of_the_file(url: str, expected: str) -> None:
    assert StorePath.from_url(url, Path("/base")).database == Path(expected)


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/db", "sqlite://", "sqlite:///:memory:", "nonsense", ""])
def test_a_store_that_is_no_sqlite_file_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        StorePath.from_url(url, Path("/base"))
    assert "secret" not in str(caught.value)


def test_files_are_private_and_nothing_secret_lies_in_the_database(path: StorePath) -> None:
    with open_store(path) as store:
        key = keys.ensure_key(store, now=NOW)
        assert key.seed is not None
        names = {file.name for file in path.folder.iterdir()}
        modes = {file.stat().st_mode & 0o777 for file in path.folder.iterdir()}
        content = b"".join(file.read_bytes() for file in path.folder.iterdir())
    assert path.folder.stat().st_mode & 0o777 == 0o700
    assert modes == {0o600}
    assert {"ostiary.db", "ostiary.db.key"} <= names
    assert key.seed not in content
    assert base64.urlsafe_b64encode(key.seed).rstrip(b"=") not in content
    assert "seed" not in repr(key)


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StoreError, match="others may write"):
        open_store(StorePath.from_url("sqlite:///var/o.db", tmp_path))


def test_the_same_key_and_lockdown_are_there_after_a_restart(path: StorePath) -> None:
    lockdown = Lockdown(at=NOW, by="root (uid 0)", reason="drill", recorded=False)
    with open_store(path) as store:
        first = keys.ensure_key(store, now=NOW)
        store.lock_down(lockdown)
    with open_store(path) as store:
        assert keys.ensure_key(store, now=NOW + 9) == first
        assert store.lockdown() == lockdown
        store.lift()
        assert store.lockdown() is None


def test_the_lockdown_needs_neither_key_nor_config(path: StorePath) -> None:
    with StoreLock(path), Store.open_unsealed(path) as store:
        store.lock_down(Lockdown(at=NOW, by="root", reason=None))
    with open_store(path) as store:
        assert store.lockdown() == Lockdown(at=NOW, by="root", reason=None)


WRONG_KEYS = [
    "wrong",
    "missing",
    "readable by others",
    "nonsense",
    "short",
    "another env",
    "all alike",
    "file of everybody",
]


@pytest.mark.parametrize("how", WRONG_KEYS)
def test_a_wrong_sealing_key_is_an_error_and_changes_nothing(
    path: StorePath, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(path) as store:
        before = keys.ensure_key(store, now=NOW)
    kept = path.sealing_key.read_text()
    reference = None
    match how:
        case "wrong":
            path.sealing_key.write_text(base64.b64encode(bytes(range(32))).decode())
        case "missing":
            path.sealing_key.unlink()
        case "readable by others":
            path.sealing_key.chmod(0o644)
        case "nonsense":
            path.sealing_key.write_text("not base64 at all!")
        case "short":
            path.sealing_key.write_text(base64.b64encode(bytes(16)).decode())
        case "file of everybody":
            (path.folder / "copied").write_text(kept)
            (path.folder / "copied").chmod(0o604)
            reference = "file:copied"
        case _:
            key = bytes(range(32)) if how == "another env" else b"changeme" * 4
            monkeypatch.setenv("OTHER", base64.b64encode(key).decode())
            reference = "env:OTHER"
    content = path.database.read_bytes()
    with pytest.raises(SealingKeyError) as caught:
        open_store(path, reference)
    assert caught.value.hint
    assert path.database.read_bytes() == content
    assert (how == "missing") is not path.sealing_key.exists()
    path.sealing_key.unlink(missing_ok=True)
    path.sealing_key.touch(0o600)
    path.sealing_key.write_text(kept)
    with open_store(path) as store:
        assert store.signing_key() == before


@pytest.mark.parametrize("text", ["standard", "url", "unpadded"])
def test_the_sealing_key_may_come_from_the_environment_or_a_file(
    path: StorePath, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = bytes(range(220, 252))
    encoded = {
        "standard": base64.b64encode(key),
        "url": base64.urlsafe_b64encode(key),
        "unpadded": base64.b64encode(key).rstrip(b"="),
    }[text]
    monkeypatch.setenv("SEALING", encoded.decode())
    with open_store(path, "env:SEALING") as store:
        made = keys.ensure_key(store, now=NOW)
    assert not path.sealing_key.exists()
    (path.folder / "elsewhere").write_bytes(encoded + b"\n")
    for mode in (0o400, 0o440, 0o640):
        (path.folder / "elsewhere").chmod(mode)
        with open_store(path, "file:elsewhere") as store:
            assert store.signing_key() == made


@pytest.mark.parametrize("reference", ["env:ABSENT", "file:absent", "inline-secret", "env:", "store:x"])
def test_a_sealing_key_that_is_not_there_is_named(path: StorePath, reference: str) -> None:
    with pytest.raises(SealingKeyError) as caught:
        open_store(path, reference)
    assert "inline-secret" not in str(caught.value)


@pytest.mark.parametrize("key", [bytes(32), b"changeme" * 4, b"\xff" * 32])
def test_no_store_begins_with_a_key_that_anybody_can_guess(
    path: StorePath, key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALING", base64.b64encode(key).decode())
    with pytest.raises(SealingKeyError, match="in the environment variable SEALING is not random"):
        open_store(path, "env:SEALING")


def test_a_sealed_text_opens_only_in_its_own_place() -> None:
    key = SealingKey.make()
    sealed = key.seal(b"seed", "key a")
    assert key.open(sealed, "key a") == b"seed"
    for broken, context in ((sealed, "key b"), (sealed[:-1], "key a"), (b"", "key a"), (bytes(64), "key a")):
        with pytest.raises(SealingKeyError):
            key.open(broken, context)
    assert key.seal(b"seed", "key a") != sealed


def test_after_a_rotation_the_old_key_is_published_until_its_tokens_have_expired(path: StorePath) -> None:
    with open_store(path) as store:
        old = keys.ensure_key(store, now=NOW)
        new = keys.install(store, keys.make(), now=NOW + 10)
        kids = [key["kid"] for key in keys.published(store, now=NOW + 10 + keys.OVERLAP_S - 1)]
        later = [key["kid"] for key in keys.published(store, now=NOW + 10 + keys.OVERLAP_S)]
        everything = [key.kid for key in store.all_keys()]
        handed = json.loads(keys.gateway_secrets(store, now=NOW + 11))
        with sqlite3.connect(path.database) as raw:
            sealed = raw.execute("select sealed from keys where kid = ?", (old.kid,)).fetchone()
        raw.close()
    assert (kids, later, everything) == ([new.kid, old.kid], [new.kid], [new.kid, old.kid])
    assert sealed == (None,), "a retired key can sign nothing more"
    assert handed["signing"]["kid"] == new.kid
    assert [key["kid"] for key in handed["jwks"]["keys"]] == [new.kid, old.kid]
    assert not any("d" in key for key in handed["jwks"]["keys"])


def test_a_snapshot_is_kept_once_by_its_digest(path: StorePath) -> None:
    with open_store(path) as store:
        digest = store.keep_snapshot(b"{}", now=NOW)
        assert store.keep_snapshot(b"{}", now=NOW + 1) == digest
        assert store.snapshot(digest) == b"{}"
        assert store.snapshot("0" * 64) is None


def test_one_process_holds_the_lock_and_death_gives_it_back(path: StorePath) -> None:
    program = (
        "import sys; from pathlib import Path; from ostiary.store import StoreLock, StorePath;"
        "lock = StoreLock(StorePath(database=Path(sys.argv[1]))); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path.database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreInUseError, match=f"process {holder.pid}"):
            StoreLock(path)
        holder.kill()
        holder.wait()
    with StoreLock(path):
        pass


def test_a_store_from_the_future_is_left_alone(path: StorePath) -> None:
    with open_store(path):
        pass
    with sqlite3.connect(path.database) as raw:
        raw.execute("update alembic_version set version_num = '9999'")
    raw.close()
    with pytest.raises(StoreError, match="another version"):
        open_store(path)


def test_a_file_that_is_no_database_is_named(path: StorePath) -> None:
    path.prepare()
    path.database.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=str(path.database)):
        open_store(path)


def test_reading_public_parts_needs_no_key_and_makes_nothing(path: StorePath) -> None:
    with pytest.raises(StoreError, match="no store"):
        Store.open_public(path)
    assert not path.folder.exists()
    with open_store(path) as store:
        made = keys.ensure_key(store, now=NOW)
    path.sealing_key.unlink()
    with Store.open_public(path) as store:
        assert [key.kid for key in store.all_keys()] == [made.kid]
        with pytest.raises(StoreError):
            store.signing_key()


def test_the_migrations_leave_exactly_the_tables_that_the_code_uses(path: StorePath) -> None:
    with open_store(path):
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(path.database)))
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        engine.dispose()


def test_the_newest_migration_is_the_one_that_starts_skip_to(path: StorePath) -> None:
    folder = Path(store.__file__).parent / "migrations" / "versions"
    assert max(file.name.partition("_")[0] for file in folder.glob("0*.py")) == store.NEWEST
    with open_store(path), sqlite3.connect(path.database) as raw:
        assert raw.execute("select version_num from alembic_version").fetchall() == [(store.NEWEST,)]
    raw.close()
