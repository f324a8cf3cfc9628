"""What may we issue? Access tokens for agents and services, and for clients that act for a person; none to people.

The one place that decides on a token. Whoever asks, by whatever way, asks `authorize` or `delegate` first: they hold
the request to the registry, the ceiling and the consent, and bound the lifetime; `sign` then only writes down what was
granted (RFC 9068).
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ostiary import jose
from ostiary.errors import OperationError
from ostiary.fields import CLASSES, MAX_TTL_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ostiary.config import AgentSection, Config, ServiceSection
    from ostiary.store import StoredKey

DEFAULT_TTL_S: Final = 600
#: What an OAuth client that nobody registered is called as an agent, before its client id.
CLIENT_AGENT: Final = "agent:client:"
#: What a token says of the person beyond `sub`; all else in it is decided here.
PERSONAL: Final = ("email", "groups", "_claim_names", "claims", "auth_time")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)\Z")


class TokenRefusedError(OperationError):
    """The token must not be issued. `error` is how a token endpoint calls that (RFC 6749 section 5.2, RFC 8707)."""

    def __init__(self, message: str, *, hint: str = "", error: str = "unauthorized_client") -> None:
        super().__init__(message, hint=hint)
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What is asked for. `scope` is a list of scopes, or `None` for all that the ceiling has.

    With `narrow`, scopes outside the ceiling are left out rather than refused, as long as any is inside.
    """

    type: Literal["agent", "service"]
    name: str
    server: str
    scope: Sequence[str] | None = None
    ttl_s: int = DEFAULT_TTL_S
    narrow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """What a client asks for on the authority of a person. `classes`, `servers` and `until` are what she consented to.

    `agent` is the principal id that the client acts as, `third_party` whose that is where nobody registered it, and
    `claims` what the person's token says of her (`PERSONAL`).
    """

    subject: str
    client_id: str
    agent: str
    third_party: str | None
    family: str
    server: str
    scope: Sequence[str]
    classes: Sequence[str]
    servers: Sequence[str]
    until: int
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A request that was found to be in order. Only `authorize` and `delegate` make one, and `sign` takes one.

    `client_id` is the subject itself unless a client acts for it; `extra` holds the claims of a delegated token.
    """

    subject: str
    owner: str
    server: str
    issuer: str
    audience: str
    scope: str
    issued_at: int
    expires_at: int
    jti: str
    client_id: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scopes(self) -> list[str]:
        """The scopes, one by one."""
        return self.scope.split()

    def as_record(self, **detail: Any) -> dict[str, Any]:
        """Return the fields of the record that the token was issued, with `detail`; nothing in them opens anything."""
        kind = self.subject.partition(":")[0]
        owner = {} if kind == "human" else {"owner": self.owner}
        actor = {"agent": self.extra["act"]["sub"]} if "act" in self.extra else {}
        return {
            "principal": {"type": kind, "id": self.subject, **owner},
            **actor,
            "token": {"jti": self.jti, "client_id": self.client_id, "issuer": "local", "scope": self.scopes},
            "server": self.server,
            "decision": "allow",
            "detail": {"audience": self.audience, "expires_at": self.expires_at, **detail},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A signed token and what it is good for."""

    text: str
    grant: Grant

    def as_json(self) -> dict[str, Any]:
        """Return the members of a token response (RFC 6749 section 5.1), and what identifies the token."""
        grant = self.grant
        return {
            "access_token": self.text,
            "token_type": "Bearer",
            "expires_in": grant.expires_at - grant.issued_at,
            "scope": grant.scope,
            "subject": grant.subject,
            "owner": grant.owner,
            "audience": grant.audience,
            "jti": grant.jti,
            "expires_at": grant.expires_at,
        }

    def __repr__(self) -> str:
        return f"AccessToken(***, jti={self.grant.jti!r})"


def parse_ttl(text: str) -> int:
    """Return the seconds of `90s`, `10m` or `1h`. Raises `TokenRefusedError`."""
    match = _DURATION.match(text)
    if match is None:
        raise TokenRefusedError(f"{text!r} is no duration", hint="write a number and a unit, as in 90s, 10m or 1h")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}[match[2]]


