"""Is she still there? Asks providers again, with the refresh tokens that they gave, about people in use.

The bounds, for a person who leaves or loses a group at the provider:

* In the background everybody with a grant or a session is asked about every 5 minutes (`CHECK_S`), and the runtime
  calls every 30 seconds. From the provider's answer on, nothing that acts in her name works.
* Whoever refreshes a token is asked about at once; only an answer that is under way or 2 seconds old (`SHARED_S`) is
  shared. So is whoever gets a code without a page, unless the last word is of 3 seconds ago at most (`RETURN_S`).
* While the provider cannot be asked its last word counts for an hour (`accounts.LAST_WORD_S`); then no token is
  issued and no session counts. An access token that was issued before lives on to its end. Asked in vain, it is left
  alone for 10 seconds (`PATIENCE_S`). An answer that says no, or cannot be believed, is none to go on by.
* Where the provider gave no refresh token, the person counts as there for 8 hours from the sign-in.
* Other changes (a group more, another address or claim) are in the next token, so at most `oauth.access_token_ttl`
  and 5 minutes later.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakValueDictionary

from ostiary.errors import OstiaryError
from ostiary.identity import oidc, presets
from ostiary.identity.accounts import AHEAD_S
from ostiary.identity.discovery import WAIT_S, ProviderError
from ostiary.identity.sessions import may_act
from ostiary.store import accounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostiary.config import ProviderSection
    from ostiary.control import Control, Epoch
    from ostiary.identity.accounts import Account
    from ostiary.store.accounts import Kept

Outcome = Literal["not_asked", "answered", "refused", "in_vain"]
#: What for: a token is refreshed, a code is given without a page, or nobody waits for it.
Cause = Literal["refresh", "silent", "background"]

CHECK_S: Final = 300
SHARED_S: Final = 2
#: Who comes back from signing in is not asked about again for a code: she would be sent to sign in for ever.
RETURN_S: Final = 3
#: After a question in vain a person is not asked about for so long: in the background, and where somebody waits for it.
SKIP_S: Final = 60
PATIENCE_S: Final = 10
#: One call of `tick` asks each provider about so many at most, for so long, and so many providers at once.
BATCH: Final = 500
BUDGET_S: Final = 20.0
MAX_AT_ONCE: Final = 8
#: After so many questions in vain, one after the other, a provider is left alone until the next call of `tick`.
MAX_IN_VAIN: Final = 5
#: Claims that stay as they are when the provider answers without an ID token.
_LASTING: Final = frozenset({"sub", "oid", "tid", "hd", "auth_time", "acr", "amr", "xms_edov"})
_UNCONFIRMED: Final = "unconfirmed"

#: By store and account, as long as somebody asks: a refresh token that rotates may be used by one thread only.
_LOCKS: Final[WeakValueDictionary[tuple[str, str], threading.Lock]] = WeakValueDictionary()
_GUARD: Final = threading.Lock()
#: When each was last asked about here, and how that ended.
_ASKED: Final[dict[tuple[str, str], tuple[int, Outcome]]] = {}
_MAX_KEPT: Final = 10_000
#: The refresh token that was used and the one that came for it, where that could not be written.
_UNKEPT: Final[dict[tuple[str, str], tuple[str, str]]] = {}


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
    due = accounts.due(control.store, provider, before=now - CHECK_S, after=now + AHEAD_S, now=now, limit=BATCH)
    for account in due:
        if time.monotonic() > until or in_vain == MAX_IN_VAIN:
            break
        try:
            outcome = _look(control, account.id, "background")[1]
        except OstiaryError as error:
            failure = error
            continue
        if outcome in ("answered", "refused"):
            in_vain = 0
        elif outcome == "in_vain":
            in_vain += 1
    return failure


def confirm(control: Control, account_id: str, *, cause: Cause = "refresh") -> Account | None:
    """Return the account if the person is still there, so that a token may be refreshed; None refuses.

    Whoever issues on the strength of this looks at the epochs afterwards: the answer may have revoked.
    """
    return _look(control, account_id, cause)[0]


def enforce_lost_groups(control: Control, kept: Kept) -> None:
    """Put in force what the store revoked with an account, as the person has lost groups."""
    if kept.epochs:
        detail = {"provider": kept.account.provider, "groups": list(kept.lost[:20])}
        _enforce(control, kept.account, kept.epochs, "groups_removed", detail)


# One person -----------------------------------------------------------------------------------------------------------


def _look(control: Control, account_id: str, cause: Cause) -> tuple[Account | None, Outcome]:
    """Return the account, if the person may act, and what became of asking the provider, where that was due."""
    account = accounts.get(control.store, account_id)
    if account is None or not may_act(control, account):
        return None, "not_asked"
    key = (str(control.store.path.database), account_id)
    if (known := _known(account, control.now(), key, cause)) is not None:
        return _as_far_as(known, account, control.now()), "not_asked"
    with _GUARD:
        lock = _LOCKS.setdefault(key, threading.Lock())
    # Somebody is asking about her. If that takes long the last word will do, where it counts: threads must not queue
    # for a provider that hangs, and once it says that she left, what was issued meanwhile ends too.
    mine = lock.acquire(timeout=WAIT_S)
    try:
        # Somebody else may have asked, or the person may have signed out, while this thread waited.
        account = accounts.get(control.store, account_id)
        known = None if account is None else _known(account, control.now(), key, cause)
        if account is None or not mine or known is not None:
            return _as_far_as(known, account, control.now()), "not_asked"
        return _look_alone(control, account, key)
    finally:
        if mine:
            lock.release()


def _look_alone(control: Control, kept: Account, key: tuple[str, str]) -> tuple[Account | None, Outcome]:
    account: Account | None
    outcome: Outcome = "answered"
    try:
        account = _ask(control, control.config.providers[kept.provider], kept)
    except (oidc.NotBelievedError, oidc.RefusedError):
        account, outcome = None, "refused"
    except ProviderError:
        account, outcome = _if_held(kept, control.now()), "in_vain"
    if len(_ASKED) >= _MAX_KEPT:
        _ASKED.clear()
    _ASKED[key] = control.now(), outcome
    return account, outcome


def _known(account: Account, now: int, key: tuple[str, str], cause: Cause) -> Outcome | None:
    """Return what the provider's word is as long as it is not to be asked; None where it is."""
    if not account.renewable or account.ended_at is not None:
        return "answered"
    fresh_s = {"background": CHECK_S, "silent": RETURN_S}.get(cause, -AHEAD_S)
    if -AHEAD_S <= now - account.checked_at < fresh_s:
        return "answered"
    at, outcome = _ASKED.get(key, (0, "not_asked"))
    if outcome == "not_asked" or (outcome != "answered" and at <= account.checked_at):
        return None  # or it was asked in vain, and she has signed in since
    spared_s = (SKIP_S if cause == "background" else PATIENCE_S) if outcome == "in_vain" else SHARED_S
    return outcome if 0 <= now - at < spared_s else None


