"""Which browser is this, who is signed in there, and is it she who sends this form? Cookies and CSRF tokens.

A session is for pages only and opens no MCP server. Its cookie is 256 random bits of which only the SHA-256 is kept;
it is new at each sign-in and lives at most 8 hours. The cookies are `__Host-`, Secure, HttpOnly and SameSite=Lax;
where `gateway.url` is http on loopback, browsers would not take them so, and they are without prefix and Secure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from ostiary.addresses import is_loopback
from ostiary.store import accounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.config import Config
    from ostiary.control import Control
    from ostiary.identity.accounts import Account

SESSION_S: Final = 8 * 3600
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")

Cookie = Literal["session", "browser"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """A signed-in browser. `csrf` goes into each of its forms; `hash` names it in the store.

    `begun_at` is after whatever was revoked before it began, so perhaps a little ahead of the clock.
    """

    account: Account
    hash: str
    begun_at: int
    expires_at: int
    csrf: str = field(repr=False)


def current(control: Control, cookies: Mapping[str, str]) -> BrowserSession | None:
    """Return who is signed in, as far as the provider's last word on her still counts."""
    text = cookie(control.config, "session", cookies)
    if text is None:
        return None
    now = control.now()
    found = accounts.session(control.store, digest(text), now=now)
    if found is None or not may_act(control, found.account) or not found.account.holds(now):
        return None
    csrf = _csrf(control, found.hash)
    return BrowserSession(
        account=found.account, hash=found.hash, begun_at=found.created_at, expires_at=found.expires_at, csrf=csrf
    )


def may_act(control: Control, account: Account) -> bool:
    """Whether nobody ended the account, took its provider out of the configuration or disabled the person."""
    if account.ended_at is not None or account.provider not in control.config.providers:
        return False
    names = [account.id] if account.person is None else [account.id, account.person]
    return not accounts.disabled(control.store, names)


def is_from(session: BrowserSession, csrf: str | None) -> bool:
    """Whether a form with this token was made for this session."""
    return csrf is not None and hmac.compare_digest(session.csrf.encode(), csrf.encode())


def new_secret() -> str:
    """Draw 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return what is kept of a secret in its place."""
    return hashlib.sha256(secret.encode()).hexdigest()


def cookie(config: Config, which: Cookie, cookies: Mapping[str, str]) -> str | None:
    """Return the value of one of our cookies, if it can be ours."""
    value = cookies.get(_name(config, which))
    return value if value is not None and _COOKIE.match(value) else None


def set_cookie(config: Config, which: Cookie, value: str | None) -> str:
    """Return the `Set-Cookie` field that sets a cookie until the browser is closed; None takes it away."""
    end = "; Max-Age=0" if value is None else ""
    secure = "; Secure" if _is_secure(config) else ""
    return f"{_name(config, which)}={value or ''}; Path=/{secure}; HttpOnly; SameSite=Lax{end}"


def _name(config: Config, which: Cookie) -> str:
    return f"{'__Host-' if _is_secure(config) else ''}ostiary-{which}"


def _is_secure(config: Config) -> bool:
    url = urlsplit(config.gateway.url)
    return url.scheme == "https" or not is_loopback(url.hostname or "")


def _csrf(control: Control, session_hash: str) -> str:
    key = control.store.sealing.derive("csrf tokens")
    made = hmac.new(key, session_hash.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
