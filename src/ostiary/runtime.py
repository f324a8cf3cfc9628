"""One running gateway: what is in force, how it changes, and how it ends.

The data plane runs in threads of its own; everything here decides what it is handed. A change is compiled and kept
beside what is in force until it is whole and recorded, and only then swapped in; whatever is wrong with it leaves
the old one running, and is told.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from ostiary import _core, keys
from ostiary.compile import compile as compile_snapshot
from ostiary.compile import snapshot_problem
from ostiary.config import Config, load
from ostiary.errors import ConfigError, OperationError, OstiaryError, Problem
from ostiary.registrar import NotRecordedError, Operator, Registrar
from ostiary.store import Store, StoreLock, StorePath
from ostiary.tls import TlsError, read_pair
from ostiary.watch import take_stamps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ostiary.oauth.token import AccessToken, TokenRequest
    from ostiary.store import StoredKey
    from ostiary.tls import Pair
    from ostiary.watch import Stamps

log = structlog.get_logger()

GRACE_S: Final = 10.0
#: How often files that keep changing are read before what was read counts; the watch tells of the rest.
READINGS: Final = 5
#: What is read once, at the start.
FIXED: Final = ("gateway.listen", "admin.listen", "store.url", "store.key", "audit.dir")


class StartError(OperationError):
    """The gateway cannot start."""


class ApplyError(OperationError):
    """The data plane does not take a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """How the last look at the files ended. `problems` is empty if what they say is in force."""

    at: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    snapshot: _core.Snapshot
    data: bytes
    locked_down: bool


