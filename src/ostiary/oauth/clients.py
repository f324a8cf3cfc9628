"""Who a client is: looked up by its id, whichever way it came to be known.

An id that is an https URL names a client ID metadata document (`ostiary.oauth.documents`); every other id must be in
the store. Nothing that a client says of itself makes it more than a client: names are shown as hints, never as proof.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from ostiary.oauth.clientmetadata import GRANTS
from ostiary.oauth.documents import Documents, is_url
from ostiary.oauth.web import OAuthError
from ostiary.store import clients as stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.control import Control
    from ostiary.store.clients import StoredClient

MAX_NAME: Final = 60
ClientAuth = Literal["none", "secret", "private_key_jwt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client as the flow sees it. `host` is the verified host of a document, and only of a document."""

    id: str
    kind: stored.ClientKind
    name: str
    redirect_uris: tuple[str, ...]
    auth: ClientAuth
    host: str | None
    third_party: str
    secret: str | None = field(default=None, repr=False)
    jwks: Mapping[str, Any] | None = None
    jwks_uri: str | None = None
    grant_types: tuple[str, ...] = GRANTS

    @property
    def refreshes(self) -> bool:
        """Whether the client has refresh tokens."""
        return "refresh_token" in self.grant_types

    @property
    def digest(self) -> str:
        """Name what a person is shown of the client, so that a change of it asks for consent again."""
        said = json.dumps([self.name, sorted(self.redirect_uris)], ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def has_secret(self, secret: str) -> bool:
        """Whether `secret` is the client's."""
        return self.secret is not None and hmac.compare_digest(self.secret, stored.digest(secret))


class Clients:
    """Looks clients up, for one control app."""

    def __init__(self) -> None:
        self._documents = Documents()

    def look_up(self, control: Control, client_id: str, *, address: str, redirect_uri: str) -> Client:
        """Return a client that sends a browser here, to come back to `redirect_uri`; its document may be fetched.

        Raises `OAuthError`.
        """
        if is_url(client_id):
            row = self._documents.look_up(control, client_id, address=address, redirect_uri=redirect_uri)
            return from_stored(row)
        return from_stored(_row(control, client_id))

    def known(self, control: Control, client_id: str, *, address: str) -> Client:
        """Return a client that has been here before: nothing is fetched for one that has not. Raises `OAuthError`."""
        row = _row(control, client_id)
        if row.kind == "document":
            row = self._documents.refreshed(control, row, address=address)
        return from_stored(row)


def _row(control: Control, client_id: str) -> StoredClient:
    with control.store.reading() as connection:
        row = stored.get(connection, client_id)
    if row is None or (row.kind == "dynamic" and not _lasts(control, row)):
        raise unknown()
    return row


def _lasts(control: Control, row: StoredClient) -> bool:
    """Whether a client that registered itself still counts: not where that is switched off since."""
    return control.config.oauth.dynamic_registration and (row.expires_at or 0) > control.now()


def unknown() -> OAuthError:
    """Return the refusal of a client that nobody knows. Its id is not repeated: anybody can write a link with one."""
    return OAuthError("invalid_client", "This client is not known here.", status=401)


def from_stored(row: StoredClient) -> Client:
    """Return the client of a row; what stands there was checked when it was put there."""
    said = row.metadata
    host = urlsplit(row.id).hostname if row.kind == "document" else None
    site = urlsplit(said.get("client_uri") or "").hostname
    name = shown_name(row.name) or shown_name(row.id)
    method = said.get("token_endpoint_auth_method", "none")
    return Client(
        id=row.id,
        kind=row.kind,
        name=name,
        redirect_uris=tuple(said["redirect_uris"]),
        auth=method if method in ("none", "private_key_jwt") else "secret",
        host=host,
        third_party=host or site or name,
        secret=row.secret,
        jwks=said.get("jwks"),
        jwks_uri=said.get("jwks_uri"),
        grant_types=tuple(said.get("grant_types", GRANTS)),
    )


def shown_name(name: str) -> str:
    """Return a client's name for one line: without what is invisible or turns text around, and cut."""
    visible = "".join(" " if c.isspace() else c for c in name if c.isspace() or unicodedata.category(c)[0] != "C")
    plain = " ".join(visible.split())
    return plain if len(plain) <= MAX_NAME else plain[: MAX_NAME - 1] + "…"
