"""Revocations: from which moment on whose tokens count, in the order in which they were made.

Whoever issues a token asks for `floor` in the very transaction in which it keeps what it issued, so that no token can
slip between a revocation and its epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from ostiary.control import Epoch
from ostiary.store import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostiary.control import EpochKind

_EPOCHS = tables.epochs


def add(connection: sa.Connection, epochs: Iterable[Epoch]) -> None:
    """Keep `epochs`. One that was there already and is no later changes nothing; an epoch never goes back."""
    for epoch in epochs:
        same = (_EPOCHS.c.kind == epoch.kind) & (_EPOCHS.c.value == epoch.value)
        before = connection.execute(sa.select(_EPOCHS.c.epoch).where(same)).scalar_one_or_none()
        if before is not None and before >= epoch.epoch:
            continue
        # A number of its own, beyond all before it: whoever follows along must hear of the later epoch too.
        connection.execute(sa.delete(_EPOCHS).where(same))
        connection.execute(
            sa.insert(_EPOCHS).values(kind=epoch.kind, value=epoch.value, epoch=epoch.epoch, reason=epoch.reason)
        )


def since(connection: sa.Connection, seq: int, *, newer_than: int = -1) -> tuple[list[Epoch], int]:
    """Return what was added after `seq`, the oldest first, and the `seq` to ask with next time.

    Epochs at or before `newer_than` (seconds) are left out: the data plane needs none that is older than its tokens.
    """
    query = sa.select(_EPOCHS).where(_EPOCHS.c.seq > seq).order_by(_EPOCHS.c.seq)
    rows = connection.execute(query).all()
    newest = rows[-1].seq if rows else seq
    return [_epoch(row) for row in rows if row.epoch > newer_than], newest


def floor(connection: sa.Connection, keys: Iterable[tuple[EpochKind, str]]) -> int:
    """Return the latest epoch over `keys`: a token that matches them must be issued after it. 0 if there is none."""
    wanted = sa.tuple_(_EPOCHS.c.kind, _EPOCHS.c.value).in_(list(keys))
    found: int | None = connection.execute(sa.select(sa.func.max(_EPOCHS.c.epoch)).where(wanted)).scalar()
    return found or 0


def next_epoch(connection: sa.Connection, keys: Iterable[tuple[EpochKind, str]], *, now: int) -> int:
    """Return the epoch of a revocation at `now`: no token of `keys` that was issued before it has a later `iat`.

    Tokens are dated by a clock that may have been set back since, so what was issued last counts too: to the principals
    concerned, or to anybody where `keys` do not say whose tokens they are.
    """
    newest = sa.select(sa.func.max(tables.uses.c.token_at))
    principals = [_principal(kind, value) for kind, value in keys]
    if None not in principals:
        newest = newest.where(tables.uses.c.principal.in_(principals))
    return max(now, connection.execute(newest).scalar() or 0)


def _principal(kind: EpochKind, value: str) -> str | None:
    """Return under whom every token of a key is noted (`registry.note_token`); None if it may be anybody."""
    return value if kind in ("agent", "subject") else None


def revoke(
    connection: sa.Connection, keys: Sequence[tuple[EpochKind, str]], *, why: str | None, now: int
) -> tuple[Epoch, ...]:
    """Keep one epoch over all `keys`, within the change that ends what they name, and return it for each.

    `Control.revoke` must follow once the change is made, to put them in force at once; if it fails, the word from the
    store does so soon after.
    """
    epoch = next_epoch(connection, keys, now=now)
    made = tuple(Epoch(kind=kind, value=value, epoch=epoch, reason=why) for kind, value in keys)
    add(connection, made)
    return made


def forget_tokens(connection: sa.Connection, *, before: int) -> None:
    """Forget the epochs of single tokens from before the moment `before`: those tokens have all expired."""
    old = (_EPOCHS.c.kind == "token") & (_EPOCHS.c.epoch < before)
    connection.execute(sa.delete(_EPOCHS).where(old))


def _epoch(row: sa.Row[tuple[object, ...]]) -> Epoch:
    return Epoch(kind=row.kind, value=row.value, epoch=row.epoch, reason=row.reason)
