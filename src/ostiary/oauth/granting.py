"""Grants an agent or service its token: the request held to the file, to who is live, and to what was revoked.

Whoever issues, an operator's command or the token endpoint, does it here, in the transaction in which revocations are
read: none can come between. What is issued is dated after all that was revoked, and, unless the clock was set back,
not before its time: it waits for the second of the revocation to end.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from ostiary.oauth.token import Grant, TokenRefusedError, TokenRequest, authorize
from ostiary.registry.effective import SUSPENDED, keys_of_token, suspension
from ostiary.store import epochs, registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy as sa

    from ostiary.config import Config
    from ostiary.control import EpochKind
    from ostiary.store import Store

#: How often something is waited for that is revoked again meanwhile.
WAITS: Final = 3


class Issuing(Protocol):
    """As much of `ostiary.control.Control` as a moment to issue at takes."""

    @property
    def store(self) -> Store:
        """The open store."""

    def now(self) -> int:
        """Return seconds since the epoch."""

    def wait_past(self, second: int) -> bool:
        """Wait until `second` is over, and say whether it is."""


@contextlib.contextmanager
def issuing(control: Issuing, keys: Sequence[tuple[EpochKind, str]]) -> Iterator[sa.Connection]:
    """Change the store in one transaction, in a later second than everything by which `keys` were revoked.

    It waits for that second, without holding the store. Only where the clock was set back is it still to come: what is
    issued then is dated ahead.
    """
    for _ in range(WAITS):
        with control.store.changing() as connection:
            floor = epochs.floor(connection, keys)
            if floor < control.now():
                yield connection
                return
        if not control.wait_past(floor):
            break
    with control.store.changing() as connection:
        yield connection


def keys_of(config: Config, request: TokenRequest) -> list[tuple[EpochKind, str]]:
    """Return all that the token asked for would be revoked by; nothing where there is nobody of that name."""
    agent = None
    if request.type == "agent":
        if request.name not in config.agents:
            return []
        subject = agent = config.agent_id(request.name)
    elif request.name in config.services:
        subject = config.service_id(request.name)
    else:
        return []
    return keys_of_token(config, subject=subject, client=subject, agent=agent)


def grant(connection: sa.Connection, config: Config, request: TokenRequest, *, now: int) -> Grant:
    """Return what may be signed, within a change of the store; `now` is epoch seconds. Raises `TokenRefusedError`."""
    granted = authorize(request, config, now=now)
    agent = granted.subject if request.type == "agent" else None
    reason = None if agent is None else suspension(config, connection, request.name, now=now)
    if reason is not None:
        hint = f"ostiary agents show {request.name}"
        raise TokenRefusedError(f"agent {request.name} may not act now: {SUSPENDED[reason]}", hint=hint)
    # What was revoked up to now stays so; this token is later, ahead of the clock if it must be (see `issuing`).
    granted = replace(granted, issued_at=max(now, epochs.floor(connection, keys_of(config, request)) + 1))
    registry.note_token(connection, granted.subject, issued_at=granted.issued_at)
    return granted