def authorize(request: TokenRequest, config: Config, *, now: int) -> Grant:
    """Hold `request` to what the configuration declares. Raises `TokenRefusedError`; `now` is epoch seconds."""
    if not 0 < request.ttl_s <= MAX_TTL_S:
        raise TokenRefusedError(f"a token lives at most {MAX_TTL_S // 60} minutes", hint="ask again when it has ended")
    expires_at = now + request.ttl_s
    owner: str
    if request.type == "agent":
        agent = _agent(request, config, now)
        owner, subject = agent.owner, config.agent_id(request.name)
        classes: Sequence[str] = agent.ceiling.classes
        if agent.expires is not None:
            expires_at = min(expires_at, agent.expires)
    else:
        owner, subject = _service(request, config).owner, config.service_id(request.name)
        classes = CLASSES
    if owner not in config.people:
        raise TokenRefusedError(
            f"{request.type} {request.name} has no owner among the people", hint=f"declare people.{owner}"
        )
    if request.server not in config.servers:
        raise _no_server(request.server, config)
    return Grant(
        client_id=subject,
        subject=subject,
        owner=owner,
        server=request.server,
        issuer=config.gateway.url,
        audience=f"{config.gateway.url}/mcp/{request.server}",
        scope=_scope(request, classes),
        issued_at=now,
        expires_at=expires_at,
        jti=secrets.token_urlsafe(16),
    )


def delegate(request: Delegation, config: Config, *, now: int) -> Grant:
    """Hold `request` to what was consented to. Raises `TokenRefusedError`; `now` (epoch seconds) becomes `iat`."""
    if request.server not in config.servers:
        raise _no_server(request.server, config)
    owner, servers, until = request.subject, request.servers, request.until
    classes = [name for name in CLASSES if name in request.classes]
    if not request.agent.startswith(CLIENT_AGENT):
        agent = _acting(request, config, now)
        owner, servers = agent.owner, [name for name in servers if name in agent.ceiling.servers]
        classes = [name for name in classes if name in agent.ceiling.classes]
        until = until if agent.expires is None else min(until, agent.expires)
    if request.server not in servers:
        raise TokenRefusedError(f"server {request.server} was not consented to", error="invalid_target")
    scope = [f"mcp:{name}" for name in classes if f"mcp:{name}" in request.scope]
    if not scope or len(scope) < len(set(request.scope)):
        raise TokenRefusedError("the scope is not inside what was consented to", error="invalid_scope")
    if until <= now:
        raise TokenRefusedError("the consent has ended", error="invalid_grant")
    act = {"sub": request.agent}
    if request.third_party is not None and request.agent.startswith(CLIENT_AGENT):
        act["third_party"] = request.third_party
    personal = {name: request.claims[name] for name in PERSONAL if name in request.claims}
    return Grant(
        subject=request.subject,
        client_id=request.client_id,
        owner=owner,
        server=request.server,
        issuer=config.gateway.url,
        audience=f"{config.gateway.url}/mcp/{request.server}",
        scope=" ".join(scope),
        issued_at=now,
        expires_at=min(now + config.oauth.access_token_ttl, until),
        jti=secrets.token_urlsafe(16),
        extra={"act": act, "fam": request.family, **personal},
    )


def agent_of_client(client_id: str, config: Config) -> str | None:
    """Return the key of the agent that an operator registered for a client of ours, or `None`."""
    return next((key for key, agent in config.agents.items() if client_id in agent.clients.get("local", ())), None)


def sign(grant: Grant, key: StoredKey) -> AccessToken:
    """Write the token down, signed with `key`, which must hold its private part."""
    if key.seed is None:
        raise TokenRefusedError("this key has retired and can sign nothing more")
    claims = {
        "iss": grant.issuer,
        "aud": grant.audience,
        "sub": grant.subject,
        "client_id": grant.client_id,
        "scope": grant.scope,
        "iat": grant.issued_at,
        "exp": grant.expires_at,
        "jti": grant.jti,
        **grant.extra,
    }
    payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
    return AccessToken(text=jose.sign({"typ": "at+jwt", "kid": key.kid}, payload, key.seed), grant=grant)


