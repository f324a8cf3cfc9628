"""The whole boundary between Python and Rust. Rust never calls Python, and nothing here is asynchronous.

Blocking calls release the GIL. JSON crosses as text, so that both sides keep their own strict reading of it.
"""

from typing import final

@final
class SnapshotError(ValueError):
    """The bytes are no valid snapshot; `path` says where, e.g. `policy.rules[3].any[0].of[1]`."""

    path: str
    message: str

@final
class JournalError(OSError):
    """The record could not be written, or its folder is in use by another process."""

@final
class Snapshot:
    """All that the data plane knows, compiled and immutable. It holds no secret."""

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hex."""

    def __new__(cls, data: bytes) -> Snapshot:
        """Compile `data`. Raises `SnapshotError`."""

    def decide(self, facts: str, *, memory: bool = False) -> str:
        """Decide on `facts` (JSON text) with the very code of the request path; gives JSON text.

        `memory` uses the decision memory, as requests do. Raises `ValueError` that names the path of a bad fact.
        """

@final
class Journal:
    """The append-only record of one process: one chain, one open segment, exclusive per folder."""

    def __new__(cls, dir: str, gateway: str, signing_key: str | None) -> Journal:  # noqa: A002
        """Open `dir`, cutting (and recording) an incomplete last line.

        `signing_key` is JSON `{kid, seed}` and signs checkpoints. Raises `JournalError`.
        """

    def append(self, record: str) -> str:
        """Add a `control` or `admin` record (JSON text) and return its id; it is on disk by then."""

    def close(self) -> None:
        """Write a last checkpoint and let go of the folder. Closing twice is fine."""

@final
class Gateway:
    """The data plane: listens from construction on, with threads of its own."""

    @property
    def address(self) -> str:
        """Where it listens, e.g. `127.0.0.1:8811`."""

    def __new__(
        cls,
        listen: str,
        snapshot: Snapshot,
        secrets: str,
        journal: Journal,
        *,
        threads: int = 2,
        epochs: str = "[]",
        control: str | None = None,
        patience: float = 0.0,
    ) -> Gateway:
        """Bind and serve; `control` is the path of the control app's Unix socket.

        `epochs`, as in `revoke`, are in force before the first request. After `patience` seconds (0: never) without a
        call of `revoke` every MCP request is refused with 503 `store`, and streams that stay open end. Raises
        `OSError` if the address cannot be had.
        """

    def apply(self, snapshot: Snapshot, secrets: str) -> int:
        """Swap what is in force, whole; returns the new generation."""

    def revoke(self, epochs: str) -> None:
        """Take the word of the store: JSON `[{kind, value, epoch}]`, seconds; an empty list says that all is well.

        What matches and was issued at or before its epoch is refused once this returns, and its open streams end.
        `kind` is token, family, client, agent, subject, owner or third_party. Raises `ValueError` and takes nothing if
        any of it is not understood.
        """

    def uses(self) -> str:
        """Who was there since the last call: JSON `{principal id: second of the last request}`, subjects and actors."""

    def events(self, timeout: float) -> list[str]:
        """Wait up to `timeout` seconds for things that happened, as JSON texts with a `kind`."""

    def stats(self) -> dict[str, int]:
        """Counters since the start, by name."""

    def stop(self, grace: float) -> bool:
        """Stop listening, let what runs finish for up to `grace` seconds; true if nothing was cut."""

def read_segment(path: str, prev: str | None) -> str:
    """Check one segment's chain, beginning after hash `prev` (`None`: whatever it says).

    Gives JSON `{records, first_prev, last_hash, torn, checkpoints, bad: {index, why} | null}`.
    """
