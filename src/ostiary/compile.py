"""Turns a configuration into the bytes of a Snapshot: all that the data plane knows.

A pure function: the same configuration and keys give the same bytes, on every machine. So nothing of this machine is
in them (no path, no time, no secret), and what the file keeps by name is sorted by name; only rules keep their order.
What came into the format later is left out where it says nothing, so that what was compiled before keeps its digest.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ostiary.errors import Problem
from ostiary.fields import CLASSES
from ostiary.oauth.routes import serves_tokens, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostiary.config import AgentSection, Config, IssuerSection, ServerSection, StoredCredentialSection

FORMAT = 1
_RULE = re.compile(r"policy\.rules\[(\d+)\](?:\.any\[(\d+)\](?:\.of\[(\d+)\])?)?")
LOCAL_TTL_S = 3600

Json = dict[str, Any]


def compile(  # noqa: A001  (the step is called so everywhere)
    config: Config,
    *,
    local_keys: Sequence[Mapping[str, str]],
    partial: bool = False,
    lockdown: bool = False,
    suspended: Mapping[str, str] = MappingProxyType({}),
    remote_keys: Mapping[str, Sequence[Mapping[str, str]]] = MappingProxyType({}),
) -> bytes:
    """Return the canonical bytes of the snapshot of `config`.

    `local_keys` are the public JWKs under which the gateway's own tokens verify. With `partial`, checks that depend on
    a section that the file lacks are not made. With `lockdown` everything is refused. `suspended` says of agents, by
    key, why nothing of theirs is taken: `agent_suspended` or `owner_inactive`. `remote_keys` are the public JWKs, by
    the name of the issuer, where the key set is fetched, in any order; without any, none of its tokens verifies.
    """
    keys = {
        name: _in_order(remote_keys.get(name, ())) if issuer.jwks.url else config.keys.get(name, ())
        for name, issuer in config.issuers.items()
    }
    snapshot: Json = {
        "format": FORMAT,
        "partial": partial,
        "lockdown": lockdown,
        "gateway": _gateway(config),
        "audit": {
            "durability": config.audit.durability,
            "redact": [entry.removeprefix("argument/") for entry in config.audit.redact],
        },
        "issuers": [
            *(_issuer(name, issuer, keys[name]) for name, issuer in sorted(config.issuers.items())),
            _local_issuer(config, local_keys),
        ],
        "people": _people(config),
        "agents": [_agent(key, agent, config, suspended.get(key)) for key, agent in sorted(config.agents.items())],
        "services": [
            {"key": key, "id": config.service_id(key), "owner": service.owner}
            for key, service in sorted(config.services.items())
        ],
        "servers": [_server(name, server) for name, server in sorted(config.servers.items())],
        "policy": {"timezone": config.timezone, "rules": [dict(rule) for rule in config.rules]},
    }
    control = [[route.method, route.path, route.origin] for route in table(config)]
    if control:
        snapshot["control"] = control
    text = json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def snapshot_problem(config: Config, path: str, message: str) -> Problem:
    """Return what the core says of a snapshot of `config` as a problem of the file that the fault came from.

    `path` is that of a `SnapshotError`. Within rules it leads back to a line; elsewhere only to the file.
    """
    file, line = config.path.name, 0
    found = _RULE.match(path)
    if found is not None and int(found[1]) < len(config.rules):
        rule = config.rules[int(found[1])]
        file, line = rule["file"], rule["line"]
        if found[3] is not None:
            line = rule["any"][int(found[2])]["of"][int(found[3])]["line"]
    return Problem(file=file, line=line, column=0, key=path, message=message)


def _people(config: Config) -> list[Json]:
    """Return the people, and the owners of registered agents whom the file declares no more: nobody comes as them."""
    gone = {agent.owner for agent in config.agents.values()} - set(config.people)
    return [
        {"key": key, "id": None if key in gone else config.person_id(key)} for key in sorted({*config.people, *gone})
    ]


def _gateway(config: Config) -> Json:
    own = config.gateway.url.partition("://")[2]
    gateway: Json = {
        "url": config.gateway.url,
        "hosts": list(dict.fromkeys((own, *config.gateway.allowed_hosts))),
        "origins": list(config.gateway.allowed_origins),
        "refusals": config.gateway.refusals,
        "trusted_proxies": list(config.gateway.trusted_proxies),
    }
    if serves_tokens(config):
        gateway["issues_tokens"] = True
        gateway["authorization_server"] = bool(config.providers)
        gateway["default_scopes"] = [f"mcp:{word}" for word in CLASSES if word in config.oauth.default_ceiling]
    return gateway


def _issuer(name: str, issuer: IssuerSection, keys: Sequence[Mapping[str, str]]) -> Json:
    claims = {"email": issuer.claims.email, "groups": issuer.claims.groups}
    return {
        "name": name,
        "issuer": issuer.issuer,
        "keys": [dict(key) for key in keys],
        "algorithms": list(issuer.algorithms),
        "type": issuer.type,
        "audience": issuer.audience,
        "servers": _list_or_null(issuer.servers),
        "typ": list(issuer.typ),
        "max_ttl_s": issuer.max_ttl,
        "claims": {fact: claim for fact, claim in claims.items() if claim is not None},
        "email_domains": _list_or_null(issuer.email_domains),
        "scopes": None if issuer.scopes is None else {scope: list(classes) for scope, classes in issuer.scopes.items()},
        "direct": issuer.direct if isinstance(issuer.direct, bool) else list(issuer.direct),
    }


def _in_order(keys: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
    """Return `keys` in one order: whoever serves a key set may shuffle it each time."""
    return sorted(keys, key=lambda key: sorted(key.items()))


def _local_issuer(config: Config, keys: Sequence[Mapping[str, str]]) -> Json:
    """Return the gateway itself as an issuer, of tokens for agents and services, and for people through clients."""
    return {
        "name": "local",
        "issuer": config.gateway.url,
        "keys": [dict(key) for key in keys],
        "algorithms": ["EdDSA"],
        "type": "agent",
        "audience": None,
        "servers": None,
        "typ": ["at+jwt"],
        "max_ttl_s": LOCAL_TTL_S,
        "claims": {},
        "email_domains": None,
        "scopes": None,
        "direct": False,
    }


def _agent(key: str, agent: AgentSection, config: Config, suspended: str | None) -> Json:
    found: Json = {
        "key": key,
        "id": config.agent_id(key),
        "owner": agent.owner,
        "purpose": agent.purpose,
        "environment": agent.environment,
        "clients": [[issuer, client] for issuer, clients in sorted(agent.clients.items()) for client in clients],
        "ceiling": {
            "servers": list(agent.ceiling.servers),
            "tools": _list_or_null(agent.ceiling.tools),
            "classes": list(agent.ceiling.classes),
        },
        "expires": agent.expires,
    }
    later = {"suspended": suspended, "third_party": agent.third_party}
    return found | {name: value for name, value in later.items() if value is not None}


def _server(name: str, server: ServerSection) -> Json:
    return {
        "name": name,
        "url": server.url,
        "owner": server.owner,
        "environment": server.environment,
        "identity": _identity(server.identity),
        "default_class": server.default_class,
        "tools": {tool: known.action_class for tool, known in server.tools.items()},
        "timeout_s": server.timeout,
        "max_response_bytes": server.max_response,
    }


def _identity(identity: str | StoredCredentialSection) -> Json | str:
    if isinstance(identity, str):
        return identity
    return {"credential": identity.credential.removeprefix("store:"), "header": identity.header}


def _list_or_null(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)
