"""GET and POST /oauth/authorize: a client asks for a person's authority, and the person says yes or no (OAuth 2.1).

First who asks and where the answer goes; while that is in doubt the browser is shown a page and sent nowhere. Then the
request; its faults go back to the client. Then sign-in, then consent in that same browser session, and only then a
code. Asking changes nothing: the same GET twice is as good as once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.responses import Response

from ostiary.control import Person
from ostiary.identity import signin
from ostiary.oauth import redirects
from ostiary.oauth.granting import issuing
from ostiary.oauth.offer import CONSENT_S, Offer, consent_floor, epoch_keys, make_offer
from ostiary.oauth.pages import page, scopes
from ostiary.oauth.web import NO_STORE, OAuthError, read_form, refused
from ostiary.oauth.wish import BackError, back, read
from ostiary.store import clients as stored
from ostiary.store import epochs, grants, registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from ostiary.control import Control
    from ostiary.identity.accounts import Account
    from ostiary.identity.signin import BrowserSession, Redirect
    from ostiary.oauth.clients import Clients
    from ostiary.oauth.web import Asked, Parameters
    from ostiary.oauth.wish import Wish

PATH: Final = "/oauth/authorize"
CODE_S: Final = 60


def ask(control: Control, clients: Clients, asked: Asked) -> Response:
    """Answer a GET: sign in, or show what is to be consented to, or send the browser back with a code.

    Raises `OAuthError` for the page.
    """
    try:
        return _ask(control, clients, asked)
    except BackError as error:
        return _send_back(control, error)


def decide(control: Control, clients: Clients, asked: Asked) -> Response:
    """Answer a POST: what the person said on the page, to what was asked there. Raises `OAuthError` for the page."""
    try:
        return _decide(control, clients, asked)
    except BackError as error:
        return _send_back(control, error)


def sign_in_failed(control: Control, clients: Clients, failed: signin.LegFailedError, asked: Asked) -> Response:
    """End what a sign-in was begun for, as the provider signed nobody in: a client's request, or only a page.

    The request is read anew, so that the answer goes nowhere but to an address that its client has now.
    """
    path, _, query = failed.target.partition("?")
    try:
        if path == PATH:
            wish = read(control, clients, query, asked.client)
            back(wish, failed.error, failed.description)
    except BackError as error:
        return _send_back(control, error)
    except OAuthError:
        pass  # there is no telling whose request it was
    return page("error", status=failed.status, message=failed.message)


def _ask(control: Control, clients: Clients, asked: Asked) -> Response:
    wish = read(control, clients, asked.query, asked.client)
    session = None if "login" in wish.prompt else _session(control, asked)
    if session is None:
        return _sign_in(control, wish, asked)
    offer = _offer(control, wish, session.account, asked.client)
    if _is_given(offer, wish) and "consent" not in wish.prompt:
        if signin.confirm(control, session.account.id, cause="silent") is None:
            return _sign_in(control, wish, asked)
        return _send(control, wish, _begin(control, wish, session.account, offer, consent=None))
    if "none" in wish.prompt:
        back(wish, "consent_required", "the person has not consented to this")
    return _show(wish, offer, session, asked.query)


def _decide(control: Control, clients: Clients, asked: Asked) -> Response:
    session, form = _whose_form(control, asked)
    if not _is_current(control, session):
        raise OAuthError("access_denied", "Your session has ended. Go back to your app and begin again.")
    query = form.require("request")
    wish = read(control, clients, query, asked.client)
    said = form.require("decision")
    if said == "deny":
        _record(control, "consent_refused", wish, session.account, decision="deny")
        back(wish, "access_denied", "the person refused")
    if said != "allow":
        raise OAuthError("invalid_request", "The page was not answered with its buttons.")
    offer = _offer(control, wish, session.account, asked.client)
    if form.get("shown") != _shown(wish, offer):
        # Something has changed since the page was made: only what was shown is consented to.
        return _show(wish, offer, session, query)
    consent = _consent(control, wish, session.account, offer)
    return _send(control, wish, _begin(control, wish, session.account, offer, consent=consent))


# Whose browser --------------------------------------------------------------------------------------------------------


def _session(control: Control, asked: Asked) -> BrowserSession | None:
    """Return who is signed in, unless all that she had begun was ended since: then she signs in again."""
    session = signin.current(control, asked.cookies)
    return session if session is not None and _is_current(control, session) else None


def _is_current(control: Control, session: BrowserSession) -> bool:
    with control.store.reading() as connection:
        ended = epochs.floor(connection, [("subject", session.account.id)])
    return session.begun_at > ended


def _whose_form(control: Control, asked: Asked) -> tuple[BrowserSession, Parameters]:
    """Return a form that our own page sent, and whose session it is. Raises `OAuthError`."""
    form, own = read_form(asked), control.config.gateway.url
    if asked.headers.get("origin", own) != own or asked.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise OAuthError("invalid_request", "This form was not sent from a page of this gateway.", status=403)
    session = signin.current(control, asked.cookies)
    if session is None:
        raise OAuthError("access_denied", "You are not signed in any more. Go back to your app and begin again.")
    if not signin.is_from(session, form.get("csrf")):
        raise OAuthError("invalid_request", "This form does not belong to your session. Begin again.", status=403)
    return session, form


# What there is to say yes to ------------------------------------------------------------------------------------------


def _offer(control: Control, wish: Wish, account: Account, address: str) -> Offer:
    try:
        offer = make_offer(control, wish.client, account, wish.classes, address=address)
    except OAuthError as error:
        raise BackError(wish.redirect_uri, wish.state, error) from None
    if not set(wish.classes).intersection(offer.classes):
        back(wish, "invalid_scope", "nothing of the scope is inside what this client may have")
    if not offer.servers:
        back(wish, "access_denied", "there is no server here that this account may use")
    for server in wish.servers:
        if server not in offer.servers:
            back(wish, "access_denied", f"this account may not use server {server}")
    return offer


def _granted(wish: Wish, offer: Offer) -> tuple[str, ...]:
    """Return the classes that the tokens will have: what was asked for, as far as it can be had."""
    return tuple(name for name in wish.classes if name in offer.classes)


def _is_given(offer: Offer, wish: Wish) -> bool:
    given = offer.given
    if given is None:
        return False
    if redirects.place(given.redirect_host) != redirects.place(redirects.shown_host(wish.redirect_uri)):
        return False  # the person consented to an answer that goes elsewhere
    servers = set(wish.servers or offer.servers)
    return servers <= set(given.servers) and set(_granted(wish, offer)) <= set(given.classes)


def _shown(wish: Wish, offer: Offer) -> str:
    """Name what the page shows, so that what is consented to is that and nothing else."""
    client, actor = wish.client, offer.actor
    who = [client.id, client.kind, client.digest, actor.id, actor.owner]
    said = [*who, wish.redirect_uri, offer.classes, offer.servers]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _show(wish: Wish, offer: Offer, session: BrowserSession, query: str) -> Response:
    account, actor = session.account, offer.actor
    return page(
        "consent",
        action=PATH,
        csrf=session.csrf,
        request=query,
        shown=_shown(wish, offer),
        account=account.shown,
        client_name=wish.client.name,
        client_host=wish.client.host,
        registered=wish.client.kind == "registered",
        agent=None if actor.key is None else {"name": actor.key, "owner": actor.owner},
        redirect_host=redirects.shown_host(wish.redirect_uri),
        loopback=all(redirects.is_loopback(uri) for uri in wish.client.redirect_uris),
        scopes=scopes(offer.classes),
        servers=list(offer.servers),
        days=CONSENT_S // 86400,
    )


# Yes ------------------------------------------------------------------------------------------------------------------


def _consent(control: Control, wish: Wish, account: Account, offer: Offer) -> grants.Consent:
    """Return the consent that the person has just given, once it is recorded."""
    now = control.now()
    until = now + CONSENT_S if offer.actor.until is None else min(now + CONSENT_S, offer.actor.until)
    given = grants.Consent(
        client=wish.client.id,
        account=account.id,
        agent=offer.actor.id,
        client_name=wish.client.name,
        third_party=offer.actor.third_party or "",
        redirect_host=redirects.shown_host(wish.redirect_uri),
        classes=offer.classes,
        servers=offer.servers,
        digest=wish.client.digest,
        created_at=now,
        expires_at=until,
    )
    detail = {"classes": list(given.classes), "servers": list(given.servers), "expires_at": until}
    _record(control, "consent_given", wish, account, decision="allow", agent=offer.actor.id, detail=detail)
    return given


def _begin(control: Control, wish: Wish, account: Account, offer: Offer, *, consent: grants.Consent | None) -> str:
    """Begin a family of tokens and return its code; `consent` is what was consented to just now, if it was."""
    config, actor = control.config, offer.actor
    keys = epoch_keys(config, account.id, wish.client.id, actor)
    with issuing(control, keys) as connection:
        now = control.now()
        # What was revoked up to now stays so; what begins here is later, ahead of the clock if it must be.
        since = max(now, epochs.floor(connection, keys) + 1)
        given = consent or _still_given(connection, control, wish, account, offer)
        if consent is not None:
            grants.put_consent(connection, replace(consent, created_at=since))
        family = grants.Family(
            id=secrets.token_urlsafe(16),
            client=wish.client.id,
            account=account.id,
            agent=actor.id,
            third_party=actor.third_party,
            scope=_granted(wish, offer),
            servers=given.servers,
            created_at=since,
            expires_at=now + CODE_S,
        )
        grants.add_family(connection, family)
        for principal in (account.id, actor.id):
            registry.note_token(connection, principal, issued_at=since)
        stored.note_use(connection, wish.client.id, now=now, dynamic_until=now + CONSENT_S)
        binding = {"redirect_uri": wish.redirect_uri, "challenge": wish.challenge, "servers": list(wish.servers)}
        return grants.add_grant(connection, "code", family.id, binding, now=now, expires_at=now + CODE_S)


def _still_given(
    connection: sa.Connection, control: Control, wish: Wish, account: Account, offer: Offer
) -> grants.Consent:
    """Return the consent that was there when it was looked for, unless it was withdrawn or revoked since."""
    found = grants.consent(connection, wish.client.id, account.id)
    floor = consent_floor(connection, control.config, account.id, wish.client.id, offer.actor)
    if found is None or found != offer.given or found.created_at <= floor:
        back(wish, "access_denied", "the consent was withdrawn meanwhile")
    return found


def _record(
    control: Control,
    event: str,
    wish: Wish,
    account: Account,
    *,
    decision: str,
    agent: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    scope = [f"mcp:{name}" for name in wish.classes]
    where = {"client_name": wish.client.name, "redirect_host": redirects.shown_host(wish.redirect_uri)}
    control.record(
        "control",
        event,
        Person(id=account.id),
        principal={"type": "human", "id": account.id},
        agent=agent,
        token={"jti": None, "client_id": wish.client.id, "issuer": "local", "scope": scope},
        decision=decision,
        detail={**where, **(detail or {})},
    )


# Answers --------------------------------------------------------------------------------------------------------------


def _sign_in(control: Control, wish: Wish, asked: Asked) -> Response:
    if "none" in wish.prompt:
        back(wish, "login_required", "nobody is signed in")
    target = f"{PATH}?{_satisfied(asked.query)}"
    providers = list(control.config.providers)
    if len(providers) != 1:
        return page("choose_provider", providers=providers, target=target, signed_out=False)
    try:
        return _to(signin.begin(control, providers[0], target, asked.cookies, client=asked.client))
    except signin.LegFailedError as failed:
        back(wish, failed.error, failed.description)


def _satisfied(query: str) -> str:
    """Return the request as it comes back from signing in: `prompt=login` asked for that, and asks no more."""
    pairs = parse_qsl(query, keep_blank_values=True)
    left = [(n, " ".join(word for word in v.split() if word != "login") if n == "prompt" else v) for n, v in pairs]
    return query if left == pairs else urlencode(left)


def _send(control: Control, wish: Wish, code: str) -> Response:
    """Send the browser back with a code, `state` and `iss` (RFC 9207)."""
    members = {"code": code, "state": wish.state, "iss": control.config.gateway.url}
    return _to(signin.Redirect(url=redirects.with_answer(wish.redirect_uri, members)))


def _send_back(control: Control, back: BackError) -> Response:
    said = {"error": back.error.error, "error_description": back.error.description}
    members = {**said, "state": back.state, "iss": control.config.gateway.url}
    return refused(_to(signin.Redirect(url=redirects.with_answer(back.uri, members))), back.error.error)


def _to(where: Redirect) -> Response:
    """Send the browser on, with its cookies."""
    # Not `RedirectResponse`, which writes the address anew.
    response = Response(status_code=303, headers={"Location": where.url, "Referrer-Policy": "no-referrer", **NO_STORE})
    for cookie in where.set_cookies:
        response.headers.append("Set-Cookie", cookie)
    return response
