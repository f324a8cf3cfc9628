"""Who is the client? Proven at the token, revocation and introspection endpoints, in one way and no more.

Agents and services of ours sign an assertion (RFC 7523 section 2.2), or show a token of their platform; they have no
secrets. OAuth clients do what is said of them: nothing, a secret, or an assertion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ostiary.oauth import keysource, signed
from ostiary.oauth.autherror import ClientAuthError
from ostiary.oauth.signed import Signed, SignedError
from ostiary.oauth.workload import Once, Workload, federated_principal, names_of
from ostiary.store import assertions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostiary.config import AgentSection, Config, ServiceSection
    from ostiary.control import Control
    from ostiary.oauth.keysource import Section
    from ostiary.oauth.signed import KeySource

__all__ = [
    "ASSERTION_TYPE",
    "Authenticated",
    "ClientAuthError",
    "OAuthClient",
    "Workload",
    "authenticate_client",
    "federated_principal",
]

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
AHEAD_S: Final = 300
#: From `iat` to `exp`: a little more than what may be ahead, for clocks and for those who date back.
LIFE_S: Final = 600
_TYPES: Final = ("jwt", "client-authentication+jwt")
_OURS: Final = ("agent:", "service:")

Method = Literal["none", "secret", "private_key_jwt"]


class OAuthClient(Protocol):
    """As much of an OAuth client as matters here; `ostiary.oauth.clients` has them."""

    @property
    def id(self) -> str:
        """The client id."""

    @property
    def auth(self) -> Method:
        """How it proves who it is."""

    @property
    def jwks(self) -> Mapping[str, Any] | None:
        """Its keys, or `None`."""

    @property
    def jwks_uri(self) -> str | None:
        """Where its keys are, or `None`."""

    def has_secret(self, secret: str) -> bool:
        """Whether `secret` is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """A client that has proven who it is, as far as `method` says. `agent` is set for an agent or service of ours.

    Its `client_id` is then its principal id. `facts` is what the platform of a workload says of it, for the record, and
    `once` must be used up before anything is granted.
    """

    client_id: str
    method: Method
    agent: tuple[Section, str] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    once: Once | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signer:
    client_id: str
    agent: tuple[Section, str] | None
    sources: list[KeySource]


def authenticate_client(
    form: Mapping[str, str],
    basic: tuple[str, str] | None,
    control: Control,
    *,
    endpoint: str,
    find: Callable[[str], OAuthClient | None],
) -> Authenticated:
    """Return who asks. `form` has the parameters, `basic` what the Authorization header holds, decoded.

    `endpoint` is the URL that is asked; an assertion may name it as its audience. `find` returns an OAuth client by
    its id. Raises `ClientAuthError`.
    """
    asserted = "client_assertion" in form or "client_assertion_type" in form
    if [basic is not None, "client_secret" in form, asserted].count(True) > 1:
        raise ClientAuthError("invalid_request", "a client proves who it is in one way only", 400)
    if asserted:
        return _by_assertion(form, control, endpoint, find)
    client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret"))
    if not client_id:
        raise ClientAuthError("invalid_client", "client_id is missing")
    if form.get("client_id", client_id) != client_id:
        raise ClientAuthError("invalid_client", "client_id is not that of the Authorization header")
    if is_ours(client_id, control.config):
        raise ClientAuthError("invalid_client", "this client proves who it is by an assertion, or by its platform")
    client = find(client_id)
    if client is None:
        raise ClientAuthError("invalid_client", "the client is not known here")
    method: Method = "none" if secret is None else "secret"
    if client.auth != method:
        known = {"none": "no secret", "secret": "its secret", "private_key_jwt": "an assertion"}[client.auth]
        raise ClientAuthError("invalid_client", f"this client comes with {known}")
    if secret is not None and not client.has_secret(secret):
        raise ClientAuthError("invalid_client", "the secret is wrong")
    return Authenticated(client_id=client.id, method=method)


def is_ours(client_id: str, config: Config) -> bool:
    """Whether `client_id` is, or would be, that of an agent or service, which come without OAuth registration."""
    return client_id.startswith(_OURS) or own_client(client_id, config) is not None


