"""The sections of the file on who is believed: providers, issuers, credentials, and what we issue ourselves."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from ostiary.fields import (
    ActionClass,
    Algorithm,
    Direct,
    Exact,
    FederationPreset,
    GrantLife,
    Name,
    Preset,
    PrincipalType,
    SecretReference,
    Section,
    Switch,
    TokenLife,
    Word,
    Words,
)
from ostiary.webfields import Domain, FetchUrl

PLATFORM_ISSUERS: Final[Mapping[str, str]] = {"github-actions": "https://token.actions.githubusercontent.com"}
"""The issuers that presets of workload identity know."""


class _OneOfSection(Section):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})


class JwksSection(_OneOfSection):
    """Public keys: one of the two."""

    file: Word | None = None
    """A JSON Web Key Set. It is read again when it changes."""
    url: FetchUrl | None = None
    """Where a JSON Web Key Set is fetched from, again and again."""


class ClaimsSection(Section):
    """Which claims of an issuer's tokens become facts."""

    email: Word | None = None
    """The claim that holds the e-mail address."""
    groups: Word | None = None
    """The claim that holds the groups."""


class IssuerSection(Section):
    """Somebody else whose JWTs are accepted, pinned."""

    issuer: Word
    """The exact value of `iss`."""
    jwks: JwksSection
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    """The signature algorithms that are taken."""
    type: PrincipalType
    """What the subjects of this issuer are."""
    audience: Word | None = None
    """The value of `aud`. By default the URL of the server that is called; anything else needs `servers`."""
    servers: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """The only servers that these tokens open."""
    typ: Words = ("at+jwt",)
    """The values of the `typ` header that are taken."""
    max_ttl: TokenLife = Field("60m", validate_default=True)
    """The longest life of a token, from `iat` to `exp`."""
    claims: ClaimsSection = ClaimsSection()
    email_domains: Annotated[tuple[Domain, ...], Field(min_length=1)] | None = None
    """The domains whose addresses this issuer may vouch for. Only then are `email` and `domain` facts."""
    scopes: Mapping[Word, tuple[ActionClass, ...]] | None = None
    """The classes that each of the issuer's scopes grants; with it, other scopes grant none."""
    direct: Direct = False
    """Whether subjects act in person: always, or through the client ids listed."""


class ProviderSection(Section):
    """An OpenID provider at which people sign in."""

    preset: Preset = "generic"
    """What is known of its kind."""
    issuer: FetchUrl
    """Its exact issuer identifier; its metadata is found from there."""
    client_id: Word
    """How the gateway is known to it."""
    client_secret: SecretReference | None = None
    """The secret of that client, as `env:NAME` or `file:PATH`."""
    scopes: Annotated[tuple[Word, ...], Field(min_length=1)] = ("openid", "email", "profile")
    """What is asked for at sign-in."""
    claims: ClaimsSection = ClaimsSection()
    """Which claims become facts; what is not said here is as the preset knows it."""
    email_domains: Annotated[tuple[Domain, ...], Field(min_length=1)] | None = None
    """The domains whose addresses this provider may vouch for. Only then are `email` and `domain` facts."""


class IdentitySection(Section):
    """Who is believed."""

    providers: Mapping[Name, ProviderSection] = Field(default_factory=dict)
    """OpenID providers at which people sign in."""
    issuers: Mapping[Name, IssuerSection] = Field(default_factory=dict)
    """Issuers of JWTs that are accepted from others."""


class OAuthSection(Section):
    """The gateway as an authorization server: what it issues, and to which clients."""

    dynamic_registration: Switch = False
    """Whether clients may register themselves (RFC 7591): limited, and expiring when unused."""
    access_token_ttl: TokenLife = Field("10m", validate_default=True)
    """The life of access tokens."""
    refresh_token_ttl: GrantLife = Field("8h", validate_default=True)
    """The life of each refresh token; every use brings a new one."""
    allowed_client_id_domains: tuple[Domain, ...] = ()
    """The domains whose client ID metadata documents are taken. Without any, all are."""
    default_ceiling: Annotated[tuple[ActionClass, ...], Field(min_length=1)] = ("read", "query")
    """The classes that people are asked for up front on behalf of a client that nobody registered."""
    owner_lease: GrantLife = Field("720h", validate_default=True)
    """How long an owner counts as live after the last sign-in or confirmation."""
    danger_loopback_clients: Switch = False
    """Take client ID metadata documents from this machine. Only for trying out: `gateway.url` must be loopback."""
    ca_file: Word | None = None
    """Further certificate authorities, in PEM, for those documents on this machine."""


class PrivateKeyJwtSection(Section):
    """A client that signs its own assertions (RFC 7523)."""

    jwks: JwksSection


class FederatedSection(Section):
    """A workload that shows a token of its platform."""

    preset: FederationPreset | None = None
    """Whose tokens: what is known of the platform."""
    issuer: FetchUrl | None = None
    """The exact issuer. Needed, unless the preset knows it."""
    jwks: JwksSection | None = None
    """Its keys; by default found from the issuer."""
    subject: Exact
    """The exact subject; there are no wildcards."""
    audience: Exact | None = None
    """The exact audience. By default `gateway.url`."""

    @property
    def expected_issuer(self) -> str:
        """The issuer: the one that is written, or the one that the preset knows."""
        return self.issuer or PLATFORM_ISSUERS[self.preset or ""]


class CredentialSection(_OneOfSection):
    """One way in which an agent or service proves who it is at the token endpoint: one of the two."""

    private_key_jwt: PrivateKeyJwtSection | None = None
    """By assertions that it signs."""
    federated: FederatedSection | None = None
    """By a token of the platform that it runs on."""
