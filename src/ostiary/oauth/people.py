"""Pages for people besides consent: coming back from a provider, one's own account, signing in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from ostiary.identity import signin
from ostiary.oauth.pages import page, style
from ostiary.oauth.web import NO_STORE, OAuthError, read_form, read_parameters
from ostiary.store import accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostiary.control import Control
    from ostiary.identity.signin import BrowserSession, Redirect
    from ostiary.oauth.web import Asked, Parameters

ACCOUNT: str = "/oauth/account"


def handlers(control: Control) -> Mapping[str, Callable[[Asked], Response]]:
    """Return what answers the endpoints of these pages."""
    return {
        "callback": lambda asked: _callback(control, asked),
        "sign_in": lambda asked: _sign_in(control, asked),
        "sign_out": lambda asked: _sign_out(control, asked),
        "account": lambda asked: _account(control, asked),
        "style": lambda _: style(),
    }


def _callback(control: Control, asked: Asked) -> Response:
    return to(signin.callback(control, _query(asked).flat(), asked.cookies))


def _sign_in(control: Control, asked: Asked) -> Response:
    """Begin a sign-in at the provider that was chosen, or at the only one."""
    query, providers = _query(asked), list(control.config.providers)
    provider = query.get("provider") or (providers[0] if len(providers) == 1 else None)
    target = query.get("target") or ACCOUNT
    if provider is None:
        return page("choose_provider", providers=providers, target=target)
    return to(signin.begin(control, provider, target, asked.cookies))


def _account(control: Control, asked: Asked) -> Response:
    session = signin.current(control, asked.cookies)
    if session is None:
        return _sign_in(control, asked)
    return page(
        "account",
        account=session.account.shown,
        csrf=session.csrf,
        consents=accounts.consented(control.store, session.account.id, now=control.now()),
    )


def _sign_out(control: Control, asked: Asked) -> Response:
    """Sign out, or with `client` only take back what was consented to for that client."""
    session, form = whose_form(control, asked)
    client = form.get("client")
    if client is not None:
        signin.withdraw(control, session, client)
        return to(signin.Redirect(url=ACCOUNT))
    left = signin.sign_out(control, session)
    response = to(left) if left.url else page("signed_out")
    if not left.url:
        for cookie in left.set_cookies:
            response.headers.append("Set-Cookie", cookie)
    return response


def whose_form(control: Control, asked: Asked) -> tuple[BrowserSession, Parameters]:
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


def to(where: Redirect) -> Response:
    """Send the browser on, with its cookies."""
    # Not `RedirectResponse`, which writes the address anew.
    response = Response(status_code=303, headers={"Location": where.url, "Referrer-Policy": "no-referrer", **NO_STORE})
    for cookie in where.set_cookies:
        response.headers.append("Set-Cookie", cookie)
    return response


def _query(asked: Asked) -> Parameters:
    query = read_parameters(asked.query)
    query.check_repeated()
    return query
