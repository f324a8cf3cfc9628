"""POST /oauth/token: who asks, by which grant, and what comes of it (OAuth 2.1 section 3.2, RFC 7523, RFC 8707).

What may be issued is decided in `ostiary.oauth.token`; here the ways that lead there are kept apart. Everything that is
issued is recorded first; what is refused to a client that has proven who it is, too.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from ostiary.oauth.assertion import ClientAuthError, Workload, authenticate_client, federated_principal
from ostiary.oauth.granting import grant, issuing, keys_of
from ostiary.oauth.grants import exchange
from ostiary.oauth.metadata import JWT_BEARER
from ostiary.oauth.scopes import PREFIX, classes_of
from ostiary.oauth.token import TokenRefusedError, TokenRequest, sign
from ostiary.oauth.web import OAuthError, answer, read_form
from ostiary.oauth.wish import server_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from ostiary.config import Config
    from ostiary.control import Control
    from ostiary.oauth.assertion import Authenticated
    from ostiary.oauth.clients import Client, Clients
    from ostiary.oauth.grants import Kind
    from ostiary.oauth.keysource import Section
    from ostiary.oauth.token import AccessToken
    from ostiary.oauth.web import Asked, Parameters

PATH: Final = "/oauth/token"


def token(control: Control, clients: Clients, asked: Asked) -> Response:
    """Answer a token request. Raises `OAuthError`."""
    form = read_form(asked, lists=("resource",))
    check_lockdown(control)
    if len(set(form.all("resource"))) > 1:
        # RFC 8707 section 2 lets a client name several; a token here opens one.
        raise OAuthError("invalid_target", "a token is for one server: name one resource")
    if form.get("authorization_details") is not None:
        # None are taken at the authorization endpoint either (RFC 9396 section 5).
        raise OAuthError("invalid_authorization_details", "authorization_details are not taken here")
    grant_type = form.require("grant_type")
    if grant_type == "authorization_code":
        return _for_person(control, clients, asked, form, "code")
    if grant_type == "refresh_token":
        return _for_person(control, clients, asked, form, "refresh")
    if grant_type == "client_credentials":
        return _for_itself(control, clients, asked, form)
    if grant_type == JWT_BEARER:
        return _for_workload(control, asked, form)
    raise OAuthError("unsupported_grant_type", "this grant type is not served here")


def check_lockdown(control: Control) -> None:
    """Raise `OAuthError` while everything is locked down."""
    if control.store.lockdown() is not None:
        raise OAuthError("temporarily_unavailable", "everything is locked down", status=503)


# Who asks -------------------------------------------------------------------------------------------------------------


def who(
    control: Control, clients: Clients, asked: Asked, form: Parameters, path: str
) -> tuple[Authenticated, Client | None]:
    """Return who asks, and the OAuth client unless it is an agent or service of ours. Raises `OAuthError`."""
    found: list[Client] = []

    def find(client_id: str) -> Client | None:
        try:
            found.append(clients.known(control, client_id, address=asked.client))
        except OAuthError:
            return None
        return found[-1]

    endpoint = control.config.gateway.url + path
    try:
        caller = authenticate_client(form.flat(), _basic(asked), control, endpoint=endpoint, find=find)
    except ClientAuthError as error:
        raise OAuthError(error.error, error.description, status=error.status) from None
    return caller, None if caller.agent is not None else found[-1]


def is_vouched_for(caller: Authenticated, client: Client | None) -> bool:
    """Whether who asks was let in by an operator and has proven who it is.

    Anybody can have a client with a secret, or a document with keys, and as many of them as she likes.
    """
    return client is None or (client.kind == "registered" and caller.method != "none")


def _basic(asked: Asked) -> tuple[str, str] | None:
    """Return id and secret of the Authorization header (RFC 6749 section 2.3.1), if there is one."""
    header = asked.headers.get("authorization")
    if header is None:
        return None
    scheme, _, text = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        name = colon = secret = ""
    if scheme.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "the Authorization header is not understood", status=401)
    return unquote_plus(name), unquote_plus(secret)


# Grants ---------------------------------------------------------------------------------------------------------------


def _for_person(control: Control, clients: Clients, asked: Asked, form: Parameters, kind: Kind) -> Response:
    """Answer with tokens for a client that acts for a person."""
    caller, client = who(control, clients, asked, form, PATH)
    if client is None:
        raise OAuthError("unauthorized_client", "agents and services ask by client_credentials")
    if kind == "refresh" and not client.refreshes:
        raise OAuthError("unauthorized_client", "this client has not registered for refresh tokens")
    issued = exchange(control, client, kind, form, proven=is_vouched_for(caller, client))
    more = {} if issued.refresh is None else {"refresh_token": issued.refresh}
    return answer({**_members(issued.access), **more})


def _for_itself(control: Control, clients: Clients, asked: Asked, form: Parameters) -> Response:
    """Answer with a token for an agent or service that has proven who it is."""
    caller, _ = who(control, clients, asked, form, PATH)
    if caller.agent is None:
        raise OAuthError("unauthorized_client", "only agents and services of this gateway act for themselves")
    return answer(_members(_issue(control, Workload(*caller.agent, caller.facts, caller.once), form)))


def _for_workload(control: Control, asked: Asked, form: Parameters) -> Response:
    """Answer with a token for a workload that shows one of its platform."""
    if "authorization" in asked.headers:
        # Credentials that come along would have to be right (RFC 7521 section 4.1), and a workload has none.
        raise OAuthError("invalid_client", "a workload proves who it is by its assertion alone", status=401)
    if form.get("client_secret") is not None or form.get("client_assertion") is not None:
        raise OAuthError("invalid_request", "a workload proves who it is by its assertion alone")
    try:
        found = federated_principal(form.require("assertion"), control, client_id=form.get("client_id"))
    except ClientAuthError as error:
        raise OAuthError(error.error, error.description, status=error.status) from None
    return answer(_members(_issue(control, found, form)))


def _members(access: AccessToken) -> dict[str, Any]:
    """Return the members of a token response (RFC 6749 section 5.1)."""
    said = access.as_json()
    return {name: said[name] for name in ("access_token", "token_type", "expires_in", "scope")}


# Agents and services --------------------------------------------------------------------------------------------------


def _issue(control: Control, asking: Workload, form: Parameters) -> AccessToken:
    """Issue a token for an agent or service, recorded with what its platform says of it."""
    section, name, facts, once = asking
    config, key = control.config, control.signing_key()
    kind = "agent" if section == "agents" else "service"
    principal = config.agent_id(name) if section == "agents" else config.service_id(name)
    try:
        wanted = TokenRequest(
            type="agent" if section == "agents" else "service",
            name=name,
            server=_server(control, section, name, form),
            scope=_scope(form),
            ttl_s=config.oauth.access_token_ttl,
            narrow=True,
        )
        with issuing(control, keys_of(config, wanted)) as connection:
            if once is not None:
                once.use_up(connection, now=control.now())
            _check_same(control.config, config, section, name)
            granted = grant(connection, control.config, wanted, now=control.now())
            platform = {"platform": dict(facts)} if facts else {}
            control.record("control", "token_issued", None, **granted.as_record(**platform))
            return sign(granted, key)
    except ClientAuthError as error:
        raise OAuthError(error.error, error.description, status=error.status) from None
    except (OAuthError, TokenRefusedError) as error:
        refused = error if isinstance(error, OAuthError) else OAuthError(error.error, error.message)
        control.record(
            "control",
            "token_refused",
            None,
            principal={"type": kind, "id": principal},
            token={"jti": None, "client_id": principal, "issuer": "local", "scope": []},
            decision="deny",
            detail={"why": refused.description, "error": refused.error, **({"platform": dict(facts)} if facts else {})},
        )
        raise refused from None


def _check_same(now: Config, before: Config, section: Section, name: str) -> None:
    """Raise `OAuthError` if who has proven to be `name` is declared otherwise now: issuing may have waited."""
    same = now.agents.get(name) == before.agents.get(name)
    if not (same if section == "agents" else now.services.get(name) == before.services.get(name)):
        raise OAuthError("invalid_client", "who asks has changed meanwhile", status=401)


def _server(control: Control, section: Section, name: str, form: Parameters) -> str:
    resource = form.get("resource")
    if resource is not None:
        return server_of(control, resource)
    config = control.config
    choice = tuple(config.agents[name].ceiling.servers if section == "agents" else config.servers)
    if len(choice) != 1:
        raise OAuthError("invalid_target", "resource must say which server the token is for")
    return choice[0]


def _scope(form: Parameters) -> list[str] | None:
    """Return the scopes of ours that are asked for; `None` if none was. Raises `OAuthError`."""
    return [PREFIX + name for name in classes_of(form.get("scope"))] or None
