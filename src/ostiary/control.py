"""What sign-in, tokens, the registry and the commands of a running gateway stand on, behind one small interface.

The running gateway implements it (`ostiary.runtime`), and so does whoever holds the store's lock without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostiary import _core
    from ostiary.config import Config
    from ostiary.identity.remotekeys import RemoteKeys
    from ostiary.registrar import Operator
    from ostiary.store import Store, StoredKey

EpochKind = Literal["token", "family", "client", "agent", "subject", "owner", "third_party"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who is signed in, as an act of hers is recorded."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Whatever `kind` and `value` name: a token of it that was issued at `epoch` (seconds) or before is refused."""

    kind: EpochKind
    value: str
    epoch: int
    reason: str | None = None

    def as_json(self) -> dict[str, str | int]:
        """Return it as the data plane and records have it."""
        return {"kind": self.kind, "value": self.value, "epoch": self.epoch}


class Control(Protocol):
    """The parts of a gateway that the control side works with. Methods may be called from any thread."""

    @property
    def config(self) -> Config:
        """What is in force: the file, with what is registered in the store merged in."""

    @property
    def store(self) -> Store:
        """The open store."""

    @property
    def remote_keys(self) -> RemoteKeys:
        """The key sets of others that are fetched: one for all, since it counts how often each is asked for."""

    def now(self) -> int:
        """Return seconds since the epoch."""

    def wait_past(self, second: int) -> bool:
        """Wait until `second` is over, and say whether it is; never for much more than a second.

        False at once where it is further ahead: then the clock was set back. Nothing is locked meanwhile.
        """

    def signing_key(self) -> StoredKey:
        """Return the key that signs now, with its private part."""

    def note_uses(self) -> None:
        """Keep in the store who asked for something, up to now. What cannot be kept is tried again the next time."""

    def snapshot(self) -> _core.Snapshot | None:
        """Return the snapshot in force, to ask what somebody could reach; `None` where no gateway runs."""

    def record(self, kind: str, event: str, by: Operator | Person | None, **fields: Any) -> str:
        """Append one record and return its id. Raises `NotRecordedError`; what only gives is not done then."""

    def revoke(self, epochs: Sequence[Epoch], by: Operator | Person | None, *, why: str, **fields: Any) -> None:
        """Keep the epochs, put them in force at once, and record it. Done first and recorded then: it only takes."""

    def registry_changed(self, by: Operator | Person | None) -> None:
        """Put in force what the store now says of agents, services and people."""