class Runtime:
    """The gateway of this process. Its methods may be called from any thread; they take turns."""

    def __init__(self, config: Config, registrar: Registrar, journal: _core.Journal) -> None:
        """Use `start`."""
        self.config = config
        self.started_at = time.time()
        self.draining = False
        self.locked_down = False
        self.last_reload = Reload(at=self.started_at)
        self.reloads = {"applied": 0, "unchanged": 0, "refused": 0}
        self.generation = 0
        #: Faults of our own that were survived.
        self.faults = 0
        self.stamps: Stamps = {}
        self._registrar = registrar
        self._journal = journal
        self._turn = threading.RLock()
        self._closing = contextlib.ExitStack()
        self._secrets, self._digest = "", ""
        #: What the public door shows. Kept, so that an act of an operator needs no file.
        self._tls: Pair | None = None
        self._to_do_again = False
        self._clean = True
        self._gateway: _core.Gateway | None = None
        #: Where operators reach this process.
        self.socket = registrar.store.path.socket

    @classmethod
    def start(cls, path: Path) -> Self:
        """Read the file at `path` and serve by it. Raises `OstiaryError` if anything is wrong; nothing runs then."""
        config, stamps = _read(path.absolute(), ())
        if isinstance(config, ConfigError):
            raise config
        with contextlib.ExitStack() as opened:
            registrar, journal = opened.enter_context(open_for_acts(config))
            runtime = cls(config, registrar, journal)
            runtime.stamps = stamps
            runtime._serve()
            runtime._closing = opened.pop_all()
        return runtime

    def _serve(self) -> None:
        for problem in self.config.warnings:
            log.warning(str(problem))
        self._registrar.record_lockdown(None)
        compiled = self._compile(self.config)
        digest = self._registrar.store.keep_snapshot(compiled.data, now=self._registrar.now())
        self._tls = _tls_pair(self.config)
        self._secrets = self._current_secrets(self._tls)
        self._record_snapshot("gateway_started", digest, Operator.of_this_process())
        try:
            self._gateway = _core.Gateway(
                self.config.gateway.listen,
                compiled.snapshot,
                self._secrets,
                self._journal,
                threads=max(2, os.cpu_count() or 2),
            )
        except ValueError as error:
            self._registrar.record("admin", "gateway_stopped", None, detail={"clean": True, "why": str(error)})
            raise StartError(f"the data plane does not start: {error}") from error
        except OSError as error:
            self._registrar.record("admin", "gateway_stopped", None, detail={"clean": True, "why": str(error)})
            raise StartError(
                f"gateway.listen {self.config.gateway.listen} cannot be had: {error}",
                hint="another process may hold the address",
            ) from error
        self._digest, self.locked_down = digest, compiled.locked_down
        self._registrar.snapshot = digest
        self.generation = 1
        log.info(
            "serving",
            url=self.config.gateway.url,
            listen=self._gateway.address,
            servers=len(self.config.servers),
            rules=len(self.config.rules),
            snapshot=digest[:12],
            lockdown=self.locked_down,
        )

    @property
    def gateway(self) -> _core.Gateway:
        """The data plane."""
        if self._gateway is None:
            raise StartError("the gateway has not started")
        return self._gateway

    @property
    def digest(self) -> str:
        """The digest of the snapshot in force."""
        return self._digest

    # Changes ---------------------------------------------------------------------------------------------------------

    def reload(self, cause: str) -> Stamps:
        """Read the files again and put them in force; returns the stamps of what was, or should have been, read.

        Never raises for what stands in them: the old snapshot stays, and log, metrics and readiness tell why.
        """
        with self._turn:
            config, stamps = _read(self.config.path, self.config.sources)
            self._to_do_again = False
            if isinstance(config, ConfigError):
                self._refuse_reload(cause, [str(problem) for problem in config.problems])
                # The old files count as well: putting them back ends the complaint.
                return {**take_stamps(self.config.sources), **stamps}
            try:
                changed = self._put_in_force(config, _tls_pair(config), event="snapshot_applied")
            except ConfigError as error:
                self._refuse_reload(cause, [str(problem) for problem in error.problems])
                return stamps
            except OstiaryError as error:
                # Nothing in the files: store or record are in the way, and no change of a file will tell of the end.
                self._refuse_reload(cause, [str(error)])
                self._to_do_again = True
                return stamps
            for setting in _moved(self.config, config):
                log.warning(f"{setting} has changed, and counts from the next start on")
            for problem in config.warnings:
                if problem not in self.config.warnings:
                    log.warning(str(problem))
            mended = bool(self.last_reload.problems)
            self.config = config
            self.last_reload = Reload(at=time.time())
            self.reloads["applied" if changed else "unchanged"] += 1
            if changed:
                log.info("in force", cause=cause, snapshot=self._digest[:12], generation=self.generation)
            elif mended:
                log.info("the files are in order again, and say what is in force", snapshot=self._digest[:12])
            return stamps

    def _refuse_reload(self, cause: str, problems: list[str]) -> None:
        self.last_reload = Reload(at=time.time(), problems=tuple(problems))
        self.reloads["refused"] += 1
        log.error(
            "the change is not taken, and the old configuration stays in force",
            cause=cause,
            snapshot=self._digest[:12],
            block=problems,
        )

    def _compile(self, config: Config) -> _Compiled:
        store = self._registrar.store
        keys.ensure_key(store, now=self._registrar.now())
        locked_down = store.lockdown() is not None
        local_keys = keys.published(store, now=self._registrar.now())
        data = compile_snapshot(config, local_keys=local_keys, lockdown=locked_down)
        try:
            snapshot = _core.Snapshot(data)
        except _core.SnapshotError as error:
            raise ConfigError([snapshot_problem(config, error.path, error.message)]) from error
        return _Compiled(snapshot=snapshot, data=data, locked_down=locked_down)

    def _put_in_force(self, config: Config, tls: Pair | None, *, event: str | None, by: Operator | None = None) -> bool:
        """Compile and apply; false if nothing changes. With an `event` it is recorded first, or not done at all."""
        compiled = self._compile(config)
        secrets = self._current_secrets(tls)
        if compiled.snapshot.digest == self._digest and secrets == self._secrets:
            return False
        digest = self._registrar.store.keep_snapshot(compiled.data, now=self._registrar.now())
        if event is not None:
            self._record_snapshot(event, digest, by)
        try:
            self.generation = self.gateway.apply(compiled.snapshot, secrets)
        except ValueError as error:
            raise ApplyError(f"the data plane does not take the change: {error}") from error
        self._digest, self._secrets, self.locked_down = digest, secrets, compiled.locked_down
        self._tls = tls
        self._registrar.snapshot = digest
        return True

    def _current_secrets(self, tls: Pair | None) -> str:
        return keys.gateway_secrets(self._registrar.store, now=self._registrar.now(), tls=tls)

    def _record_snapshot(self, event: str, digest: str, by: Operator | None) -> None:
        detail = {"before": self._digest or None}
        self._registrar.record("admin", event, by, snapshot=digest, detail=detail)

    def tick(self) -> None:
        """Do what comes with time: retired keys stop being published, a change that could not be recorded is made."""
        with self._turn:
            if self._to_do_again:
                self.reload("another try")
            try:
                if self._current_secrets(self._tls) != self._secrets:
                    self._put_in_force(self.config, self._tls, event="snapshot_applied")
            except OstiaryError as error:
                log.error("the keys cannot be brought up to date", error=str(error))  # noqa: TRY400

    # Acts of operators -----------------------------------------------------------------------------------------------

    def issue_token(self, request: TokenRequest, by: Operator) -> AccessToken:
        """Issue an access token by the configuration in force."""
        with self._turn:
            return self._registrar.issue_token(self.config, request, by)

    def all_keys(self) -> list[StoredKey]:
        """Return our signing keys, the newest first, without private parts."""
        return self._registrar.store.all_keys()

    def rotate_keys(self, by: Operator) -> StoredKey:
        """Make a new signing key and sign with it at once."""
        with self._turn:
            key = self._registrar.rotate_keys(by)
            self._put_in_force(self.config, self._tls, event="snapshot_applied", by=by)
            log.info("keys rotated", kid=key.kid, by=str(by))
            return key

    def lock_down(self, reason: str | None, by: Operator) -> None:
        """Refuse everything from now on. It is done first and recorded then, since it only takes away."""
        with self._turn:
            self._registrar.lock_down(reason, by)
            self._put_in_force(self.config, self._tls, event=None)
            log.warning("lockdown: every call is refused", by=str(by), reason=reason)
            try:
                self._registrar.record_lockdown(by)
                self._record_snapshot("snapshot_applied", self._digest, by)
            except NotRecordedError as error:
                log.error("the lockdown is in force, and could not be recorded", error=error.message)  # noqa: TRY400

    def lift(self, reason: str | None, by: Operator) -> None:
        """End the lockdown."""
        with self._turn:
            self._registrar.lift(reason, by)
            self._put_in_force(self.config, self._tls, event="snapshot_applied", by=by)
            log.warning("the lockdown is lifted", by=str(by), reason=reason)

    # The end ---------------------------------------------------------------------------------------------------------

    def drain(self, grace_s: float = GRACE_S) -> None:
        """Stop listening, and let calls finish for up to `grace_s` seconds."""
        self.draining = True
        self._clean = self.gateway.stop(grace_s)

    def close(self) -> None:
        """Give everything back; calls that still run are cut."""
        if not self.draining:
            self.drain(0)
        with self._turn:
            try:
                with self._closing:
                    self._registrar.record("admin", "gateway_stopped", None, detail={"clean": self._clean})
            except NotRecordedError as error:
                log.error("the stop could not be recorded", error=error.message)  # noqa: TRY400
        log.info("stopped", clean=self._clean)


