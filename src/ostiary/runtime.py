"""One running gateway: what is in force, how it changes, and how it ends.

The data plane runs in threads of its own; everything here decides what it is handed. A change is compiled and kept
beside what is in force until it is whole and recorded, and only then swapped in; whatever is wrong with it leaves
the old one running, and is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Final, Self

import structlog

from ostiary import _core, keys
from ostiary.acts import StartError, open_for_acts
from ostiary.adminsocket import bind_unix
from ostiary.authority import Authority
from ostiary.draft import Draft
from ostiary.errors import ConfigError, OperationError, OstiaryError
from ostiary.filestate import Reload, moved, read_files, tls_pair
from ostiary.identity.remotekeys import urls_of
from ostiary.registrar import Operator, Registrar
from ostiary.registry.effective import troubles
from ostiary.registry.owners import end_of_other_owners
from ostiary.secretref import unset_secrets
from ostiary.store import credentials, sweep
from ostiary.store import epochs as epoch_store
from ostiary.uses import Uses
from ostiary.watch import take_stamps

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ostiary.config import Config
    from ostiary.control import Epoch, Person
    from ostiary.oauth.token import AccessToken, TokenRequest
    from ostiary.store import StoredKey
    from ostiary.tls import Pair
    from ostiary.watch import Stamps

log = structlog.get_logger()

GRACE_S: Final = 10.0
#: How long the data plane serves without word from the store, in seconds.
PATIENCE_S: Final = 10.0
#: No token lives longer, in seconds, clocks that differ included: what is older need not be remembered.
LONGEST_S: Final = 3720


class ApplyError(OperationError):
    """The data plane does not take a change."""


class Runtime(Authority):
    """The gateway of this process. Its methods may be called from any thread; they take turns."""

    def __init__(self, file: Config, registrar: Registrar, journal: _core.Journal) -> None:
        """Use `start`."""
        super().__init__(registrar, file)
        #: What the file alone says.
        self.file = file
        self.started_at = time.time()
        self.draining = False
        self.locked_down = False
        self.last_reload = Reload(at=self.started_at)
        self.reloads = {"applied": 0, "unchanged": 0, "refused": 0}
        self.generation = 0
        #: What is wrong with registrations in the store.
        self.problems: tuple[str, ...] = ()
        #: When a lease or an agent ends next, in seconds.
        self.until: int | None = None
        #: Faults of our own that were survived.
        self.faults = 0
        self.stamps: Stamps = {}
        self._journal = journal
        self._turn = threading.RLock()
        self._closing = contextlib.ExitStack()
        self._secrets, self._digest = "", ""
        self._told: frozenset[str] = frozenset()
        self._uses = Uses(registrar.store)
        #: The newest revocation that the data plane has heard of.
        self._heard = 0
        self._compiled: _core.Snapshot | None = None
        #: What the public door shows. Kept, so that an act of an operator needs no file.
        self._tls: Pair | None = None
        self._to_do_again = False
        self._clean = True
        self._gateway: _core.Gateway | None = None
        #: Where operators reach this process.
        self.socket = registrar.store.path.socket
        #: Where the data plane reaches the control app: bound before the first request can come.
        self.control_socket: socket.socket

    @classmethod
    def start(cls, path: Path) -> Self:
        """Read the file at `path` and serve by it. Raises `OstiaryError` if anything is wrong; nothing runs then."""
        config, stamps = read_files(path.absolute(), ())
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
        self.registrar.record_lockdown(None)
        self.control_socket = bind_unix(self.store.path.control_socket)
        self.remote_keys.refresh(urls_of(self.file))
        draft = Draft.of(self.file, self.store, self.remote_keys, now=self.now())
        for trouble in unset_secrets(self.file):
            log.warning(trouble)
        self._follow(draft)
        snapshot = draft.build()
        end_of_other_owners(self, Operator.of_this_process())
        digest = self.registrar.store.keep_snapshot(draft.data, now=self.registrar.now())
        self._tls = tls_pair(self.config)
        self._secrets = self._current_secrets(self.file, self._tls)
        news, self._heard = self._news()
        self._record_snapshot("gateway_started", digest, Operator.of_this_process())
        try:
            self._gateway = _core.Gateway(
                self.config.gateway.listen,
                snapshot,
                self._secrets,
                self._journal,
                threads=max(2, os.cpu_count() or 2),
                epochs=news,
                control=str(self.store.path.control_socket),
                patience=PATIENCE_S,
            )
        except ValueError as error:
            self.registrar.record("admin", "gateway_stopped", None, detail={"clean": True, "why": str(error)})
            raise StartError(f"the data plane does not start: {error}") from error
        except OSError as error:
            self.registrar.record("admin", "gateway_stopped", None, detail={"clean": True, "why": str(error)})
            raise StartError(
                f"gateway.listen {self.config.gateway.listen} cannot be had: {error}",
                hint="another process may hold the address",
            ) from error
        self._digest, self.locked_down, self._compiled = digest, draft.locked_down, snapshot
        self.registrar.snapshot = digest
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
            config, stamps = read_files(self.file.path, self.file.sources)
            self._to_do_again = False
            if isinstance(config, ConfigError):
                self._refuse_reload(cause, [str(problem) for problem in config.problems])
                # The old files count as well: putting them back ends the complaint.
                return {**take_stamps(self.file.sources), **stamps}
            self.remote_keys.refresh(urls_of(config))
            try:
                self._record_settings(config)
                changed = self._put_in_force(config, tls_pair(config), event="snapshot_applied")
            except ConfigError as error:
                self._refuse_reload(cause, [str(problem) for problem in error.problems])
                return stamps
            except OstiaryError as error:
                # Nothing in the files: store or record are in the way, and no change of a file will tell of the end.
                self._refuse_reload(cause, [str(error)])
                self._to_do_again = True
                return stamps
            for setting in moved(self.file, config):
                log.warning(f"{setting} has changed, and counts from the next start on")
            for problem in config.warnings:
                if problem not in self.file.warnings:
                    log.warning(str(problem))
            mended = bool(self.last_reload.problems)
            self.file = config
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

    def _put_in_force(
        self, file: Config, tls: Pair | None, *, event: str | None, by: Operator | Person | None = None
    ) -> bool:
        """Compile and apply; false if nothing changes. With an `event` it is recorded first, or not done at all."""
        draft = Draft.of(file, self.store, self.remote_keys, now=self.now())
        secrets = self._current_secrets(file, tls)
        if draft.digest == self._digest and secrets == self._secrets:
            self._follow(draft)
            self._end_of_other_owners(by)
            return False
        snapshot = draft.build()
        digest = self.registrar.store.keep_snapshot(draft.data, now=self.registrar.now())
        if event is not None:
            self._record_snapshot(event, digest, by)
        try:
            self.generation = self.gateway.apply(snapshot, secrets)
        except ValueError as error:
            raise ApplyError(f"the data plane does not take the change: {error}") from error
        self._digest, self._secrets, self.locked_down = digest, secrets, draft.locked_down
        self._compiled, self._tls = snapshot, tls
        self.registrar.snapshot = digest
        self._follow(draft)
        self._end_of_other_owners(by)
        return True

    def _follow(self, draft: Draft) -> None:
        """Go by what is in force now, and tell what is wrong with registrations and whose agents may not act."""
        self.config, self.until = draft.found.config, draft.found.until
        told, self.problems = self._told, tuple(map(str, draft.found.problems))
        self._told = frozenset(troubles(draft.found))
        for trouble in sorted(self._told - told):
            (log.error if trouble in self.problems else log.warning)(trouble)

    def _end_of_other_owners(self, by: Operator | Person | None) -> None:
        # With the next look at what is in force it is tried again.
        with _logging("what agents hold from another owner cannot be revoked"):
            end_of_other_owners(self, by)

    def _current_secrets(self, file: Config, tls: Pair | None) -> str:
        shown = credentials.header_values(self.store, file.servers)
        return keys.gateway_secrets(self.store, now=self.now(), tls=tls, credentials=shown)

    def _record_snapshot(self, event: str, digest: str, by: Operator | Person | None) -> None:
        detail = {"before": self._digest or None}
        self.registrar.record("admin", event, by, snapshot=digest, detail=detail)

    def _record_settings(self, config: Config) -> None:
        """Record a change of what the control side alone knows, of which no snapshot tells."""
        sections = [name for name in ("providers", "oauth") if getattr(config, name) != getattr(self.file, name)]
        if sections:
            self.record("admin", "settings_applied", None, detail={"sections": sections})

    def tick(self) -> None:
        """Do what comes with time: keys that retire or arrive, owners whose lease runs out, a change to make again."""
        # Before taking turns: addresses that do not answer must not keep a lockdown waiting.
        self.remote_keys.refresh(urls_of(self.config))
        with self._turn:
            if self._to_do_again:
                self.reload("another try")
            self.note_uses()
            with _logging("what comes with time cannot be brought up to date"):
                with self.store.changing() as connection:
                    epoch_store.forget_tokens(connection, before=self.now() - LONGEST_S)
                    sweep.forget(connection, now=self.now())
                self.registry_changed(None)

    def end_what_is_over(self) -> None:
        """Put in force that a lease or an agent has ended, if one has since the last look."""
        if self.until is not None and self.now() >= self.until:
            with _logging("an end cannot be put in force"):
                self.registry_changed(None)

    def look_for_keys(self, issuer: str) -> None:
        """Ask for the keys of an issuer where they are at a URL: a token named one that is not among them."""
        section = self.config.issuers.get(issuer)
        if section is None or section.jwks.url is None:
            return
        self.remote_keys.miss(section.jwks.url)
        if self.remote_keys.refresh([section.jwks.url]):
            with _logging("new keys cannot be put in force"):
                self.registry_changed(None)

    def note_uses(self) -> None:
        """Keep in the store who asked for something, up to now."""
        self._uses.keep(json.loads(self.gateway.uses()))

    # Revocation: without taking turns, since it must not wait for a change that is being compiled --------------------

    def push(self, epochs: Sequence[Epoch]) -> None:
        """Hand epochs to the data plane; they are in force when this returns. Before it starts, the store has them."""
        if self._gateway is not None:
            self._gateway.revoke(json.dumps([each.as_json() for each in epochs]))

    def hear(self) -> None:
        """Tell the data plane what the store knows of revocations. Raises `StoreError`; it then waits for word."""
        news, newest = self._news()
        self.gateway.revoke(news)
        self._heard = newest

    def _news(self) -> tuple[str, int]:
        with self.store.reading() as connection:
            news, newest = epoch_store.since(connection, self._heard, newer_than=self.now() - LONGEST_S)
        return json.dumps([each.as_json() for each in news]), newest

    def snapshot(self) -> _core.Snapshot | None:
        """Return the snapshot in force."""
        return self._compiled

    def registry_changed(self, by: Operator | Person | None) -> None:
        """Put in force what the store now says of agents, services and people."""
        with self._turn:
            self._put_in_force(self.file, self._tls, event="snapshot_applied", by=by)

    # Acts of operators -----------------------------------------------------------------------------------------------

    def issue_token(self, request: TokenRequest, by: Operator) -> AccessToken:
        """Issue an access token by the configuration in force. It may wait, so it takes no turn."""
        return self.registrar.issue_token(self.config, request, by)

    def all_keys(self) -> list[StoredKey]:
        """Return our signing keys, the newest first, without private parts."""
        return self.registrar.store.all_keys()

    def rotate_keys(self, by: Operator) -> StoredKey:
        """Make a new signing key and sign with it at once."""
        with self._turn:
            key = self.registrar.rotate_keys(by)
            self._put_in_force(self.file, self._tls, event="snapshot_applied", by=by)
            log.info("keys rotated", kid=key.kid, by=str(by))
            return key

    def lock_down(self, reason: str | None, by: Operator) -> None:
        """Refuse everything from now on. It is done first and recorded then, since it only takes away."""
        with self._turn:
            self.registrar.lock_down(reason, by)
            self._put_in_force(self.file, self._tls, event=None)
            log.warning("lockdown: every call is refused", by=str(by), reason=reason)
            with _logging("the lockdown is in force, and could not be recorded"):
                self.registrar.record_lockdown(by)
                self._record_snapshot("snapshot_applied", self._digest, by)

    def lift(self, reason: str | None, by: Operator) -> None:
        """End the lockdown."""
        with self._turn:
            self.registrar.lift(reason, by)
            self._put_in_force(self.file, self._tls, event="snapshot_applied", by=by)
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
            self.note_uses()
            with _logging("the stop could not be recorded"), self._closing:
                self.registrar.record("admin", "gateway_stopped", None, detail={"clean": self._clean})
        log.info("stopped", clean=self._clean)


@contextlib.contextmanager
def _logging(what: str) -> Iterator[None]:
    """Log an error of ours and go on: what is in force stays, and what was begun is tried again or told."""
    try:
        yield
    except OstiaryError as error:
        log.error(what, error=str(error))  # noqa: TRY400
