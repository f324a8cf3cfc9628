"""The key sets of others, fetched from the URLs that the configuration names, and kept in the store.

A set is fetched anew every five minutes, and early where a token names a key that is not in it: five times in a row,
then every 12 seconds. If its issuer cannot be reached, or answers with a set that must not be used, the last good one
serves for 24 hours, over restarts too; then there is none, and what it would verify is refused. How old a set is counts
by the wall clock, so a clock that is set back makes a set of the future unusable until it has been fetched again.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from ostiary import strictjson
from ostiary.fetch import FetchError, Reach, fetch
from ostiary.fields import ALGORITHMS
from ostiary.identity.asking import RETRY_S, Looks, Queue
from ostiary.identity.discovery import MAX_WAITING, WAIT_S
from ostiary.jwks import JwksError, Key, parse_keys
from ostiary.reachable import UnreachableError, read_url
from ostiary.store import documents
from ostiary.store.documents import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ostiary.config import AgentSection, Config, ServiceSection
    from ostiary.configidentity import JwksSection
    from ostiary.store import Store

    Check = Callable[[bytes], None]

FRESH_S: Final = 300
#: A set that could not be refreshed for this long is believed no more.
STALE_S: Final = 24 * 3600
#: However many ask, a URL that failed is left alone for so long while the last good set serves, and one that a client
#: named in any case.
PAUSE_S: Final = 30
MAX_BYTES: Final = 256 * 1024
MAX_CLIENT_BYTES: Final = 64 * 1024
#: Of how many clients keys are kept in memory.
MAX_CLIENTS: Final = 500
#: How many of the sites that clients name are asked at once, so that slow ones leave room for everybody else.
MAX_FETCHES: Final = 4
TIMEOUT_S: Final = 5.0
#: `refresh` asks so many URLs at once, and takes no longer than this in all.
MAX_AT_ONCE: Final = 32
REFRESH_S: Final = 6.0

log = structlog.get_logger()


class DocumentError(Exception):
    """What was fetched cannot be used. The message completes `URL …`."""


@dataclass(slots=True)
class _Place:
    """What is known of one URL besides its document. Whoever holds the lock may fetch."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    failed_at: int | None = None
    wanted: bool = False
    told: str | None = None

    def is_due(self, document: Stored | None, now: int) -> bool:
        """Whether to ask, or for a key that is not known to see whether one may."""
        briefly = self.wanted or document is None or not _usable(document, now)
        if self.failed_at is not None and 0 <= now - self.failed_at < (RETRY_S if briefly else PAUSE_S):
            return False
        return self.wanted or not _is_fresh(document, now)


@dataclass(slots=True)
class _Client:
    """What a client's URL brought. `tried_at` is set before it is asked, so that a slow one is asked once."""

    tried_at: int
    fetching: bool = True
    fetched_at: int | None = None
    body: bytes | None = None

    def is_due(self, now: int, *, unknown: bool) -> bool:
        """Whether to ask again."""
        again = unknown or not self.usable(now)
        return not self.fetching and not 0 <= now - self.tried_at < (PAUSE_S if again else FRESH_S)

    def usable(self, now: int) -> bytes | None:
        """Return what counts now."""
        fresh = self.fetched_at is not None and 0 <= now - self.fetched_at < FRESH_S
        return self.body if fresh else None


