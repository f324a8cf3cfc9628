"""Client ID metadata documents: a client whose id is the https URL of a document that describes it.

The URL is named by whoever sends a browser here, so it is fetched under guard (`ostiary.fetch`) and held to its word:
the document must name that very URL, and it never holds a shared secret. Only the authorization endpoint fetches for a
client that is not known yet.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import structlog

from ostiary import strictjson
from ostiary.addresses import bracketed, canonical_host, split_address
from ostiary.fetch import FetchError, Reach, fetch
from ostiary.oauth import clientmetadata, redirects
from ostiary.oauth.clientmetadata import MetadataError
from ostiary.oauth.limits import Failures, Flights, LimitedError, Slots, UnreachedError, Window
from ostiary.oauth.web import OAuthError
from ostiary.reachable import UnreachableError, check_address, read_url
from ostiary.store import clients as stored
from ostiary.store.clients import StoredClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.control import Control
    from ostiary.fetch import Fetched

log = structlog.get_logger()

MAX_BYTES: Final = 64 * 1024
MAX_URL: Final = 1024
MAX_REDIRECTS: Final = 50
#: For how long a document counts as fresh whose site says nothing of that, and at most.
FRESH_S: Final = 300
MOST_S: Final = 24 * 3600
#: How long a document that could not be fetched is not asked for again.
FAILED_S: Final = 3
#: Fetches at a time (one for each address, which waits so long), and for one address in a minute.
AT_ONCE: Final = 4
PATIENCE_S: Final = 1.0
PER_MINUTE: Final = 120
#: How many wait for a fetch that is under way, and for how long: a little more than it may take.
WAITING: Final = 8
SHARED_S: Final = 6.0
#: What people are told of a document that did not come. Why it did not may say something of a network that is not
#: theirs, so that stands in the log alone.
NOT_HAD: Final = "The client's document cannot be had at its address, or is none of this client."
_MAX_AGE: Final = re.compile(r'(?:^|[\s,])max-age="?([0-9]{1,9})"?(?=$|[\s,])')
#: Whatever is in a document, everybody can read.
_SECRET: Final = frozenset(("client_secret", "client_secret_expires_at"))
_URL: Final = re.compile(r"https://[^\x00-\x20\x7f-\U0010ffff\"<>\\^`{|}#]+\Z")


class _RefusedError(Exception):
    """What was fetched is no document of a client; `down` if the site says that it cannot answer now.

    `told`: who wrote the document has named this very client there, and may know what is wrong with it.
    """

    def __init__(self, why: str, *, down: bool = False, told: bool = False) -> None:
        super().__init__(why)
        self.why, self.down, self.told = why, down, told


class Documents:
    """Knows clients by their documents, through the store; one for each control app."""

    def __init__(self) -> None:
        self._failures = Failures(lasting_s=FAILED_S)
        self._window = Window(limit=PER_MINUTE, seconds=60)
        self._slots = Slots(total=AT_ONCE)
        self._flights: Flights[StoredClient] = Flights(waiting=WAITING)

    def look_up(self, control: Control, url: str, *, address: str, redirect_uri: str) -> StoredClient:
        """Return the client whose id is `url`, fetched unless what is known is fresh. Raises `OAuthError`.

        What is known is not enough either where it lacks `redirect_uri`. It counts until it is a day old while the
        site is down, but not where that says something else. `address` is whose browser asks: nobody makes this
        machine fetch without end.
        """
        _check_url(url, control)
        with control.store.reading() as connection:
            known = stored.get(connection, url)
        fresh = known is not None and (known.expires_at or 0) > control.now()
        if known is not None and fresh and redirects.matches(redirect_uri, known.metadata["redirect_uris"]):
            return known
        try:
            return self._fetch_shared(control, url, known, address, patience_s=SHARED_S)
        except UnreachedError:
            if known is not None and known.created_at + MOST_S > control.now():
                return known
            raise

    def refreshed(self, control: Control, known: StoredClient, *, address: str) -> StoredClient:
        """Return a client that is known, fetched again where that is neither fresh nor five minutes old.

        Where that fails in any way, what is known counts until it is a day old, so that nobody is signed out because
        the site of a client was broken for a moment. Raises `OAuthError`.
        """
        _check_url(known.id, control)
        if max(known.expires_at or 0, known.created_at + FRESH_S) > control.now():
            return known
        try:
            return self._fetch_shared(control, known.id, known, address, patience_s=0)
        except OAuthError:
            if known.created_at + MOST_S > control.now():
                return known
            raise

    def _fetch_shared(
        self, control: Control, url: str, known: StoredClient | None, address: str, *, patience_s: float
    ) -> StoredClient:
        """Fetch a document, or wait so long for somebody else's fetch of it. Raises `OAuthError`."""
        return self._flights.share(
            url, lambda: self._fetch_guarded(control, url, known, address), patience_s=patience_s
        )

    def _fetch_guarded(self, control: Control, url: str, known: StoredClient | None, address: str) -> StoredClient:
        now = control.now()
        with control.store.reading() as connection:
            found = stored.get(connection, url)
        if found is not None and (known is None or found.created_at > known.created_at):
            return found  # somebody else's fetch ended just now
        self._failures.check(url, now)
        if not self._window.take(address, now):
            raise LimitedError("invalid_client", "Too many clients were looked up. Try again in a minute.", status=429)
        with self._slots.hold(address, patience_s=PATIENCE_S) as held:
            if not held:
                raise LimitedError("invalid_client", "Too many clients are being looked up. Try again.", status=503)
            try:
                return self._fetch(control, url, known)
            except FetchError as error:
                down, detail, told = not error.answered, error.message, NOT_HAD
            except _RefusedError as error:
                down, detail = error.down, error.why
                told = f"The client's document cannot be used: {detail.rstrip('.')}." if error.told else NOT_HAD
        log.warning("the document of a client cannot be used", client_id=url, why=detail)
        why = (UnreachedError if down else OAuthError)("invalid_client", told, status=401)
        self._failures.note(url, why, now)
        raise why

    def _fetch(self, control: Control, url: str, known: StoredClient | None) -> StoredClient:
        found = fetch(url, headers={"Accept": "application/json"}, max_bytes=MAX_BYTES, **how(control))
        document = _read(found, url)
        now = control.now()
        client = StoredClient(
            id=url,
            kind="document",
            name=document["client_name"],
            metadata=document,
            created_at=now,
            expires_at=now + fresh_for(found.headers.get("cache-control", "")),
            used_at=None if known is None else known.used_at,
        )
        with control.store.changing() as connection:
            stored.put(connection, client)
            stored.forget_documents(connection)
        return client


