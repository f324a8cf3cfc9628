"""What an OpenID provider says of itself, fetched and kept: its discovery document and its keys.

Both are fetched again after an hour. While the provider cannot be reached, what it said last counts for a day. One
thread at a time fetches a document, others do with what was said last, and what could not be had is not asked for again
for half a minute, or 3 seconds where there is nothing else to go by: a provider that hangs holds up those who need it,
briefly, and nobody else. What cannot be used never takes the place of what can.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard
from urllib.parse import urlsplit

from ostiary.addresses import is_loopback
from ostiary.errors import OperationError
from ostiary.fetch import FetchError, Reach, fetch_json
from ostiary.fields import ALGORITHMS
from ostiary.identity import presets
from ostiary.identity.asking import RETRY_S, Looks, Queue
from ostiary.store import documents

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostiary.config import ProviderSection
    from ostiary.control import Control

FRESH_S: Final = 3600
LAST_GOOD_S: Final = 24 * 3600
MAX_BYTES: Final = 256 * 1024
TIMEOUT_S: Final = 5.0
#: After a failure, a document is not asked for again for so long, while the last good one serves.
FAILED_S: Final = 30
#: How long one who cannot do without a document waits for another thread that fetches it, and how many may.
WAIT_S: Final = 1.0
MAX_WAITING: Final = 4

_GUARD: Final = threading.Lock()
#: By store and URL: providers are few, as only the configuration and their documents name them.
_LOCKS: Final[defaultdict[tuple[str, str], threading.Lock]] = defaultdict(threading.Lock)
_FAILED: Final[dict[tuple[str, str], tuple[int, str]]] = {}
_QUEUE: Final = Queue(most=MAX_WAITING, wait_s=WAIT_S)
_LOOKS: Final = Looks()


class ProviderError(OperationError):
    """The provider cannot be reached, or does not say what a provider says. The person may be as good as ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A provider's metadata (OpenID Connect Discovery section 3), as far as it is used."""

    issuer: str
    """As in the document: a template where `all_tenants`."""
    all_tenants: bool
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    jwks_uri: str
    algorithms: tuple[str, ...]
    """Those of its signature algorithms that are taken; never `none`, never one by a shared secret."""
    auth_methods: tuple[str, ...]
    scopes: frozenset[str] | None
    names_itself: bool
    """Whether every authorization response carries `iss` (RFC 9207)."""


def metadata(control: Control, section: ProviderSection) -> Metadata:
    """Return the metadata of a provider. Raises `ProviderError`."""
    url = section.issuer.removesuffix("/") + "/.well-known/openid-configuration"
    return _read(_document(control, url, lambda found: _read(found, section), again=False), section)


def keys(control: Control, found: Metadata, *, again: bool = False) -> list[dict[str, Any]]:
    """Return the provider's keys as they are; `again` asks for them anew, as often as that is allowed."""
    return _keys(_document(control, found.jwks_uri, _keys, again=again))


def _keys(document: dict[str, Any]) -> list[dict[str, Any]]:
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ProviderError("the provider's key set is none")
    return [key for key in listed if isinstance(key, dict)]


def _document(control: Control, url: str, check: Callable[[dict[str, Any]], object], *, again: bool) -> dict[str, Any]:
    """Return the document at `url`. What does not pass `check`, which raises `ProviderError`, is as good as none."""
    kept, now = documents.get(control.store, url), control.now()
    if _is_fresh(kept, now) and not again:
        return _object(kept.body)
    key = (str(control.store.path.database), url)
    if (why := _failed(key, kept, now, again=again)) is not None:
        return _last_good(kept, now, why)
    with _GUARD:
        lock = _LOCKS[key]
    if not _QUEUE.take(lock, wait=again or not _counts(kept, now)):
        return _last_good(kept, now, "the provider has not answered yet")
    try:
        # Another thread may have asked, well or in vain, while this one waited.
        before, kept = kept, documents.get(control.store, url)
        if (why := _failed(key, kept, now, again=again)) is not None:
            return _last_good(kept, now, why)
        if _is_fresh(kept, now) and (not again or kept != before or not _LOOKS.take(" ".join(key), now)):
            return _object(kept.body)
        return _fetched(control, key, check, kept, now)
    finally:
        lock.release()


