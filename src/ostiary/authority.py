"""The control side of one store: what `ostiary.control.Control` asks for, with or without a running gateway.

By itself it serves the commands that work under the store's lock while no gateway runs. The running gateway extends
it (`ostiary.runtime`): there a revocation reaches the data plane before anybody is told that it was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from ostiary import keys
from ostiary.identity.remotekeys import RemoteKeys
from ostiary.registrar import NotRecordedError
from ostiary.registry.effective import effective
from ostiary.store import epochs as epoch_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostiary import _core
    from ostiary.config import Config
    from ostiary.control import Epoch, Person
    from ostiary.registrar import Operator, Registrar
    from ostiary.store import Store, StoredKey

log = structlog.get_logger()


class Authority:
    """`Control` over a store and a journal whose locks the caller holds."""

    def __init__(self, registrar: Registrar, config: Config) -> None:
        self.registrar = registrar
        #: What is in force: the file, with what the store has registered merged in.
        self.config = config
        self.remote_keys = RemoteKeys(registrar.store, registrar.now)

    @property
    def store(self) -> Store:
        """The open store."""
        return self.registrar.store

    def now(self) -> int:
        """Return seconds since the epoch."""
        return self.registrar.now()

    def wait_past(self, second: int) -> bool:
        """Wait until `second` is over, if that is soon."""
        return self.registrar.wait_past(second)

    def signing_key(self) -> StoredKey:
        """Return the key that signs now, with its private part."""
        return keys.ensure_key(self.store, now=self.now())

    def note_uses(self) -> None:
        """Keep who asked for something: nobody does here."""

    def snapshot(self) -> _core.Snapshot | None:
        """Return the snapshot in force: none, where no gateway runs."""
        return None

    def record(self, kind: str, event: str, by: Operator | Person | None, **fields: Any) -> str:
        """Append one record and return its id. Raises `NotRecordedError`."""
        return self.registrar.record(kind, event, by, **fields)

    def revoke(self, epochs: Sequence[Epoch], by: Operator | Person | None, *, why: str, **fields: Any) -> None:
        """Keep the epochs and put them in force; recorded then, as it only takes away."""
        with self.store.changing() as connection:
            epoch_store.add(connection, epochs)
        self.push(epochs)
        named = [{"kind": epoch.kind, "value": epoch.value, "epoch": epoch.epoch} for epoch in epochs]
        try:
            self.record("control", "revoked", by, **_as_fields(fields, why=why, revoked=named))
        except NotRecordedError as error:
            log.error("the revocation is in force, and could not be recorded", error=error.message)  # noqa: TRY400

    def push(self, epochs: Sequence[Epoch]) -> None:
        """Hand epochs to the data plane: there is none here."""

    def registry_changed(self, by: Operator | Person | None) -> None:
        """Read what the store now says; it counts from the next start of the gateway on."""
        del by
        self.config = effective(self.config, self.store, now=self.now()).config


def _as_fields(told: dict[str, Any], **more: object) -> dict[str, Any]:
    """Return what was told with a revocation as fields of its record; what is no field of its own is `detail`."""
    own = {name: value for name, value in told.items() if name in ("principal", "agent", "token", "server")}
    rest = {name: value for name, value in told.items() if name not in own and name != "detail"}
    return {**own, "detail": {**told.get("detail", {}), **rest, **more}}
