"""Does what operators ask for, and records each act with who asked: tokens, keys, the lockdown, changes of snapshot.

The running gateway and the commands that work without one use the same registrar, so both leave the same records.
An act that only gives (a token, a key) is recorded first; one that takes away (the lockdown) is done first.
"""

from __future__ import annotations

import json
import os
import pwd
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from ostiary import keys
from ostiary.errors import OperationError
from ostiary.oauth.granting import grant, issuing, keys_of
from ostiary.oauth.token import AccessToken, TokenRefusedError, TokenRequest, sign
from ostiary.store import Lockdown, Store, StoredKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostiary.config import Config
    from ostiary.control import Person

#: What is issued in the second in which it was revoked waits for the next one, and no longer, in seconds.
LONGEST_WAIT_S: Final = 1.1


class NotRecordedError(OperationError):
    """A record could not be written. What only gives is not done then."""


class Journal(Protocol):
    """As much of `_core.Journal` as is needed here."""

    def append(self, record: str, /) -> str:
        """Add a record; it is on disk when this returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who asked, as the operating system vouches for it."""

    uid: int
    login: str

    @classmethod
    def of_uid(cls, uid: int) -> Self:
        """Return the operator with a user id, by login name where there is one."""
        try:
            return cls(uid=uid, login=pwd.getpwuid(uid).pw_name)
        except KeyError:
            return cls(uid=uid, login=str(uid))

    @classmethod
    def of_this_process(cls) -> Self:
        """Return who runs this process."""
        return cls.of_uid(os.getuid())

    def __str__(self) -> str:
        return f"{self.login} (uid {self.uid})"


class Registrar:
    """Acts on one store and one journal, whose locks the caller holds."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.store = store
        #: The digest of the snapshot in force, where a gateway runs.
        self.snapshot: str | None = None
        self._journal = journal
        self._clock, self._pause = clock, pause

    def now(self) -> int:
        """Return seconds since the epoch."""
        return int(self._clock())

    def wait_past(self, second: int) -> bool:
        """Wait until `second` is over, and say whether it is; at once if that is more than `LONGEST_WAIT_S` away."""
        left = second + 1 - self._clock()
        if 0 < left <= LONGEST_WAIT_S:
            self._pause(left)
        return self.now() > second

    def record(self, kind: str, event: str, by: Operator | Person | None, **fields: Any) -> str:
        """Append one record and return its id; `by` is `None` for what nobody asked for. Raises `NotRecordedError`."""
        asked = None if by is None else asdict(by)
        members = {"kind": kind, "event": event, "by": asked, "snapshot": self.snapshot, **fields}
        try:
            return self._journal.append(json.dumps(members))
        except OSError as error:
            raise NotRecordedError(f"the record cannot be written: {error}") from error

    def issue_token(self, config: Config, request: TokenRequest, by: Operator) -> AccessToken:
        """Issue an access token. Raises `TokenRefusedError`; both ends are recorded."""
        principal: dict[str, Any] = {"type": request.type, "id": f"{request.type}:local:{request.name}"}
        try:
            with issuing(self, keys_of(config, request)) as connection:
                granted = grant(connection, config, request, now=self.now())
        except TokenRefusedError as error:
            detail = {"why": error.message}
            fields = {"principal": principal, "server": request.server, "decision": "deny", "detail": detail}
            self.record("control", "token_refused", by, **fields)
            raise
        token = sign(granted, keys.ensure_key(self.store, now=granted.issued_at))
        self.record("control", "token_issued", by, **granted.as_record())
        return token

    def rotate_keys(self, by: Operator) -> StoredKey:
        """Make a new signing key; the one before stays published until all that it signed has expired."""
        made = keys.make()
        before = [key.kid for key in self.store.all_keys() if key.retired_at is None]
        self.record("admin", "keys_rotated", by, detail={"kid": made.kid, "before": before})
        return keys.install(self.store, made, now=self.now())

    def lock_down(self, reason: str | None, by: Operator) -> None:
        """Put the lockdown into the store, not yet recorded: `record_lockdown` follows once it is in force."""
        mark_lockdown(self.store, reason, by, now=self.now())

    def record_lockdown(self, by: Operator | None) -> None:
        """Record the lockdown that is in the store, unless it has been."""
        lockdown = self.store.lockdown()
        if lockdown is None or lockdown.recorded:
            return
        detail = {"since": lockdown.at, "by": lockdown.by, "reason": lockdown.reason}
        self.record("control", "lockdown", by, detail=detail)
        self.store.lock_down(replace(lockdown, recorded=True))

    def lift(self, reason: str | None, by: Operator) -> None:
        """End the lockdown."""
        self.record("control", "lockdown_lifted", by, detail={"reason": reason})
        self.store.lift()


def mark_lockdown(store: Store, reason: str | None, by: Operator, *, now: int | None = None) -> None:
    """Put a lockdown into a store that may be open without its key; the next registrar on it records it."""
    at = int(time.time()) if now is None else now
    store.lock_down(Lockdown(at=at, by=str(by), reason=reason, recorded=False))