class RemoteKeys:
    """The fetched key sets of one gateway. Methods may be called from any thread; some fetch, and say so."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        """Keep documents in `store`; `clock` returns seconds since the epoch."""
        self._store = store
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._of_clients: dict[tuple[str, Reach], _Client] = {}
        self._fetches = threading.BoundedSemaphore(MAX_FETCHES)
        self._queue = Queue(most=MAX_WAITING, wait_s=WAIT_S)
        self._looks = Looks()
        self._lock = threading.Lock()

    def keys(self, url: str, algorithms: Sequence[str], *, now: int) -> tuple[Key, ...]:
        """Return the last good keys of `url` that are good for one of `algorithms`; none if they are too old."""
        document = documents.get(self._store, url)
        if document is None or not _usable(document, now):
            return ()
        try:
            return parse_keys(document.body.encode(), algorithms)
        except JwksError:
            return ()

    def refresh(self, urls: Iterable[str]) -> bool:
        """Fetch those key sets that are due, and return whether any of `urls` says something else than it last did.

        To say nothing any more, since it is too old, is something else too. Takes at most `REFRESH_S`; what comes later
        counts the next time.
        """
        changed, names = False, sorted(set(urls))
        self._fetch_all(names)
        for url in names:
            place = self._place(url)
            document = documents.get(self._store, url)
            said = document.body if document is not None and _usable(document, self._clock()) else None
            changed |= said != place.told
            place.told = said
        return changed

    def miss(self, url: str) -> None:
        """Have the set fetched at the next refresh that may: a token named a key that is not in it."""
        self._place(url).wanted = True

    def current(self, url: str, algorithms: Sequence[str], *, unknown: bool = False) -> tuple[Key, ...]:
        """Return the keys of `url`, fetched first where that is due; `unknown` says that a key was not among them."""
        if unknown:
            self.miss(url)
        self._fetch_if_due(url, _check_keys)
        return self.keys(url, algorithms, now=self._clock())

    def discover(self, issuer: str) -> str | None:
        """Return where `issuer` publishes its keys, by its OpenID metadata, fetched first where that is due."""
        url = issuer.removesuffix("/") + "/.well-known/openid-configuration"

        def check(body: bytes) -> None:
            _jwks_uri(body, issuer)

        self._fetch_if_due(url, check)
        document = documents.get(self._store, url)
        if document is None or not _usable(document, self._clock()):
            return None
        try:
            return _jwks_uri(document.body.encode(), issuer)
        except DocumentError:
            return None

    def of_client(
        self, url: str, algorithms: Sequence[str], *, reach: Reach, ca_file: Path | None, unknown: bool
    ) -> tuple[Key, ...]:
        """Return the keys at a URL that a client named, fetched first where that is due.

        Anybody may be such a client, so keys are kept in memory alone, for five minutes, and of 500 clients at most;
        and nobody waits for the site of another: while a URL is asked, or too many others are, there are only the keys
        that are still good. `unknown` is as for `current`.
        """
        now, place = self._clock(), (url, reach)  # what a wider reach brought is nothing for a narrower one
        with self._lock:
            kept = self._of_clients.get(place)
            if (kept is None or kept.is_due(now, unknown=unknown)) and self._fetches.acquire(blocking=False):
                kept = self._begin(place, now)
                asks = True
            else:
                asks = False
        if asks and kept is not None:
            try:
                body = _try(url, reach, ca_file)
            finally:
                kept.fetching = False
                self._fetches.release()
            if body is not None:
                kept.body, kept.fetched_at = body, now
        try:
            body = None if kept is None else kept.usable(now)
            return () if body is None else parse_keys(body, algorithms)
        except JwksError:
            return ()

    def _begin(self, place: tuple[str, Reach], now: int) -> _Client:
        """Note that a client's URL is about to be asked; those asked longest ago are forgotten. Holds the lock."""
        before = self._of_clients.pop(place, None)
        kept = _Client(tried_at=now)
        if before is not None:
            kept.fetched_at, kept.body = before.fetched_at, before.body
        self._of_clients[place] = kept
        for old in [each for each, known in self._of_clients.items() if not known.fetching]:
            if len(self._of_clients) <= MAX_CLIENTS:
                break
            del self._of_clients[old]
        return kept

    def _place(self, url: str) -> _Place:
        with self._lock:
            return self._places.setdefault(url, _Place())

    def _fetch_all(self, urls: Sequence[str]) -> None:
        now = self._clock()
        due = [url for url in urls if self._place(url).is_due(documents.get(self._store, url), now)]
        if not due:
            return
        pool = ThreadPoolExecutor(min(len(due), MAX_AT_ONCE), thread_name_prefix="ostiary-keys")
        try:
            asked = [pool.submit(self._fetch_if_due, url, _check_keys) for url in due]
            for each in wait(asked, timeout=REFRESH_S).done:
                each.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _fetch_if_due(self, url: str, check: Check) -> None:
        place = self._place(url)
        # Whoever finds a fetch under way goes by what is there, if anything is.
        known = documents.get(self._store, url)
        if not self._queue.take(place.lock, wait=known is None or not _usable(known, self._clock())):
            return
        try:
            now, document = self._clock(), documents.get(self._store, url)
            if not place.is_due(document, now) or (_is_fresh(document, now) and not self._looks.take(url, now)):
                return
            place.wanted = False
            try:
                body = _get(url)
                check(body)
            except (FetchError, DocumentError, JwksError) as error:
                place.failed_at = self._clock()
                what = f"{url} cannot be used:" if isinstance(error, JwksError) else url
                why = str(error) if isinstance(error, FetchError) else f"{what} {error}"
                until = "" if document is None else "; what it said last serves for 24 hours"
                log.warning(f"{why}{until}")
                return
            place.failed_at = None
            documents.keep(self._store, url, Stored(body=body.decode(), fetched_at=now))
        finally:
            place.lock.release()