def _as_far_as(known: Outcome | None, account: Account | None, now: int) -> Account | None:
    """Return the account where what is known of it will do."""
    return None if known == "refused" else _if_held(account, now)


def _if_held(account: Account | None, now: int) -> Account | None:
    return account if account is not None and account.holds(now) else None


def _ask(control: Control, section: ProviderSection, account: Account) -> Account | None:
    before = _refresh_token(control, account.id)
    if before is None:
        return None

    def keep(following: str) -> None:
        # The provider takes the one before no more, and the store may not be writable now.
        _UNKEPT[place] = before, following
        accounts.keep_refresh_token(control.store, account.id, before, following)
        del _UNKEPT[place]

    place = (str(control.store.path.database), account.id)
    try:
        sub = str(account.claims.get("sub", account.subject))
        answer = oidc.refresh(control, section, refresh_token=before, sub=sub, keep=keep)
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


def _refresh_token(control: Control, account_id: str) -> str | None:
    """Return what the provider takes next; what could not be written when it came is written now."""
    kept = accounts.refresh_token(control.store, account_id)
    place = (str(control.store.path.database), account_id)
    before, following = _UNKEPT.get(place, (None, None))
    if kept is None or following is None or kept != before:
        return kept
    accounts.keep_refresh_token(control.store, account_id, kept, following)
    _UNKEPT.pop(place, None)
    return following


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