def how(control: Control) -> dict[str, Any]:
    """Return how far the URLs of clients may lead."""
    oauth = control.config.oauth
    if not oauth.danger_loopback_clients:
        return {"reach": Reach.PUBLIC}
    return {
        "reach": Reach.LOOPBACK,
        "ca_file": None if oauth.ca_file is None else control.config.folder / oauth.ca_file,
    }


def is_url(client_id: str) -> bool:
    """Whether a client id is meant to be the URL of a document."""
    return client_id.lower().startswith(("https:", "http:"))


def url_fault(url: str, control: Control) -> str | None:
    """Say why `url` cannot be the id of a client, or `None`: it must be written in its one plain form."""
    if _URL.match(url) is None or len(url) > MAX_URL:
        return "is not an https URL"
    authority, slash, path = url.removeprefix("https://").partition("/")
    parts = split_address(authority)
    host = canonical_host(parts[0]) if parts else None
    if parts is None or host is None or authority != bracketed(host) + ("" if not parts[1] else f":{parts[1]}"):
        return "does not name a host in its plain form"
    segments = unquote(path.partition("?")[0]).split("/")
    if not slash or not path.partition("?")[0] or "." in segments or ".." in segments:
        return "has no plain path"
    allowed = control.config.oauth.allowed_client_id_domains
    if allowed and host not in allowed:
        return "is of a domain whose clients are not taken here"
    reach: Reach = how(control)["reach"]
    try:
        target = read_url(url, reach)
        if target.literal is not None:
            check_address(target.literal, target, reach)
    except UnreachableError:
        return "does not lead to a public site"
    return None


def fresh_for(cache_control: str) -> int:
    """Return for how many seconds a document counts as fresh (RFC 9111 section 5.2.2), `MOST_S` at most."""
    said = cache_control.lower()
    if "no-store" in said or "no-cache" in said:
        return 0
    found = _MAX_AGE.search(said)
    return FRESH_S if found is None else min(int(found[1]), MOST_S)


def _check_url(url: str, control: Control) -> None:
    """Raise `OAuthError` if `url` cannot be the id of a client, which costs nothing to see."""
    fault = url_fault(url, control)
    if fault is not None:
        raise OAuthError("invalid_client", f"The client id {fault}.", status=401)


def _read(found: Fetched, url: str) -> dict[str, Any]:
    """Return the members of a document that count here."""
    if found.status != 200:
        raise _RefusedError(f"the answer has status {found.status}", down=found.status == 429 or found.status >= 500)
    try:
        said = strictjson.parse(found.body)
    except strictjson.StrictJsonError as error:
        raise _RefusedError(f"it is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise _RefusedError("it is no JSON object")
    if said.get("client_id") != url:
        raise _RefusedError("its client_id is not the URL that it was fetched from")
    try:
        return _members(said, url)
    except MetadataError as error:
        raise _RefusedError(str(error), told=True) from None


def _members(said: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Return what counts of a document that names this client. Raises `MetadataError`."""
    name = said.get("client_name")
    if not isinstance(name, str) or not name.strip():
        raise MetadataError("it has no client_name")
    clientmetadata.check_response_types(said)
    return {
        "client_id": url,
        "client_name": name[:200],
        "redirect_uris": clientmetadata.redirect_uris(said, most=MAX_REDIRECTS),
        "grant_types": clientmetadata.grant_types(said),
        **_authentication(said),
    }


def _authentication(said: Mapping[str, Any]) -> dict[str, Any]:
    method = said.get("token_endpoint_auth_method", "none")
    if _SECRET.intersection(said) or method not in ("none", "private_key_jwt"):
        raise MetadataError("it names a shared secret; `none` and `private_key_jwt` are taken")
    if method == "none":
        return {"token_endpoint_auth_method": "none"}
    keys, address = said.get("jwks"), said.get("jwks_uri")
    if isinstance(keys, dict) and address is None:
        return {"token_endpoint_auth_method": method, "jwks": keys}
    if isinstance(address, str) and keys is None and urlsplit(address).scheme == "https":
        return {"token_endpoint_auth_method": method, "jwks_uri": address}
    raise MetadataError("`private_key_jwt` needs `jwks` or an https `jwks_uri`, one of the two")
