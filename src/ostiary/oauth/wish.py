"""What an authorization request asks for, read and held to the rules (OAuth 2.1 section 4.1.1, RFC 7636, RFC 8707).

First who asks and where the answer goes: what is wrong there is told to the person (`OAuthError`), and the browser is
sent nowhere. Whatever else is wrong is told to the client (`BackError`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from authlib.oauth2.rfc7636.challenge import CODE_CHALLENGE_PATTERN

from ostiary.fields import CLASSES
from ostiary.oauth import redirects
from ostiary.oauth.scopes import classes_of
from ostiary.oauth.web import OAuthError, Parameters, read_parameters

if TYPE_CHECKING:
    from ostiary.control import Control
    from ostiary.oauth.clients import Client, Clients

MAX_STATE: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request that is in order. `servers` are those named by `resource`, `classes` those asked for by `scope`."""

    client: Client
    redirect_uri: str
    state: str | None
    challenge: str
    servers: tuple[str, ...]
    classes: tuple[str, ...]
    prompt: frozenset[str]


class BackError(Exception):
    """The answer is an error, and goes to the client."""

    def __init__(self, uri: str, state: str | None, error: OAuthError) -> None:
        super().__init__(error.error)
        self.uri, self.state, self.error = uri, state, error


def read(control: Control, clients: Clients, query: str, address: str) -> Wish:
    """Read the request. Raises `OAuthError` for the page, and `BackError` once it is clear whose answer it is."""
    if control.store.lockdown() is not None:
        raise OAuthError("access_denied", "Everything is locked down here. Nothing is granted now.", status=503)
    given = read_parameters(query, lists=("resource",))
    if {"client_id", "redirect_uri"}.intersection(given.repeated):
        given.check_repeated()
    client_id, redirect_uri = given.require("client_id"), given.require("redirect_uri")
    client = clients.look_up(control, client_id, address=address, redirect_uri=redirect_uri)
    if not redirects.matches(redirect_uri, client.redirect_uris):
        raise OAuthError("invalid_request", "The redirect address is not one that this client has registered.")
    state = given.get("state")
    try:
        return _read_rest(control, given, client, redirect_uri)
    except OAuthError as error:
        kept = None if "state" in given.repeated else state
        raise BackError(redirect_uri, kept, error) from None


def _read_rest(control: Control, given: Parameters, client: Client, redirect_uri: str) -> Wish:
    given.check_repeated()
    for name, code in (("request", "request_not_supported"), ("request_uri", "request_uri_not_supported")):
        if given.get(name) is not None:
            raise OAuthError(code, f"{name} is not supported")
    if given.get("authorization_details") is not None:  # RFC 9396 section 5: no type of it is known here
        raise OAuthError("invalid_authorization_details", "authorization_details is not supported")
    if given.get("response_mode") not in (None, "query"):
        raise OAuthError("invalid_request", "response_mode must be query")
    if given.require("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code")
    if len(given.get("state") or "") > MAX_STATE:
        raise OAuthError("invalid_request", "state is too long")
    if given.get("code_challenge_method") != "S256":
        raise OAuthError("invalid_request", "code_challenge_method must be S256")
    challenge = given.require("code_challenge")
    if CODE_CHALLENGE_PATTERN.fullmatch(challenge) is None:
        raise OAuthError("invalid_request", "code_challenge must have 43 to 128 unreserved characters")
    servers = tuple(server_of(control, resource) for resource in given.all("resource"))
    classes = classes_of(given.get("scope"))
    return Wish(
        client=client,
        redirect_uri=redirect_uri,
        state=given.get("state"),
        challenge=challenge,
        servers=tuple(dict.fromkeys(servers)),
        classes=classes or tuple(name for name in CLASSES if name in control.config.oauth.default_ceiling),
        prompt=frozenset((given.get("prompt") or "").split()),
    )


def server_of(control: Control, resource: str) -> str:
    """Return the server whose URL `resource` is, byte for byte (RFC 8707). Raises `OAuthError`."""
    base = f"{control.config.gateway.url}/mcp/"
    name = resource.removeprefix(base)
    if name == resource or name not in control.config.servers:
        raise OAuthError("invalid_target", "resource is not the URL of a server here")
    return name


def back(wish: Wish, error: str, description: str) -> NoReturn:
    """Raise the error that goes to the client."""
    raise BackError(wish.redirect_uri, wish.state, OAuthError(error, description))
