"""Grants an agent or service its token: the request held to the file, to who is live, and to what was revoked.

Whoever issues, an operator's command or the token endpoint, does it here, in the transaction in which revocations are
read: none can come between.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ostiary.oauth.token import Grant, TokenRefusedError, TokenRequest, authorize
from ostiary.registry.effective import SUSPENDED, keys_of_token, suspension
from ostiary.store import epochs, registry

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ostiary.config import Config


def grant(connection: sa.Connection, config: Config, request: TokenRequest, *, now: int) -> Grant:
    """Return what may be signed, within a change of the store; `now` is epoch seconds. Raises `TokenRefusedError`."""
    granted = authorize(request, config, now=now)
    agent = granted.subject if request.type == "agent" else None
    reason = None if agent is None else suspension(config, connection, request.name, now=now)
    if reason is not None:
        hint = f"ostiary agents show {request.name}"
        raise TokenRefusedError(f"agent {request.name} may not act now: {SUSPENDED[reason]}", hint=hint)
    keys = keys_of_token(config, subject=granted.subject, client=granted.subject, agent=agent)
    # What was revoked up to now stays so; this token is later, by a second if it must be.
    granted = replace(granted, issued_at=max(now, epochs.floor(connection, keys) + 1))
    registry.note_token(connection, granted.subject, issued_at=granted.issued_at)
    return granted
