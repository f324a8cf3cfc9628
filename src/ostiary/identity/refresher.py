"""Is she still there? Asks providers again, with the refresh tokens that they gave, about people in use.

The bounds, for a person who leaves or loses a group at the provider:

* In the background everybody with a grant or a session is asked about every 5 minutes (`CHECK_S`), and the runtime
  calls every 30 seconds. From the provider's answer on, nothing that acts in her name works.
* Whoever refreshes a token is asked about if the last word is older than a minute (`ASK_S`).
* While the provider cannot be asked its last word counts for an hour (`accounts.LAST_WORD_S`); then no token is
  issued and no session counts. An access token that was issued before lives on to its end.
* Where the provider gave no refresh token, the person counts as there for 8 hours from the sign-in.
* Other changes (a group more, another address or claim) are in the next token, so at most `oauth.access_token_ttl`
  and 5 minutes later.
"""

from __future__ import annotations

import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from ostiary.errors import OstiaryError
from ostiary.identity import oidc, presets
from ostiary.identity.discovery import WAIT_S, ProviderError
from ostiary.identity.sessions import may_act
from ostiary.store import accounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostiary.config import ProviderSection
    from ostiary.control import Control, Epoch
    from ostiary.identity.accounts import Account
    from ostiary.store.accounts import Kept

Outcome = Literal["not_asked", "answered", "in_vain"]

CHECK_S: Final = 300
ASK_S: Final = 60
#: One call of `tick` asks each provider about so many at most, for so long, and so many providers at once.
BATCH: Final = 500
BUDGET_S: Final = 20.0
MAX_AT_ONCE: Final = 8
#: After so many questions in vain, one after the other, a provider is left alone until the next call of `tick`.
MAX_IN_VAIN: Final = 5
#: Claims that stay as they are when the provider answers without an ID token.
_LASTING: Final = frozenset({"sub", "oid", "tid", "hd", "auth_time", "acr", "amr", "xms_edov"})
_UNCONFIRMED: Final = "unconfirmed"

# A refresh token that rotates may be used by one thread only.
_LOCKS: Final = [threading.Lock() for _ in range(64)]
#: When somebody was last asked about in vain, so that a provider that is down is not asked at each refresh.
_IN_VAIN: Final[dict[tuple[str, str], int]] = {}
_MAX_KEPT: Final = 10_000


def tick(control: Control) -> None:
    """Ask about the people who are due. The runtime calls this every 30 seconds, in a thread of its own.

    Each provider is asked in a thread of its own too, so that one that hangs takes no time from the others.
    """
    providers = list(control.config.providers)
    if not providers:
        return
    with ThreadPoolExecutor(min(len(providers), MAX_AT_ONCE), thread_name_prefix="ostiary-refresher") as pool:
        failures = [each for each in pool.map(partial(_ask_about_due, control), providers) if each is not None]
    if failures:
        raise failures[0]


def _ask_about_due(control: Control, provider: str) -> OstiaryError | None:
    """Ask one provider about those of its people who are due; returns a failure that was not the provider's."""
    now, until = control.now(), time.monotonic() + BUDGET_S
    in_vain = 0
    failure: OstiaryError | None = None
    for account in accounts.due(control.store, provider, before=now - CHECK_S, now=now, limit=BATCH):
        if time.monotonic() > until or in_vain == MAX_IN_VAIN:
            break
        try:
            outcome = _look(control, account.id, CHECK_S)[1]
        except OstiaryError as error:
            failure = error
            continue
        if outcome == "answered":
            in_vain = 0
        elif outcome == "in_vain":
            in_vain += 1
    return failure


def confirm(control: Control, account_id: str) -> Account | None:
    """Return the account if the person is still there, so that a token may be refreshed; None refuses.

    Whoever issues on the strength of this looks at the epochs afterwards: the answer may have revoked.
    """
    return _look(control, account_id, ASK_S)[0]


def enforce_lost_groups(control: Control, kept: Kept) -> None:
    """Put in force what the store revoked with an account, as the person has lost groups."""
    if kept.epochs:
        detail = {"provider": kept.account.provider, "groups": list(kept.lost[:20])}
        _enforce(control, kept.account, kept.epochs, "groups_removed", detail)


# One person -----------------------------------------------------------------------------------------------------------


