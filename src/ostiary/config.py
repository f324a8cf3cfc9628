"""The configuration file as types: what may stand in `ostiary.yaml`, with its defaults.

`load` reads the file and everything that it names, and either returns a `Config` in which every reference holds or
raises one `ConfigError` with every fault. The classes below are the file, section by section; their docstrings are
the descriptions in `ostiary schema`. Secrets are never in here, only references to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from ostiary.configidentity import (
    CredentialSection,
    FederatedSection,
    IdentitySection,
    IssuerSection,
    OAuthSection,
    ProviderSection,
)
from ostiary.errors import Problem
from ostiary.fields import (
    ActionClass,
    Argument,
    Bytes,
    Email,
    Moment,
    Name,
    PemSource,
    Pins,
    Seconds,
    SecretReference,
    Section,
    StoreReference,
    StoreUrl,
    UpstreamIdentity,
    Word,
    Words,
)
from ostiary.webfields import BaseUrl, HeaderName, Host, Listen, Network, Origin, UpstreamUrl

__all__ = [
    "DEFAULT_FILE",
    "AgentSection",
    "Config",
    "CredentialSection",
    "Document",
    "FederatedSection",
    "IdentitySection",
    "IssuerSection",
    "OAuthSection",
    "PersonSection",
    "ProviderSection",
    "ServerSection",
    "ServiceSection",
    "StoredCredentialSection",
    "TlsSection",
    "load",
]

DEFAULT_FILE = "ostiary.yaml"


class TlsSection(Section):
    """What the public door shows to clients over TLS."""

    cert: PemSource
    """The certificate and those between it and its authority, in PEM: a path, or `env:NAME`."""
    key: PemSource
    """Its private key, in PEM: a path, `file:PATH` or `env:NAME`."""


class GatewaySection(Section):
    """The public door."""

    listen: Listen
    """IP address and port that clients reach."""
    url: BaseUrl
    """How clients call the gateway. It is the issuer of its tokens, and no path follows it."""
    allowed_hosts: tuple[Host, ...] = ()
    """Values of the Host header that are taken besides the host of `url`."""
    allowed_origins: tuple[Origin, ...] = ()
    """Values of the Origin header that are taken besides those of the gateway's own hosts."""
    tls: TlsSection | None = None
    """Speak HTTPS, HTTP/2 and HTTP/1.1. Files that change are shown to the next connection."""
    trusted_proxies: tuple[Network, ...] = ()
    """Address ranges of proxies in front, whose `X-Forwarded-For` is believed."""
    refusals: Literal["error", "result"] = "error"
    """How a refused tool call is answered: a JSON-RPC error, or a tool result marked as an error."""


class AdminSection(Section):
    """The operators' door: health and metrics."""

    listen: Listen = "127.0.0.1:8812"
    """IP address and port. Keep it where agents cannot reach it."""


class StoreSection(Section):
    """Where keys and registrations are kept."""

    url: StoreUrl = "sqlite:///var/ostiary.db"
    """An SQLite file; a relative path is relative to the configuration file."""
    key: SecretReference | None = None
    """The sealing key: `env:NAME`, or a `file:PATH` that not everybody may read. By default a file beside the store."""


class AuditSection(Section):
    """The record of every decision."""

    dir: Word = "var/audit"
    """The folder of the segments; a relative path is relative to the configuration file."""
    durability: Literal["by_class", "disk", "os"] = "by_class"
    """What must be on disk before a call goes on: those that change something, all, or none."""
    redact: tuple[Argument, ...] = ()
    """Arguments that are recorded only as a keyed digest: `argument/PATH`, or `"*"` for all."""


class PersonSection(Section):
    """A person: one who may own agents, services and servers."""

    email: Email | None = None
    """Where to reach the person. It identifies nobody."""
    issuer: Name | None = None
    """The provider, or the issuer (of `type: human`), that knows the person."""
    subject: Word | None = None
    """What it calls the person: the subject, not the address."""


class CeilingSection(Section):
    """The most that an agent can ever do, whatever the rules say."""

    servers: tuple[Name, ...] = ()
    """The servers that it may call."""
    tools: tuple[Word, ...] | None = None
    """The tools that it may call, as `server/tool`, and nothing else. By default all of those servers."""
    classes: tuple[ActionClass, ...] = ()
    """The classes of action that it may take."""


class AgentSection(Section):
    """An agent: a program that acts by itself or for somebody."""

    owner: Name
    """The person who answers for it."""
    purpose: Word | None = None
    """What it is for."""
    environment: Name | None = None
    """Where it runs, as in `production`."""
    ceiling: CeilingSection = CeilingSection()
    expires: Moment | None = None
    """When it stops working."""
    issuer: Name | None = None
    """The issuer (of `type: agent`) whose subject it is. By default the gateway itself."""
    subject: Word | None = None
    """What that issuer calls it."""
    clients: Mapping[Name, Words] = Field(default_factory=dict)
    """Client ids, by issuer, through which this agent acts for others. `local` is the gateway itself."""
    deputy: Name | None = None
    """Who answers for it where the owner no longer does."""
    third_party: Word | None = None
    """Whose agent it is, if not ours."""
    credentials: tuple[CredentialSection, ...] = ()
    """How it proves who it is at the token endpoint, without a browser."""


class ServiceSection(Section):
    """A service: a workload with an identity of its own."""

    owner: Name
    """The person who answers for it."""
    purpose: Word | None = None
    """What it is for."""
    issuer: Name | None = None
    """The issuer (of `type: service`) whose subject it is. By default the gateway itself."""
    subject: Word | None = None
    """What that issuer calls it."""
    credentials: tuple[CredentialSection, ...] = ()
    """How it proves who it is at the token endpoint."""