def _fetched(
    control: Control,
    key: tuple[str, str],
    check: Callable[[dict[str, Any]], object],
    kept: documents.Stored | None,
    now: int,
) -> dict[str, Any]:
    try:
        body = fetch_json(key[1], reach=Reach.CONFIGURED, max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S)
        check(body)
    except (FetchError, ProviderError) as error:
        _FAILED[key] = (control.now(), error.message)
        return _last_good(kept, now, error.message)
    _FAILED.pop(key, None)
    documents.keep(control.store, key[1], documents.Stored(body=json.dumps(body), fetched_at=now))
    return body


def _is_fresh(kept: documents.Stored | None, now: int) -> TypeGuard[documents.Stored]:
    return kept is not None and 0 <= now - kept.fetched_at < FRESH_S


def _counts(kept: documents.Stored | None, now: int) -> TypeGuard[documents.Stored]:
    return kept is not None and now - kept.fetched_at < LAST_GOOD_S


def _failed(key: tuple[str, str], kept: documents.Stored | None, now: int, *, again: bool) -> str | None:
    """Return why the document could not be had a moment ago, while it is too early to ask again."""
    at, why = _FAILED.get(key, (0, ""))
    return why if 0 <= now - at < (FAILED_S if _counts(kept, now) and not again else RETRY_S) else None


def _last_good(kept: documents.Stored | None, now: int, why: str) -> dict[str, Any]:
    """Return what the provider said last, where that still counts. Raises `ProviderError`."""
    if not _counts(kept, now):
        raise ProviderError(why)
    return _object(kept.body)


def _object(text: str) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(text)
    return kept


def _read(document: dict[str, Any], section: ProviderSection) -> Metadata:
    issuer = document.get("issuer")
    all_tenants = isinstance(issuer, str) and presets.is_for_all_tenants(section, issuer)
    if not isinstance(issuer, str) or (issuer != section.issuer and not all_tenants):
        raise ProviderError(
            "the provider calls itself by another issuer than the configuration does",
            hint="`issuer` must be what its discovery document says, to the last character",
        )
    algorithms = _texts(document, "id_token_signing_alg_values_supported") or ("RS256",)
    scopes = _texts(document, "scopes_supported")
    return Metadata(
        issuer=issuer,
        all_tenants=all_tenants,
        authorization_endpoint=_endpoint(document, "authorization_endpoint", section),
        token_endpoint=_endpoint(document, "token_endpoint", section),
        userinfo_endpoint=_maybe(document, "userinfo_endpoint", section),
        end_session_endpoint=_maybe(document, "end_session_endpoint", section),
        jwks_uri=_endpoint(document, "jwks_uri", section),
        algorithms=tuple(name for name in ALGORITHMS if name in algorithms),
        auth_methods=_texts(document, "token_endpoint_auth_methods_supported") or ("client_secret_basic",),
        scopes=None if scopes is None else frozenset(scopes),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = document.get(name)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else None


def _maybe(document: dict[str, Any], name: str, section: ProviderSection) -> str | None:
    return None if document.get(name) is None else _endpoint(document, name, section)


def _endpoint(document: dict[str, Any], name: str, section: ProviderSection) -> str:
    """Return a URL of the document: https, or like the issuer http on this machine."""
    value = document.get(name)
    try:
        url = urlsplit(value) if isinstance(value, str) and value.isascii() and value.isprintable() else None
        host = None if url is None else url.hostname
    except ValueError:
        url = host = None
    if (
        url is None
        or host is None
        or url.fragment
        or url.username is not None
        or any(c in ' "<>\\' for c in url.geturl())
    ):
        raise ProviderError(f"the provider's `{name}` is no URL")
    local = section.issuer.startswith("http://") and url.scheme == "http" and is_loopback(host)
    if url.scheme != "https" and not local:
        raise ProviderError(f"the provider's `{name}` is not encrypted")
    return str(value)