def _acting(request: Delegation, config: Config, now: int) -> AgentSection:
    """Return the registered agent as which the client acts, if it still does."""
    key = agent_of_client(request.client_id, config)
    if key is None or config.agent_id(key) != request.agent:
        raise TokenRefusedError("the client acts as another agent than was consented to", error="invalid_grant")
    agent = config.agents[key]
    if agent.expires is not None and agent.expires <= now:
        raise TokenRefusedError(f"agent {key} has expired", error="invalid_grant")
    if agent.owner not in config.people:
        raise TokenRefusedError(f"agent {key} has no owner among the people", error="invalid_grant")
    return agent


def _agent(request: TokenRequest, config: Config, now: int) -> AgentSection:
    agent = config.agents.get(request.name)
    if agent is None:
        raise TokenRefusedError(
            f"no agent is called {request.name}", hint=_elsewhere(request.name, config.agents, config)
        )
    if agent.issuer is not None:
        raise TokenRefusedError(
            f"agent {request.name} gets its tokens from {agent.issuer}", hint="ask that issuer, or leave out `issuer`"
        )
    if agent.expires is not None and agent.expires <= now:
        raise TokenRefusedError(f"agent {request.name} has expired", hint=f"agents.{request.name}.expires says when")
    if request.server in config.servers and request.server not in agent.ceiling.servers:
        raise TokenRefusedError(
            f"server {request.server} is outside the ceiling of agent {request.name}",
            hint=f"agents.{request.name}.ceiling.servers lists {', '.join(agent.ceiling.servers) or 'none'}",
            error="invalid_target",
        )
    if not agent.ceiling.classes:
        raise TokenRefusedError(
            f"agent {request.name} may do nothing: its ceiling has no classes",
            hint=f"list some in agents.{request.name}.ceiling.classes",
        )
    return agent


def _service(request: TokenRequest, config: Config) -> ServiceSection:
    service = config.services.get(request.name)
    if service is None:
        raise TokenRefusedError(
            f"no service is called {request.name}", hint=_elsewhere(request.name, config.services, config)
        )
    if service.issuer is not None:
        raise TokenRefusedError(
            f"service {request.name} gets its tokens from {service.issuer}",
            hint="ask that issuer, or leave out `issuer`",
        )
    return service


def _scope(request: TokenRequest, classes: Sequence[str]) -> str:
    allowed = [f"mcp:{name}" for name in CLASSES if name in classes]
    if request.scope is None:
        return " ".join(allowed)
    if not request.scope:
        raise TokenRefusedError(
            "no scope was asked for", hint=f"the ceiling has {' '.join(allowed)}", error="invalid_scope"
        )
    outside = [scope for scope in request.scope if scope not in allowed]
    if outside and not (request.narrow and len(outside) < len(request.scope)):
        raise TokenRefusedError(
            f"scope {' '.join(outside)} is outside the ceiling of {request.type} {request.name}",
            hint=f"the ceiling has {' '.join(allowed)}",
            error="invalid_scope",
        )
    return " ".join(scope for scope in allowed if scope in request.scope)


def _no_server(name: str, config: Config) -> TokenRefusedError:
    return TokenRefusedError(f"no server is called {name}", hint=_known(config.servers), error="invalid_target")


def _elsewhere(name: str, same: Iterable[str], config: Config) -> str:
    if name in config.people:
        return f"{name} is a person: people sign in, and their clients get tokens for them"
    if name in config.agents:
        return f"{name} is an agent: use --agent"
    if name in config.services:
        return f"{name} is a service: use --service"
    return _known(same)


def _known(names: Iterable[str]) -> str:
    return f"the configuration declares {', '.join(sorted(names)) or 'none'}"