def _look(control: Control, account_id: str, older_than: int) -> tuple[Account | None, Outcome]:
    """Return the account, if the person may act, and what became of asking the provider, where that was due."""
    account = accounts.get(control.store, account_id)
    if account is None or not may_act(control, account):
        return None, "not_asked"
    if not _is_due(account, control.now(), older_than):
        return _if_held(account, control.now()), "not_asked"
    lock = _LOCKS[zlib.crc32(account_id.encode()) % len(_LOCKS)]
    # Somebody is asking: her last word will do, where it counts. Threads must not queue for a provider that hangs.
    if not lock.acquire(timeout=0 if account.holds(control.now()) else WAIT_S):
        return _if_held(account, control.now()), "not_asked"
    try:
        return _look_alone(control, account_id, older_than)
    finally:
        lock.release()


def _look_alone(control: Control, account_id: str, older_than: int) -> tuple[Account | None, Outcome]:
    # Somebody else may have asked, or the person may have signed out, while this thread waited.
    account = accounts.get(control.store, account_id)
    now, key = control.now(), (str(control.store.path.database), account_id)
    if account is None or not _is_due(account, now, older_than) or 0 <= now - _IN_VAIN.get(key, -ASK_S) < ASK_S:
        return _if_held(account, now), "not_asked"
    try:
        return _ask(control, control.config.providers[account.provider], account), "answered"
    except (ProviderError, oidc.NotBelievedError):
        if len(_IN_VAIN) >= _MAX_KEPT:
            _IN_VAIN.clear()
        _IN_VAIN[key] = now
        return _if_held(account, now), "in_vain"


def _is_due(account: Account, now: int, older_than: int) -> bool:
    return account.renewable and account.ended_at is None and now - account.checked_at >= older_than


def _if_held(account: Account | None, now: int) -> Account | None:
    return account if account is not None and account.holds(now) else None


def _ask(control: Control, section: ProviderSection, account: Account) -> Account | None:
    token = accounts.refresh_token(control.store, account.id)
    if token is None:
        return None
    before = token

    def keep(following: str) -> None:
        accounts.keep_refresh_token(control.store, account.id, before, following)

    try:
        sub = str(account.claims.get("sub", account.subject))
        answer = oidc.refresh(control, section, refresh_token=token, sub=sub, keep=keep)
        claims = answer.claims if answer.fresh else _confirmed(account.claims, answer.claims)
        said = presets.profile(section, claims, all_tenants=answer.all_tenants)
    except oidc.GrantEndedError:
        _end(control, account, "left")
        return None
    except presets.NotOursError:
        _end(control, account, "not_ours")
        return None
    if said.subject != account.subject:
        raise oidc.NotBelievedError("the provider's answer speaks of another person")
    changed = replace(
        account,
        email=said.email,
        name=said.name,
        groups=said.groups,
        groups_error=said.groups_error,
        claims=claims,
        checked_at=control.now(),
    )
    kept = accounts.checked(control.store, changed)
    if kept is None:
        return None
    enforce_lost_groups(control, kept)
    return kept.account


def _confirmed(before: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known after an answer without an ID token: what it does not repeat is not to be had."""
    names = before.get("_claim_names")
    gone = {name for name in before if name not in said and name not in _LASTING and not name.startswith("_")}
    gone |= {name for name, why in names.items() if why == _UNCONFIRMED} if isinstance(names, dict) else set()
    elsewhere = said.get("_claim_names")
    lasting = {name: value for name, value in before.items() if name in _LASTING}
    marks = {name: _UNCONFIRMED for name in sorted(gone) if name not in said}
    known = {**lasting, **said}
    if marks:
        known["_claim_names"] = {**marks, **(elsewhere if isinstance(elsewhere, dict) else {})}
    return known


def _end(control: Control, account: Account, why: str) -> None:
    revoked = accounts.end(control.store, account.id, now=control.now(), why=why)
    if not revoked:
        return
    try:
        _enforce(control, account, revoked, why, {"provider": account.provider})
    finally:
        if account.person is not None:
            control.registry_changed(None)


def _enforce(control: Control, account: Account, epochs: Sequence[Epoch], why: str, detail: dict[str, Any]) -> None:
    principal = {"type": "human", "id": account.id}
    control.revoke(epochs, None, why=why, principal=principal, detail=detail)
