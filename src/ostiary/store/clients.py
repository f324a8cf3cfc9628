"""OAuth clients as the store has them: registered by an operator, registered by themselves, or known by a document.

Secrets are kept as SHA-256 only: they are random, 256 bits, and made here.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.errors import OperationError
from ostiary.oauth import redirects
from ostiary.store import tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostiary.store import Store

ClientKind = Literal["document", "dynamic", "registered"]

#: How many redirect addresses a client may have.
MAX_REDIRECTS: Final = 10
#: How many documents of clients that nobody has let in are remembered.
MAX_DOCUMENTS: Final = 2000
#: How clients that register themselves are called; nobody else may be called so.
DYNAMIC_PREFIX: Final = "dynamic-"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_CLIENTS: Final = tables.clients


class ClientError(OperationError):
    """A client cannot be registered as it is described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClient:
    """One row. `metadata` is as in RFC 7591 section 2, and `secret` the SHA-256 of the secret, in hex.

    Of a document, `created_at` is when it was fetched and `expires_at` until when it counts as fresh.
    """

    id: str
    kind: ClientKind
    name: str
    metadata: Mapping[str, Any]
    secret: str | None = field(default=None, repr=False)
    created_at: int
    expires_at: int | None = None
    used_at: int | None = None


def add_registered(
    store: Store,
    client_id: str,
    name: str,
    redirect_uris: Sequence[str],
    *,
    confidential: bool,
    now: int | None = None,
) -> str | None:
    """Register a client on the word of an operator; the secret of a confidential one is returned, this once only.

    `now` is in seconds since the epoch, by default the time. Raises `ClientError`, also where the id is taken.
    """
    _check(client_id, name, redirect_uris)
    secret = secrets.token_urlsafe(32) if confidential else None
    method = "client_secret_basic" if confidential else "none"
    client = StoredClient(
        id=client_id,
        kind="registered",
        name=name,
        metadata={"redirect_uris": list(redirect_uris), "token_endpoint_auth_method": method},
        secret=None if secret is None else digest(secret),
        created_at=int(time.time()) if now is None else now,
    )
    with store.changing() as connection:
        if get(connection, client_id) is not None:
            raise ClientError(f"there is a client {client_id} already", hint="remove it first, or choose another id")
        put(connection, client)
    return secret


def remove(store: Store, client_id: str) -> bool:
    """Forget a client, as `forget` does, in a change of its own."""
    with store.changing() as connection:
        return forget(connection, client_id)


def forget(connection: sa.Connection, client_id: str) -> bool:
    """Forget a client with all that was consented to for it; false if there is none.

    Nothing more can be had with its refresh tokens. Access tokens that are out end with a revocation of the client.
    """
    consents = tables.consents
    found = connection.execute(sa.delete(_CLIENTS).where(_CLIENTS.c.id == client_id)).rowcount
    connection.execute(sa.delete(consents).where(consents.c.client == client_id))
    return bool(found)


def all_clients(store: Store) -> list[StoredClient]:
    """Return all clients, by id."""
    with store.reading() as connection:
        return [_client(row) for row in connection.execute(sa.select(_CLIENTS).order_by(_CLIENTS.c.id))]


def digest(secret: str) -> str:
    """Return what is kept of a secret, code or token: its SHA-256, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def get(connection: sa.Connection, client_id: str) -> StoredClient | None:
    """Return a client, expired or not."""
    row = connection.execute(sa.select(_CLIENTS).where(_CLIENTS.c.id == client_id)).one_or_none()
    return None if row is None else _client(row)


def put(connection: sa.Connection, client: StoredClient) -> None:
    """Keep `client`, in place of what was known under its id."""
    values = {
        "kind": client.kind,
        "name": client.name,
        "metadata": json.dumps(client.metadata, sort_keys=True),
        "secret": client.secret,
        "created_at": client.created_at,
        "expires_at": client.expires_at,
        "used_at": client.used_at,
    }
    row = insert(_CLIENTS).values(id=client.id, **values)
    connection.execute(row.on_conflict_do_update(["id"], set_=values))


def note_use(connection: sa.Connection, client_id: str, *, now: int, dynamic_until: int) -> None:
    """Remember that a client was used; one that registered itself then lasts until `dynamic_until`."""
    lasts = sa.case((_CLIENTS.c.kind == "dynamic", dynamic_until), else_=_CLIENTS.c.expires_at)
    connection.execute(sa.update(_CLIENTS).where(_CLIENTS.c.id == client_id).values(used_at=now, expires_at=lasts))


def count_dynamic(connection: sa.Connection, *, now: int) -> int:
    """Return how many clients have registered themselves, once those that have expired are forgotten."""
    dynamic = _CLIENTS.c.kind == "dynamic"
    connection.execute(sa.delete(_CLIENTS).where(dynamic & (_CLIENTS.c.expires_at <= now)))
    found: int = connection.execute(sa.select(sa.func.count()).where(dynamic)).scalar_one()
    return found


def forget_unused(connection: sa.Connection) -> bool:
    """Forget the client that registered itself first of those that nobody has let in; false if there is none."""
    unused = sa.select(_CLIENTS.c.id).where((_CLIENTS.c.kind == "dynamic") & _CLIENTS.c.used_at.is_(None))
    first = unused.order_by(_CLIENTS.c.created_at, sa.text("rowid")).limit(1).scalar_subquery()
    return bool(connection.execute(sa.delete(_CLIENTS).where(_CLIENTS.c.id == first)).rowcount)


def forget_documents(connection: sa.Connection, *, keep: int = MAX_DOCUMENTS) -> None:
    """Forget documents of clients that nobody has let in, those first that were fetched longest ago, down to `keep`."""
    documents = sa.select(_CLIENTS.c.id).where((_CLIENTS.c.kind == "document") & _CLIENTS.c.used_at.is_(None))
    oldest = documents.order_by(_CLIENTS.c.created_at.desc(), _CLIENTS.c.id).limit(-1).offset(keep)
    connection.execute(sa.delete(_CLIENTS).where(_CLIENTS.c.id.in_(oldest)))


def _check(client_id: str, name: str, redirect_uris: Sequence[str]) -> None:
    if _ID.match(client_id) is None:
        raise ClientError(
            f"{client_id[:80]!r} is no client id", hint="use letters, digits, `.`, `_` and `-`, at most 128"
        )
    if client_id.startswith(DYNAMIC_PREFIX):
        raise ClientError(f"ids that begin with {DYNAMIC_PREFIX} belong to clients that register themselves")
    if not name.strip() or len(name) > 200:
        raise ClientError("a client has a name of at most 200 characters")
    if not 0 < len(redirect_uris) <= MAX_REDIRECTS:
        raise ClientError(f"a client has 1 to {MAX_REDIRECTS} redirect addresses")
    for uri in redirect_uris:
        why = redirects.fault(uri)
        if why is not None:
            raise ClientError(
                f"the redirect address {uri[:200]!r} {why}",
                hint="https, http on this machine, or the scheme of an app, as in com.example.app:/callback",
            )


def _client(row: sa.Row[Any]) -> StoredClient:
    return StoredClient(
        id=row.id,
        kind=row.kind,
        name=row.name,
        metadata=json.loads(row.metadata),
        secret=row.secret,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