class ToolSection(Section):
    """What is known of one tool."""

    action_class: ActionClass = Field(alias="class")
    """What calling it does."""


class StoredCredentialSection(Section):
    """A credential from the store, for a server that knows no JWT of ours."""

    credential: StoreReference
    """Which: `store:NAME`, set by `ostiary credentials set NAME`."""
    header: HeaderName = "Authorization"
    """The header that carries it."""


class ServerSection(Section):
    """An MCP server behind the gateway, at `{gateway.url}/mcp/{name}`."""

    url: UpstreamUrl
    """Its endpoint, over HTTP."""
    owner: Name
    """The person who answers for it."""
    environment: Name | None = None
    """Where it runs, as in `production`."""
    identity: Annotated[
        Annotated[UpstreamIdentity, Tag("(word)")] | Annotated[StoredCredentialSection, Tag("(stored)")],
        Discriminator(lambda value: "(stored)" if isinstance(value, (dict, StoredCredentialSection)) else "(word)"),
    ] = "jwt"
    """How the gateway is known to it: by a JWT for each call, by a stored credential, or not at all."""
    tools: Mapping[Word, ToolSection] = Field(default_factory=dict)
    """Its tools, by name."""
    default_class: ActionClass = "admin"
    """The class of tools that are not listed."""
    pins: Pins
    """Whether tools are held to reviewed definitions. Must be written; this version serves `off`."""
    timeout: Seconds = Field("60s", validate_default=True)
    """How long to wait for its answer."""
    max_response: Bytes = Field("16MiB", validate_default=True)
    """The largest answer, or event of a stream, that is taken."""


class Document(Section):
    """The configuration of an Ostiary gateway."""

    gateway: GatewaySection
    admin: AdminSection = AdminSection()
    store: StoreSection = StoreSection()
    audit: AuditSection = AuditSection()
    people: Mapping[Name, PersonSection] = Field(default_factory=dict)
    """Who may own agents, services and servers."""
    identity: IdentitySection = IdentitySection()
    oauth: OAuthSection = Field(default_factory=lambda: OAuthSection.model_validate({}))
    agents: Mapping[Name, AgentSection] = Field(default_factory=dict)
    """The agents that are known. Others are refused."""
    services: Mapping[Name, ServiceSection] = Field(default_factory=dict)
    """The services that may get tokens from this gateway, or are named in rules."""
    servers: Mapping[Name, ServerSection] = Field(default_factory=dict)
    """The MCP servers behind the gateway."""
    policy: Any = None
    """The rules, in place, or the files that hold them. They have a reader of their own, `ostiary.policy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration that has been checked, with all that it names read in.

    Holds no secret and no open file. `keys` are the public keys of each issuer with a key set in a file that are good
    for its algorithms, and `credential_keys` those of each credential with one: `("agents", "ci-bot", 0)` is the first
    of `agents.ci-bot.credentials`.
    """

    path: Path
    """The configuration file, absolute."""
    sections: frozenset[str]
    """The top-level keys that the file has."""
    gateway: GatewaySection
    admin: AdminSection
    store: StoreSection
    audit: AuditSection
    people: Mapping[str, PersonSection]
    issuers: Mapping[str, IssuerSection]
    providers: Mapping[str, ProviderSection]
    oauth: OAuthSection
    agents: Mapping[str, AgentSection]
    services: Mapping[str, ServiceSection]
    servers: Mapping[str, ServerSection]
    keys: Mapping[str, tuple[Mapping[str, str], ...]]
    credential_keys: Mapping[tuple[str, str, int], tuple[Mapping[str, str], ...]]
    timezone: str
    rules: tuple[Mapping[str, Any], ...]
    """The rules in the form of the snapshot."""
    warnings: tuple[Problem, ...]
    """What is allowed, but somebody should know; to be told at each start."""
    sources: tuple[Path, ...]
    """Every file that was read, absolute: what to watch."""
    registered: frozenset[str] = frozenset()
    """The agents and services that are not from the file but from the store, as `agents.NAME` or `services.NAME`."""

    @property
    def folder(self) -> Path:
        """The folder that relative paths are relative to."""
        return self.path.parent

    @property
    def audit_dir(self) -> Path:
        """The folder of the record, absolute."""
        return self.folder / self.audit.dir

    @property
    def ca_file(self) -> Path | None:
        """The further authorities for client documents on this machine, absolute."""
        return None if self.oauth.ca_file is None else self.folder / self.oauth.ca_file

    def person_id(self, key: str) -> str | None:
        """Return the principal id of a person, or None for one whom no issuer knows."""
        person = self.people[key]
        return None if person.issuer is None else f"human:{person.issuer}:{person.subject}"

    def agent_id(self, key: str) -> str:
        """Return the principal id of an agent."""
        agent = self.agents[key]
        return f"agent:local:{key}" if agent.issuer is None else f"agent:{agent.issuer}:{agent.subject}"

    def service_id(self, key: str) -> str:
        """Return the principal id of a service."""
        service = self.services[key]
        return f"service:local:{key}" if service.issuer is None else f"service:{service.issuer}:{service.subject}"


def load(path: Path, *, partial: bool = False, assumed: tuple[str, ...] = ()) -> Config:
    """Read the configuration file at `path` and all files that it names.

    With `partial` the file may be any part of a configuration, or a bare list of rules; whatever would need an absent
    section is then not checked, and `assumed` are principal ids that bare names in rules may mean. Raises
    `ConfigError` with every fault that was found.
    """
    from ostiary.configread import read_config  # it needs the types above

    return read_config(path, partial=partial, assumed=assumed)