def own_client(client_id: str, config: Config) -> tuple[Section, str] | None:
    """Return the agent or service that gets its tokens here under `client_id`: its principal id, or its name."""
    _, _, rest = client_id.partition(":")
    name = rest.removeprefix("local:") if rest else client_id
    sections: list[tuple[Section, Mapping[str, AgentSection | ServiceSection]]] = [
        ("agents", config.agents),
        ("services", config.services),
    ]
    for section, holders in sections:
        holder = holders.get(name)
        ours = holder is not None and holder.issuer is None and bool(holder.credentials)
        if ours and client_id in names_of(config, section, name):
            return section, name
    return None


# Assertions -----------------------------------------------------------------------------------------------------------


def _by_assertion(
    form: Mapping[str, str], control: Control, endpoint: str, find: Callable[[str], OAuthClient | None]
) -> Authenticated:
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise ClientAuthError("invalid_client", f"client_assertion_type must be {ASSERTION_TYPE}")
    text = form.get("client_assertion", "")
    try:
        token = signed.read(text, types=_TYPES)
        if token.text("iss") != token.text("sub"):
            return _by_platform(form, text, control, endpoint)
        signer = _signer(token, form.get("client_id"), control, find)
        _check(token, control, endpoint, signer)
    except SignedError as error:
        raise ClientAuthError("invalid_client", f"the assertion is refused: {error}") from None
    except assertions.UsedError as error:
        raise ClientAuthError("invalid_client", error.message) from None
    return Authenticated(client_id=signer.client_id, method="private_key_jwt", agent=signer.agent)


def _signer(
    token: Signed, client_id: str | None, control: Control, find: Callable[[str], OAuthClient | None]
) -> _Signer:
    """Return who should have signed. Raises `SignedError`."""
    subject, config = token.text("sub"), control.config
    owner = own_client(subject, config)
    if client_id not in (None, subject) and (owner is None or own_client(client_id or "", config) != owner):
        raise SignedError("it stands for another client")
    if owner is not None:
        return _Signer(client_id=_principal(config, owner), agent=owner, sources=_own_sources(control, owner))
    client = None if is_ours(subject, config) else find(subject)
    if client is None or client.auth != "private_key_jwt":
        raise SignedError("no client of that name signs assertions")
    source = keysource.of_client(control, client.jwks, client.jwks_uri)
    return _Signer(client_id=client.id, agent=None, sources=[source])


def _check(token: Signed, control: Control, endpoint: str, signer: _Signer) -> None:
    """Hold an assertion to RFC 7523 section 3, and use it up."""
    url, now = control.config.gateway.url, control.now()
    accepted = {url, url + TOKEN_PATH}
    if endpoint.startswith(f"{url}/oauth/"):
        accepted.add(endpoint)
    signed.check_audience(token, accepted)
    expires = signed.check_times(token, now=now, ahead_s=AHEAD_S, life_s=LIFE_S)
    jti = token.text("jti", longest=signed.MAX_JTI)
    signed.check_signature(token, signer.sources)
    issuer = signer.client_id if signer.agent else f"client {signer.client_id}"
    # Anybody can be an OAuth client, and sign as much as she likes.
    most = None if signer.agent else assertions.MOST
    assertions.use(control.store, issuer, jti, expires_at=expires + signed.SKEW_S, now=now, most=most)


def _by_platform(form: Mapping[str, str], text: str, control: Control, endpoint: str) -> Authenticated:
    """Take a token of a platform in place of an assertion of the client's own, for client credentials alone."""
    tokens = endpoint == control.config.gateway.url + TOKEN_PATH
    if not tokens or form.get("grant_type") != "client_credentials":
        raise SignedError("its iss and sub are not the client")
    try:
        found = federated_principal(text, control, client_id=form.get("client_id"))
    except ClientAuthError as error:
        raise ClientAuthError("invalid_client", error.description) from None
    owner = (found.section, found.name)
    return Authenticated(
        client_id=_principal(control.config, owner),
        method="private_key_jwt",
        agent=owner,
        facts=found.facts,
        once=None if found.once is None else replace(found.once, error="invalid_client"),
    )


def _own_sources(control: Control, owner: tuple[Section, str]) -> list[KeySource]:
    section, name = owner
    holder = control.config.agents[name] if section == "agents" else control.config.services[name]
    return [
        keysource.of_credential(control, (section, name, number), credential.private_key_jwt.jwks)
        for number, credential in enumerate(holder.credentials)
        if credential.private_key_jwt is not None
    ]


def _principal(config: Config, owner: tuple[Section, str]) -> str:
    section, name = owner
    return config.agent_id(name) if section == "agents" else config.service_id(name)