def urls_of(config: Config) -> frozenset[str]:
    """Return every URL of a key set that `config` names: what to refresh."""
    sections: list[JwksSection | None] = [issuer.jwks for issuer in config.issuers.values()]
    holders: list[AgentSection | ServiceSection] = [*config.agents.values(), *config.services.values()]
    for holder in holders:
        for credential in holder.credentials:
            parts = (credential.private_key_jwt, credential.federated)
            sections += [part.jwks for part in parts if part is not None]
    return frozenset(section.url for section in sections if section is not None and section.url is not None)


def issuer_keys(config: Config, remote: RemoteKeys, *, now: int) -> Mapping[str, tuple[Key, ...]]:
    """Return the fetched keys of each of `identity.issuers` that has a URL, by name: what to compile with."""
    return {
        name: remote.keys(issuer.jwks.url, issuer.algorithms, now=now)
        for name, issuer in config.issuers.items()
        if issuer.jwks.url is not None
    }


def _is_fresh(document: Stored | None, now: int) -> bool:
    return document is not None and 0 <= now - document.fetched_at < FRESH_S


def _usable(document: Stored, now: int) -> bool:
    return 0 <= now - document.fetched_at <= STALE_S


def _get(url: str) -> bytes:
    answer = fetch(url, reach=Reach.CONFIGURED, max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S)
    if answer.status != 200:
        raise DocumentError(f"cannot be fetched: the answer has status {answer.status}")
    return answer.body


def _try(url: str, reach: Reach, ca_file: Path | None) -> bytes | None:
    try:
        answer = fetch(url, reach=reach, max_bytes=MAX_CLIENT_BYTES, timeout_s=TIMEOUT_S, ca_file=ca_file)
    except FetchError:
        return None
    return answer.body if answer.status == 200 else None


def _check_keys(body: bytes) -> None:
    parse_keys(body, ALGORITHMS)


def _jwks_uri(body: bytes, issuer: str) -> str:
    """Return `jwks_uri` of the metadata of `issuer` (OpenID Connect Discovery 1.0 section 4.3)."""
    try:
        found = strictjson.parse(body)
    except strictjson.StrictJsonError as error:
        raise DocumentError(f"holds no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("issuer") != issuer:
        raise DocumentError("is not the metadata of its issuer")
    uri = found.get("jwks_uri")
    try:
        read_url(uri if isinstance(uri, str) else "", Reach.CONFIGURED)
    except UnreachableError as error:
        raise DocumentError(f"names a jwks_uri that cannot be used: {error}") from None
    return str(uri)
