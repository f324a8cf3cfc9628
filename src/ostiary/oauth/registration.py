"""POST /oauth/register: clients that register themselves (RFC 7591), where that is switched on.

Anybody may ask, so little is given: a name that nobody vouches for, addresses that are held to
`ostiary.oauth.redirects`, and a registration that ends by itself where nobody uses it. Where there are too many, the
oldest that brought nobody in makes room, so that nobody can shut the door by filling the room.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc7591 import ClientMetadataClaims
from joserfc.errors import InvalidClaimError

from ostiary import strictjson
from ostiary.oauth import clientmetadata
from ostiary.oauth.clientmetadata import MetadataError
from ostiary.oauth.limits import Window
from ostiary.oauth.tokenendpoint import check_lockdown
from ostiary.oauth.web import OAuthError, answer
from ostiary.store import clients as stored
from ostiary.store.clients import DYNAMIC_PREFIX, MAX_REDIRECTS, StoredClient

if TYPE_CHECKING:
    from starlette.responses import Response

    from ostiary.control import Control
    from ostiary.oauth.web import Asked

UNUSED_S: Final = 24 * 3600
#: So many from one address within so many seconds.
LIMIT: Final = 90
WITHIN_S: Final = 600
MOST: Final = 1000
MAX_TEXT: Final = 2000
PUBLIC: Final = "none"
METHODS: Final = (PUBLIC, "client_secret_basic", "client_secret_post")
#: What of a request is kept and told back; everything else is left out (RFC 7591 section 2).
_TEXTS: Final = ("client_name", "client_uri", "software_id", "software_version")


class Registration:
    """Registers clients, for one control app."""

    def __init__(self) -> None:
        self._window = Window(limit=LIMIT, seconds=WITHIN_S)

    def register(self, control: Control, asked: Asked) -> Response:
        """Answer a registration request. Raises `OAuthError`."""
        check_lockdown(control)
        said = _read(asked)
        now = control.now()
        if not self._window.take(asked.client, now):
            raise OAuthError("slow_down", "too many registrations from here", status=429, retry_after=3600)
        return answer(_keep(control, said, now), status=201)


def _keep(control: Control, said: dict[str, Any], now: int) -> dict[str, Any]:
    """Keep a client and return what it is told."""
    public = said["token_endpoint_auth_method"] == PUBLIC
    secret = None if public else secrets.token_urlsafe(32)
    client = StoredClient(
        id=DYNAMIC_PREFIX + secrets.token_urlsafe(16),
        kind="dynamic",
        name=said.get("client_name") or "a client without a name",
        metadata=said,
        secret=None if secret is None else stored.digest(secret),
        created_at=now,
        expires_at=now + UNUSED_S,
    )
    with control.store.changing() as connection:
        full = stored.count_dynamic(connection, now=now) >= MOST
        if full and not stored.forget_unused(connection):
            raise OAuthError("slow_down", "too many clients are registered", status=429, retry_after=3600)
        stored.put(connection, client)
        detail = {"client_id": client.id, "client_name": client.name, "redirect_uris": said["redirect_uris"]}
        control.record("admin", "client_registered", None, detail=detail)
    told = {"client_id": client.id, "client_id_issued_at": now, **said}
    if secret is None:
        return told
    # The secret ends with the registration, and lasts longer once a person has let the client in.
    return {**told, "client_secret": secret, "client_secret_expires_at": client.expires_at}


def _read(asked: Asked) -> dict[str, Any]:
    """Return the metadata of a client that is in order, by the members that are kept."""
    kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise OAuthError("invalid_client_metadata", "the body must be application/json", status=415)
    try:
        said = strictjson.parse(asked.body)
    except strictjson.StrictJsonError as error:
        raise OAuthError("invalid_client_metadata", f"the body is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise OAuthError("invalid_client_metadata", "the body is no JSON object")
    try:
        uris, grants = clientmetadata.redirect_uris(said, most=MAX_REDIRECTS), clientmetadata.grant_types(said)
        clientmetadata.check_response_types(said)
        clientmetadata.check_uris(said)
    except MetadataError as error:
        raise OAuthError(error.error, str(error)) from None
    for name in (*_TEXTS, "token_endpoint_auth_method"):
        if not isinstance(said.get(name) or "", str) or len(said.get(name) or "") > MAX_TEXT:
            raise OAuthError("invalid_client_metadata", f"{name} is not a text of at most {MAX_TEXT} characters")
    _check_by_rfc(said)
    kept = {name: said[name] for name in _TEXTS if said.get(name)}
    return {
        **kept,
        "redirect_uris": uris,
        "token_endpoint_auth_method": said.get("token_endpoint_auth_method") or "client_secret_basic",
        "grant_types": grants,
        "response_types": ["code"],
    }


def _check_by_rfc(said: dict[str, Any]) -> None:
    """Hold what RFC 7591 section 2 defines to it; the addresses were held to more than that."""
    names = ("client_uri", "response_types", "token_endpoint_auth_method")
    known = {name: said[name] for name in names if said.get(name) is not None}
    served = {
        "response_types_supported": ["code"],
        "token_endpoint_auth_methods_supported": list(METHODS),
    }
    claims = ClientMetadataClaims(known, {}, ClientMetadataClaims.get_claims_options(served))
    try:
        claims.validate()
    except InvalidClaimError as error:
        raise OAuthError("invalid_client_metadata", f"{error.claim} is not taken here") from None
