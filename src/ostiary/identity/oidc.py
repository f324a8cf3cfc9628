"""Speaks with OpenID providers as a client of theirs: code with PKCE, userinfo, refresh, end of session."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from ostiary import strictjson
from ostiary.errors import OstiaryError
from ostiary.fetch import Fetched, FetchError, Reach, fetch
from ostiary.identity import discovery, idtoken, presets
from ostiary.identity.discovery import MAX_BYTES, TIMEOUT_S, WAIT_S, Metadata, ProviderError
from ostiary.oauth.routes import CALLBACK_PATH
from ostiary.secretref import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostiary.config import Config, ProviderSection
    from ostiary.control import Control

#: A hint at the end of a session is left out where it would make the address too long.
MAX_HINT: Final = 4096
#: Claims that speak of the token, not of the person; `sub` is kept to compare with later answers.
_OF_THE_TOKEN: Final = frozenset(
    {"iss", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash", "sid", "typ", "rh", "uti"}
)
MAX_CLAIMS: Final = 64 * 1024
#: How many threads ask one provider at a time, so that one that hangs does not take them all.
MAX_ASKING: Final = 6
_GUARD: Final = threading.Lock()
_PLACES: Final[defaultdict[str, threading.BoundedSemaphore]] = defaultdict(
    lambda: threading.BoundedSemaphore(MAX_ASKING)
)


class GrantEndedError(OstiaryError):
    """The provider says that the code or refresh token is no longer good."""


class RefusedError(ProviderError):
    """The provider is there and says no, without saying that the grant has ended."""


class NotBelievedError(OstiaryError):
    """What the provider answered contradicts itself or what was asked. The message holds nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider said of a person: claims of the ID token, completed from userinfo."""

    claims: dict[str, Any]
    fresh: bool
    """Whether there was an ID token; without one, what only it would say is unknown."""
    all_tenants: bool
    """Whether the provider speaks for every tenant in the world."""
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)


def callback_url(config: Config) -> str:
    """Return the redirect address that is registered at the provider."""
    return config.gateway.url + CALLBACK_PATH


def authorization_url(control: Control, section: ProviderSection, *, state: str, nonce: str, verifier: str) -> str:
    """Return where to send the browser. Raises `ProviderError`."""
    found = discovery.metadata(control, section)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        **presets.parameters(section),
        "response_type": "code",
        "client_id": section.client_id,
        "redirect_uri": callback_url(control.config),
        "scope": presets.scopes(section, found.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return _with_query(found.authorization_endpoint, asked)


def check_response_issuer(metadata: Metadata, given: str | None) -> None:
    """Hold the `iss` of an authorization response to the provider asked (RFC 9207). Raises `NotBelievedError`."""
    if given is None:
        if metadata.names_itself:
            raise NotBelievedError("the answer does not say which provider it is of")
    elif metadata.all_tenants:
        head, _, tail = metadata.issuer.partition("{tenantid}")
        tenant = given[len(head) : len(given) - len(tail)]
        if presets.expected_issuer(metadata.issuer, {"tid": tenant}) != given:
            raise NotBelievedError("the answer is of another provider")
    elif given != metadata.issuer:
        raise NotBelievedError("the answer is of another provider")


def exchange(control: Control, section: ProviderSection, *, code: str, verifier: str, nonce: str) -> Answer:
    """Exchange an authorization code.

    Raises `RefusedError` or another `ProviderError`, `GrantEndedError`, `NotBelievedError`.
    """
    found = discovery.metadata(control, section)
    asked = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": callback_url(control.config),
        "code_verifier": verifier,
    }
    said = _token(control, section, found, asked)
    return _answer(control, section, found, said, nonce=nonce, sub=None)


def refresh(
    control: Control, section: ProviderSection, *, refresh_token: str, sub: str, keep: Callable[[str], None]
) -> Answer:
    """Ask whether the person whom the provider calls `sub` is still there. Raises as `exchange` does.

    `keep` is given the next refresh token, if there is one, before anything else is asked: the old one is spent.
    """
    found = discovery.metadata(control, section)
    said = _token(control, section, found, {"grant_type": "refresh_token", "refresh_token": refresh_token})
    if (following := _text(said, "refresh_token")) is not None:
        keep(following)
    return _answer(control, section, found, said, nonce=None, sub=sub)


def end_session_url(control: Control, section: ProviderSection, id_token: str | None) -> str | None:
    """Return where a browser ends its session at the provider, if there is such a place. Raises `ProviderError`."""
    endpoint = discovery.metadata(control, section).end_session_endpoint
    if endpoint is None:
        return None
    asked = {"client_id": section.client_id, "post_logout_redirect_uri": control.config.gateway.url + "/oauth/account"}
    if id_token is not None and len(id_token) <= MAX_HINT:
        asked["id_token_hint"] = id_token
    return _with_query(endpoint, asked)


# The token endpoint ---------------------------------------------------------------------------------------------------


def _token(control: Control, section: ProviderSection, found: Metadata, asked: Mapping[str, str]) -> dict[str, Any]:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    form = dict(asked)
    if section.client_secret is None:
        form["client_id"] = section.client_id
    else:
        secret = _secret(section.client_secret, control.config)
        if "client_secret_basic" in found.auth_methods:
            # Both parts are form-encoded first (RFC 6749 section 2.3.1).
            pair = f"{quote_plus(section.client_id)}:{quote_plus(secret)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        elif "client_secret_post" in found.auth_methods:
            form |= {"client_id": section.client_id, "client_secret": secret}
        else:
            raise ProviderError("the provider takes no client secret, neither in the header nor in the form")
    answer = _fetch(found.token_endpoint, method="POST", headers=headers, body=urlencode(form).encode())
    said = _object(answer)
    if answer.status == 200 and said is not None:
        return said
    error = None if said is None else said.get("error")
    if answer.status in (400, 401) and error == "invalid_grant":
        raise GrantEndedError("the provider says that the grant has ended")
    known = {"invalid_client", "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_grant_type"}
    why = f"`{error}`" if error in known else f"status {answer.status}"
    # Who we are, and how often we ask, says nothing of the person.
    says_no = 400 <= answer.status < 500 and answer.status not in (408, 429) and error != "invalid_client"
    raise (RefusedError if says_no else ProviderError)(f"the provider's token endpoint answers with {why}")


def _answer(
    control: Control,
    section: ProviderSection,
    found: Metadata,
    said: Mapping[str, Any],
    *,
    nonce: str | None,
    sub: str | None,
) -> Answer:
    access, token = _text(said, "access_token"), _text(said, "id_token")
    first = sub is None
    claims: dict[str, Any] = {}
    if token is not None:
        claims = _id_token(control, section, found, token, nonce=nonce, access_token=access)
        if sub is not None and claims["sub"] != sub:
            raise NotBelievedError("the provider's answer speaks of another person")
        sub = str(claims["sub"])
    elif first:
        raise NotBelievedError("the provider's answer has no ID token")
    if found.userinfo_endpoint is not None and access is not None:
        about = _userinfo(found.userinfo_endpoint, access)
        if about.get("sub") != sub:
            raise NotBelievedError("the provider's userinfo speaks of another person")
        claims = {**about, **claims}
    kept = {name: value for name, value in claims.items() if name not in _OF_THE_TOKEN}
    try:
        json.dumps(kept, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair: neither a record nor a token could hold it.
        raise NotBelievedError("what the provider says of the person is not all text") from None
    if len(json.dumps(kept)) > MAX_CLAIMS:
        raise ProviderError("the provider says too much of the person to be kept")
    return Answer(
        claims=kept,
        fresh=token is not None,
        all_tenants=found.all_tenants,
        refresh_token=_text(said, "refresh_token"),
        id_token=token,
    )


def _id_token(
    control: Control,
    section: ProviderSection,
    found: Metadata,
    token: str,
    *,
    nonce: str | None,
    access_token: str | None,
) -> dict[str, Any]:
    for again in (False, True):
        known = discovery.keys(control, found, again=again)
        try:
            return idtoken.read(
                token, known, found, section.client_id, now=control.now(), nonce=nonce, access_token=access_token
            )
        except idtoken.UnknownKeyError as error:
            why = str(error)
        except idtoken.IdTokenError as error:
            raise NotBelievedError(f"the ID token is not to be believed: {error}") from None
    raise NotBelievedError(f"the ID token is not to be believed: {why}")


def _userinfo(url: str, access_token: str) -> dict[str, Any]:
    answer = _fetch(url, headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"})
    said = _object(answer)
    if answer.status in (401, 403):
        raise RefusedError(f"the provider's userinfo does not take the access token (status {answer.status})")
    if answer.status != 200 or said is None:
        raise ProviderError(f"the provider's userinfo cannot be read (status {answer.status})")
    return said


# Small things ---------------------------------------------------------------------------------------------------------


def _fetch(url: str, **how: Any) -> Fetched:
    with _GUARD:
        places = _PLACES[urlsplit(url).netloc]
    if not places.acquire(timeout=WAIT_S):
        raise ProviderError("the provider has too many questions to answer already")
    try:
        return fetch(url, reach=Reach.CONFIGURED, max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S, **how)
    except FetchError as error:
        raise ProviderError(error.message) from None
    finally:
        places.release()


def _object(answer: Fetched) -> dict[str, Any] | None:
    try:
        said = strictjson.parse(answer.body)
    except strictjson.StrictJsonError:
        return None
    return said if isinstance(said, dict) else None


def _text(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) and value.isascii() and value.isprintable() and value else None


def _with_query(endpoint: str, asked: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"


def _secret(reference: str, config: Config) -> str:
    """Return the secret behind `env:NAME` or `file:PATH`. Raises `ProviderError`, which never holds it."""
    text = read_secret(reference, config.folder)
    if text is None:
        raise ProviderError(f"the client secret {reference} is not there", hint="set it where the gateway runs")
    return text