@contextlib.contextmanager
def open_for_acts(config: Config) -> Iterator[tuple[Registrar, _core.Journal]]:
    """Take the store's lock, open store and journal, and give all back at the end.

    Raises `StoreInUseError` while another process holds the lock, and other `OstiaryError`s.
    """
    path = StorePath.from_url(config.store.url, config.folder)
    with StoreLock(path), Store.open(path, key=config.store.key, base=config.folder) as store:
        journal = _open_journal(config, store)
        try:
            yield Registrar(store, journal), journal
        finally:
            _close_journal(journal)


def _open_journal(config: Config, store: Store) -> _core.Journal:
    try:
        config.audit_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _core.Journal(
            str(config.audit_dir), config.gateway.url, keys.checkpoint_key(store, now=int(time.time()))
        )
    except OSError as error:
        raise StartError(f"the record in {config.audit_dir} cannot be written: {error}") from error


def _close_journal(journal: _core.Journal) -> None:
    try:
        journal.close()
    except OSError as error:
        raise NotRecordedError(f"the record could not be closed properly: {error}") from error


def _read(path: Path, known: Iterable[Path]) -> tuple[Config | ConfigError, Stamps]:
    """Read the configuration, and stamp the files that it stands in as they were when they were read.

    Reads again if a file changed meanwhile, or turned out to belong to it: a mixture of two states is never returned
    as one. `known` are files that are expected to belong to it.
    """
    files = {path, *known}
    result: Config | ConfigError
    for _ in range(READINGS):
        before = take_stamps(files)
        try:
            result = load(path)
            more = set(result.sources)
        except ConfigError as error:
            result = error
            more = set(error.sources)
        if more <= files and take_stamps(files) == before:
            break
        files |= more
    return result, before


def _tls_pair(config: Config) -> Pair | None:
    """Return the pair of the public door. Raises `ConfigError` where it has gone bad since the file was read."""
    if config.gateway.tls is None:
        return None
    try:
        return read_pair(config.gateway.tls, config.folder)
    except TlsError as error:
        key = f"gateway.tls.{error.part}"
        problem = Problem(file=config.path.name, line=0, column=0, key=key, message=str(error), hint=error.hint)
        raise ConfigError([problem]) from error


def _moved(old: Config, new: Config) -> list[str]:
    def read(config: Config, setting: str) -> Any:
        section, _, name = setting.partition(".")
        return getattr(getattr(config, section), name)

    return [setting for setting in FIXED if read(old, setting) != read(new, setting)]
