"""Signing in and out: the order of steps between the browser, the gateway and the OpenID provider.

A sign-in is bound to one browser by a cookie and to one return by `state`, of which only hashes are kept; it is good
for ten minutes. The signed-in session is made anew at each return, so that nobody can put one under another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from ostiary.control import Person
from ostiary.errors import OstiaryError
from ostiary.identity import attempts, discovery, oidc, presets, sessions
from ostiary.identity.accounts import Account, principal_id, vouched
from ostiary.identity.discovery import ProviderError
from ostiary.identity.refresher import confirm, enforce_lost_groups
from ostiary.identity.sessions import BrowserSession, current, is_from
from ostiary.store import accounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.config import Config, ProviderSection
    from ostiary.control import Control
    from ostiary.store.accounts import Flow

__all__ = [
    "BrowserSession",
    "LegFailedError",
    "Redirect",
    "SignInError",
    "begin",
    "callback",
    "confirm",
    "current",
    "end_session_url",
    "is_from",
    "sign_out",
    "withdraw",
]

log = structlog.get_logger()

FLOW_S: Final = 600
MAX_TARGET: Final = 4096
#: A path below `/oauth/` on this gateway, with a query or without; nothing that leads to another host.
_TARGET: Final = re.compile(r"/oauth/[A-Za-z0-9_.-]+(\?[!-\[\]-~]*)?\Z")
_AGAIN: Final = "Go back to the application and start again."


class SignInError(OstiaryError):
    """The sign-in does not go on. `message` is for the person, `status` for the answer."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class LegFailedError(SignInError):
    """The provider did not sign anybody in, or could not. `target` is where this very browser was to go on to.

    `error` and `description` are what a client is told that had asked for the sign-in (RFC 6749 section 4.1.2.1).
    """

    def __init__(self, status: int, message: str, *, target: str, error: str, description: str) -> None:
        super().__init__(status, message)
        self.target, self.error, self.description = target, error, description


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where to send the browser, and the `Set-Cookie` fields to send along."""

    url: str
    set_cookies: tuple[str, ...] = ()


# In -------------------------------------------------------------------------------------------------------------------


def begin(control: Control, provider: str, target: str, cookies: Mapping[str, str], *, client: str = "") -> Redirect:
    """Send a browser to a provider, to come back to `target`, a path and query of ours.

    `client` is the address that the data plane saw. Raises `LegFailedError`, or another `SignInError`.
    """
    section = control.config.providers.get(provider)
    if section is None:
        raise SignInError(404, "There is no such sign-in provider here.")
    if len(target) > MAX_TARGET or _TARGET.match(target) is None or "#" in target:
        raise SignInError(400, "The address to go on to is not one of this gateway's.")
    if not attempts.may_begin(control, client):
        raise SignInError(429, "Too many sign-ins were begun from your network. Try again in a minute.")
    state, nonce, verifier = sessions.new_secret(), sessions.new_secret(), sessions.new_secret()
    try:
        url = oidc.authorization_url(control, section, state=state, nonce=nonce, verifier=verifier)
    except ProviderError as error:
        raise _refusal(control, provider, target, client, None, error) from None
    now = control.now()
    browser = sessions.cookie(control.config, "browser", cookies)
    fresh = browser is None
    browser = browser or sessions.new_secret()
    flow = accounts.Flow(
        hash=sessions.digest(state),
        browser=sessions.digest(browser),
        provider=provider,
        nonce=nonce,
        verifier=verifier,
        target=target,
        expires_at=now + FLOW_S,
    )
    accounts.add_flow(control.store, flow, now=now)
    set_cookies = (sessions.set_cookie(control.config, "browser", browser),) if fresh else ()
    return Redirect(url=url, set_cookies=set_cookies)


def callback(control: Control, query: Mapping[str, str], cookies: Mapping[str, str], *, client: str = "") -> Redirect:
    """Take a browser that comes back from a provider, and sign the person in.

    Raises `LegFailedError`, or another `SignInError`.
    """
    flow, section = _flow(control, query, cookies, client)
    principal: str | None = None
    try:
        answer = _ask(control, section, flow, query)
        said = presets.profile(section, answer.claims, all_tenants=answer.all_tenants)
        principal = principal_id(flow.provider, said.subject)
        person, by_email = _person(control.config, flow.provider, section, said)
        if accounts.disabled(control.store, [principal] if person is None else [principal, person]):
            raise _DisabledError
    except tuple(_REFUSALS) as error:
        raise _refusal(control, flow.provider, flow.target, client, principal, error) from None
    _LOGGED.pop((str(control.store.path.database), flow.provider), None)
    account = _account(control, flow.provider, said, answer, person)
    return _let_in(control, flow, account, answer, by_email=by_email, cookies=cookies)


def _flow(
    control: Control, query: Mapping[str, str], cookies: Mapping[str, str], client: str
) -> tuple[Flow, ProviderSection]:
    """Return the sign-in that this return belongs to; whatever happens next, it is over with."""
    state = query.get("state")
    flow = None if state is None else accounts.take_flow(control.store, sessions.digest(state))
    if flow is None:
        raise SignInError(400, f"This sign-in is not open, or no longer. {_AGAIN}")
    browser = sessions.cookie(control.config, "browser", cookies)
    section = control.config.providers.get(flow.provider)
    why = None
    if browser is None or sessions.digest(browser) != flow.browser:
        why = ("another_browser", f"This sign-in was begun in another browser. {_AGAIN}")
    elif flow.expires_at <= control.now():
        why = ("expired", f"This sign-in took too long. {_AGAIN}")
    elif section is None:
        why = ("no_provider", f"The sign-in provider is no longer in use. {_AGAIN}")
    if why is not None or section is None:
        code, message = why or ("no_provider", _AGAIN)
        _record_refusal(control, flow.provider, client, None, code, None)
        raise SignInError(400, message)
    return flow, section


def _ask(control: Control, section: ProviderSection, flow: Flow, query: Mapping[str, str]) -> oidc.Answer:
    oidc.check_response_issuer(discovery.metadata(control, section), query.get("iss"))
    code, refused = query.get("code"), query.get("error")
    if refused and not code:
        if refused in _NOT_NOW:
            raise ProviderError("the provider says that it can sign nobody in just now")
        why = f" (`{refused}`)" if refused in _KNOWN else ""
        raise _TurnedAwayError(f"the provider did not sign the person in{why}")
    if refused or not code:
        raise oidc.GrantEndedError("the provider did not sign the person in")
    return oidc.exchange(control, section, code=code, verifier=flow.verifier, nonce=flow.nonce)


def _person(config: Config, provider: str, section: ProviderSection, said: presets.Profile) -> tuple[str | None, bool]:
    """Return who this is in `people`, and whether only the address says so.

    A person whose issuer is this provider is exactly that subject. One without an issuer may be known by an address
    for which the provider may vouch, if it is hers alone.
    """
    for key, person in config.people.items():
        if person.issuer == provider and person.subject == said.subject:
            return key, False
    if not vouched(said.email, section.email_domains):
        return None, False
    address = str(said.email).lower()
    found = [key for key, person in config.people.items() if person.email and person.email.lower() == address]
    if len(found) != 1 or config.people[found[0]].issuer is not None:
        return None, False
    return found[0], True


def _account(
    control: Control, provider: str, said: presets.Profile, answer: oidc.Answer, person: str | None
) -> Account:
    now = control.now()
    return Account(
        id=principal_id(provider, said.subject),
        provider=provider,
        subject=said.subject,
        person=person,
        email=said.email,
        name=said.name,
        groups=said.groups,
        groups_error=said.groups_error,
        claims=answer.claims,
        signed_in_at=now,
        checked_at=now,
        ended_at=None,
        renewable=answer.refresh_token is not None,
    )


def _let_in(
    control: Control, flow: Flow, account: Account, answer: oidc.Answer, *, by_email: bool, cookies: Mapping[str, str]
) -> Redirect:
    before = accounts.get(control.store, account.id)
    now, secret = account.signed_in_at, sessions.new_secret()
    by = Person(id=account.id)

    def tell(settled: Account) -> None:
        detail = {"provider": settled.provider, "person": settled.person, "refreshable": settled.renewable}
        control.record("control", "signed_in", by, principal=_principal(settled.id), decision="allow", detail=detail)

    old = sessions.cookie(control.config, "session", cookies)
    kept = accounts.sign_in(
        control.store,
        account,
        accounts.Tokens(refresh=answer.refresh_token, id_token=answer.id_token),
        accounts.Session(
            hash=sessions.digest(secret), account=account, created_at=now, expires_at=now + sessions.SESSION_S
        ),
        by_email=by_email,
        replaces=None if old is None else sessions.digest(old),
        tell=tell,
    )
    try:
        enforce_lost_groups(control, kept)
    finally:
        if kept.account.person is not None and _was_away(before, kept.account, control.config.oauth.owner_lease):
            control.registry_changed(by)
    return Redirect(url=flow.target, set_cookies=(sessions.set_cookie(control.config, "session", secret),))


def _was_away(before: Account | None, account: Account, lease_s: int) -> bool:
    """Whether this sign-in may bring an owner back, whose agents were suspended."""
    if before is None or before.ended_at is not None or before.person != account.person:
        return True
    return account.signed_in_at - before.signed_in_at >= lease_s


# Out ------------------------------------------------------------------------------------------------------------------


def sign_out(control: Control, session: BrowserSession) -> Redirect:
    """End the person's sessions and everything that acts in her name, and send the browser to end it at the provider.

    `Redirect.url` is empty where the provider has no such place.
    """
    account, now = session.account, control.now()
    hint = accounts.id_token(control.store, session.hash)
    revoked = accounts.sign_out(control.store, account.id, now=now)
    by, principal = Person(id=account.id), _principal(account.id)
    control.revoke(revoked, by, why="signed_out", principal=principal, detail={"provider": account.provider})
    control.record("control", "signed_out", by, principal=principal, detail={"provider": account.provider})
    return Redirect(
        url=end_session_url(control, account, hint) or "",
        set_cookies=(sessions.set_cookie(control.config, "session", None),),
    )


def end_session_url(control: Control, account: Account, hint: str | None = None) -> str | None:
    """Return where the browser ends its session at the provider, as far as that can be known now."""
    section = control.config.providers.get(account.provider)
    try:
        return None if section is None else oidc.end_session_url(control, section, hint)
    except ProviderError:
        return None


def withdraw(control: Control, session: BrowserSession, client: str) -> bool:
    """Take back what the person allowed a client, and end what grew from it. Whether there was such a consent."""
    account, now = session.account, control.now()
    revoked = accounts.withdraw(control.store, account.id, client, now=now)
    if revoked is None:
        return False
    fields = {"principal": _principal(account.id), "detail": {"client_id": client}}
    by = Person(id=account.id)
    if revoked:
        control.revoke(revoked, by, why="consent_withdrawn", **fields)
    control.record("control", "consent_withdrawn", by, **fields)
    return True


# Refusals -------------------------------------------------------------------------------------------------------------


class _TurnedAwayError(OstiaryError):
    """The provider refuses the person, or she went no further there."""


class _DisabledError(OstiaryError):
    """An operator disabled the person."""


#: Errors by which a provider says that it is in trouble itself (RFC 6749 section 4.1.2.1).
_NOT_NOW: Final = frozenset(("server_error", "temporarily_unavailable"))
#: What else it may say, as far as it is recorded (OpenID Connect Core section 3.1.2.6).
_KNOWN: Final = frozenset(
    ("access_denied", "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type")
) | {"account_selection_required", "consent_required", "interaction_required", "login_required"}
_DOWN: Final = (
    "The sign-in provider cannot be reached, or does not answer as it should. Try again in a moment; if that does not"
    " help, tell whoever runs this gateway."
)
_TURNED_AWAY: Final = f"The sign-in provider did not sign you in. {_AGAIN}"
#: The first that an error is counts.
_REFUSALS: Final[Mapping[type[Exception], tuple[int, str, str]]] = {
    ProviderError: (502, "provider", _DOWN),
    _TurnedAwayError: (403, "provider_refused", _TURNED_AWAY),
    oidc.GrantEndedError: (403, "provider_refused", _TURNED_AWAY),
    oidc.NotBelievedError: (400, "not_believed", f"The sign-in provider's answer cannot be trusted. {_AGAIN}"),
    presets.NotOursError: (403, "not_ours", "Your account is not one that may sign in here."),
    _DisabledError: (403, "disabled", "Your access to this gateway has been disabled."),
}
#: What a client is told of these, with the code of RFC 6749.
_TOLD_BACK: Final[Mapping[type[Exception], tuple[str, str]]] = {
    ProviderError: (
        "temporarily_unavailable",
        "the sign-in provider cannot be reached, or does not answer as it should",
    ),
    _TurnedAwayError: ("access_denied", "the sign-in provider did not sign the person in"),
}
#: By store and provider: the faults that were logged since somebody signed in there last.
_LOGGED: Final[dict[tuple[str, str], set[str]]] = {}
_MAX_LOGGED: Final = 20


def _refusal(
    control: Control, provider: str, target: str, client: str, principal: str | None, error: Exception
) -> SignInError:
    """Return what the person is told of an error, once it is recorded."""
    status, why, message = next(found for kind, found in _REFUSALS.items() if isinstance(error, kind))
    _record_refusal(control, provider, client, principal, why, error)
    if isinstance(error, ProviderError):
        _log_once(control, provider, error)
    for kind, (code, description) in _TOLD_BACK.items():
        if isinstance(error, kind):
            return LegFailedError(status, message, target=target, error=code, description=description)
    return SignInError(status, message)


def _log_once(control: Control, provider: str, error: ProviderError) -> None:
    told = _LOGGED.setdefault((str(control.store.path.database), provider), set())
    if str(error) not in told and len(told) < _MAX_LOGGED:
        told.add(str(error))
        log.warning(f"nobody can sign in at the provider {provider}: {error}")


def _record_refusal(
    control: Control, provider: str, client: str, principal: str | None, why: str, error: Exception | None
) -> None:
    count = attempts.refusals_to_tell(control, client)
    if count is None:
        return
    detail: dict[str, Any] = {"provider": provider, "why": why}
    if error is not None and str(error):
        detail["said"] = str(error)
    if count > 1:
        detail["count"] = count
    who = None if principal is None else _principal(principal)
    control.record("control", "sign_in_refused", None, principal=who, decision="deny", detail=detail)


def _principal(account_id: str) -> dict[str, str]:
    return {"type": "human", "id": account_id}
