"""The endpoints of people's own pages: signing in and out, and what they allowed to whom.

Each takes the control side, the query as it came, the cookies and the body, and returns an answer. They block, so
they run in threads. `ENDPOINTS` names them as `ostiary.oauth.routes` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl

from starlette.responses import Response

from ostiary.identity import signin
from ostiary.oauth import pages
from ostiary.oauth.pages import page
from ostiary.oauth.web import refused
from ostiary.store import accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostiary.config import Config
    from ostiary.control import Control
    from ostiary.identity.signin import BrowserSession, Redirect
    from ostiary.store.accounts import Consent

    class Endpoint(Protocol):
        """One of the endpoints; `client` is the address that the data plane saw."""

        def __call__(
            self, control: Control, query: str, cookies: Mapping[str, str], body: bytes, client: str = "", /
        ) -> Response:
            """Answer."""


ACCOUNT_PATH: Final = "/oauth/account"
_NOT_YOURS: Final = "This form was not made for you, or your session has ended. Open the page again."


def callback(control: Control, query: str, cookies: Mapping[str, str], _body: bytes, client: str = "") -> Response:
    """Take a browser that comes back from a provider."""
    return _guarded(lambda: _redirect(signin.callback(control, _read(query), cookies, client=client)))


def sign_in(control: Control, query: str, cookies: Mapping[str, str], _body: bytes, client: str = "") -> Response:
    """Send a browser to the provider that it chose."""

    def go() -> Response:
        asked = _read(query)
        target = asked.get("target", ACCOUNT_PATH)
        return _redirect(signin.begin(control, asked.get("provider", ""), target, cookies, client=client))

    return _guarded(go)


def account(control: Control, _query: str, cookies: Mapping[str, str], _body: bytes, _client: str = "") -> Response:
    """Show a person who she is here and what she allowed, or let her sign in."""
    session = signin.current(control, cookies)
    if session is None:
        # Providers send people back here once they are signed out there, too.
        providers = list(control.config.providers)
        return page("choose_provider", providers=providers, target=ACCOUNT_PATH, signed_out=True)
    return _account_page(control, session)


def forget(control: Control, _query: str, cookies: Mapping[str, str], body: bytes, _client: str = "") -> Response:
    """Take back what a client was allowed."""

    def go() -> Response:
        session, form = _form(control, cookies, body)
        if not signin.withdraw(control, session, form.get("client", "")):
            raise signin.SignInError(404, "There is no such application among those that you allowed.")
        return _see(ACCOUNT_PATH)

    return _guarded(go)


def sign_out(control: Control, _query: str, cookies: Mapping[str, str], body: bytes, _client: str = "") -> Response:
    """End the person's sessions here, then at her provider."""

    def go() -> Response:
        session, _ = _form(control, cookies, body)
        done = signin.sign_out(control, session)
        answer = _redirect(done) if done.url else page("signed_out")
        if not done.url:
            _set_cookies(answer, done)
        return answer

    return _guarded(go)


def style(_control: Control, _query: str, _cookies: Mapping[str, str], _body: bytes, _client: str = "") -> Response:
    """Return the stylesheet of all pages."""
    return pages.style()


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "account": account,
    "callback": callback,
    "forget": forget,
    "sign_in": sign_in,
    "sign_out": sign_out,
    "style": style,
}


def _account_page(control: Control, session: BrowserSession) -> Response:
    consents: list[dict[str, Any]] = [
        {
            "client": each.client,
            "name": each.client_name,
            "host": each.redirect_host,
            "agent": _registered_agent(control.config, each),
            "scopes": pages.scopes(each.classes),
            "servers": each.servers,
            "since": each.created_at,
            "until": each.expires_at,
        }
        for each in accounts.consented(control.store, session.account.id, now=control.now())
    ]
    return page(
        "account",
        account=session.account.shown,
        provider=session.account.provider,
        csrf=session.csrf,
        consents=consents,
    )


def _registered_agent(config: Config, consent: Consent) -> dict[str, str] | None:
    """Return the agent as which the client acts by this consent, if it is one that is registered."""
    found = next((key for key in config.agents if config.agent_id(key) == consent.agent), None)
    return None if found is None else {"name": found, "owner": config.agents[found].owner}


def _form(control: Control, cookies: Mapping[str, str], body: bytes) -> tuple[BrowserSession, dict[str, str]]:
    """Return the session and the fields of a form that was made for it. Raises `SignInError`."""
    session = signin.current(control, cookies)
    form = _read(body.decode("latin-1"))
    if session is None or not signin.is_from(session, form.get("csrf")):
        raise signin.SignInError(403, _NOT_YOURS)
    return session, form


def _read(text: str) -> dict[str, str]:
    """Read a query or form in which nothing stands twice. Raises `SignInError`."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise signin.SignInError(400, "The request cannot be read.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise signin.SignInError(400, "The request says something twice.")
    return found


def _guarded(go: Callable[[], Response]) -> Response:
    try:
        return go()
    except signin.LegFailedError:
        raise  # a client may have asked for the sign-in, and then it is told
    except signin.SignInError as error:
        return refused(page("error", status=error.status, message=error.message), "sign_in")


def _redirect(to: Redirect) -> Response:
    answer = _see(to.url)
    _set_cookies(answer, to)
    return answer


def _set_cookies(answer: Response, to: Redirect) -> None:
    for text in to.set_cookies:
        answer.headers.append("Set-Cookie", text)


def _see(url: str) -> Response:
    # Not `RedirectResponse`, which writes the address anew.
    headers = {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(status_code=303, headers=headers)
