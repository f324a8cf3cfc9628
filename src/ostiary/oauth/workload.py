"""Workloads that show a token of the platform that they run on, instead of a secret of ours.

A token counts where a credential pins its issuer, its subject and its audience, all three exactly. There are no
patterns: a subject that a pattern matches is one that somebody else may be able to choose.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ostiary.oauth import keysource, signed
from ostiary.oauth.autherror import ClientAuthError
from ostiary.oauth.signed import Signed, SignedError
from ostiary.store import assertions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import sqlalchemy as sa

    from ostiary.config import AgentSection, Config, FederatedSection, ServiceSection
    from ostiary.control import Control
    from ostiary.oauth.keysource import Place, Section

MAX_LIFE_S: Final = 24 * 3600
MAX_FACT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """A token of a platform that is good for one of ours: it must be used up in the change that grants that.

    `error` is what it is refused with if it was used before.
    """

    issuer: str
    jti: str
    expires_at: int
    error: str = "invalid_grant"

    def use_up(self, connection: sa.Connection, *, now: int) -> None:
        """Use it up. Raises `ClientAuthError`."""
        try:
            assertions.use_up(connection, self.issuer, self.jti, expires_at=self.expires_at, now=now)
        except assertions.UsedError as error:
            raise ClientAuthError(self.error, error.message, 401 if self.error == "invalid_client" else 400) from None


class Workload(NamedTuple):
    """Whom a token of a platform stands for. `facts` is what the platform says of the workload, for the record.

    Where `once` is set, it must be used up before anything is granted.
    """

    section: Section
    name: str
    facts: Mapping[str, str]
    once: Once | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What is known of a platform. `once`: each of its tokens is good for one token of ours."""

    issuer: str | None = None
    once: bool = False
    facts: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _claims: {}


def _of_pod(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    said = claims.get("kubernetes.io")
    if not isinstance(said, dict):
        return {}
    pod = said.get("pod")
    return {"namespace": said.get("namespace"), "pod": pod.get("name") if isinstance(pod, dict) else None}


def _of_job(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: claims.get(name) for name in ("repository", "workflow", "run_id")}


PLATFORMS: Final[Mapping[str | None, Platform]] = {
    None: Platform(),
    # Kubernetes gives a pod the same token until it is due for a new one, so it is shown again and again.
    "kubernetes": Platform(facts=_of_pod),
    "github-actions": Platform(issuer="https://token.actions.githubusercontent.com", once=True, facts=_of_job),
}


def federated_principal(assertion: str, control: Control, *, client_id: str | None = None) -> Workload:
    """Return whom the token `assertion` of a platform stands for (RFC 7523 section 2.1 and 3).

    `client_id` is what the client says it is, if it says so; it must name the same. Raises `ClientAuthError`
    (`invalid_grant`).
    """
    try:
        return _check(signed.read(assertion), control, client_id)
    except SignedError as error:
        raise ClientAuthError("invalid_grant", f"the assertion is refused: {error}", 400) from None


def names_of(config: Config, section: Section, name: str) -> tuple[str, ...]:
    """Return the client ids of an agent or service that gets its tokens here: its principal id, and its bare name."""
    if section == "agents":
        return config.agent_id(name), name
    return (config.service_id(name),) if name in config.agents else (config.service_id(name), name)


def _check(token: Signed, control: Control, client_id: str | None) -> Workload:
    config = control.config
    issuer, subject = token.text("iss"), token.text("sub")
    pinned = [
        (place, part)
        for place, part in _federated(config)
        if (_issuer(part), part.subject) == (issuer, subject) and _is_for(token, part.audience or config.gateway.url)
    ]
    owners = {place[:2] for place, _ in pinned}
    if len(owners) != 1:
        raise SignedError("no agent or service is pinned to its issuer, subject and audience")
    section, name = owners.pop()
    if client_id is not None and client_id not in names_of(config, section, name):
        raise SignedError("it stands for another client")
    now = control.now()
    expires = signed.check_times(token, now=now, ahead_s=MAX_LIFE_S, life_s=MAX_LIFE_S)
    sources = [
        keysource.of_issuer(control, issuer)
        if part.jwks is None
        else keysource.of_credential(control, place, part.jwks)
        for place, part in pinned
    ]
    signed.check_signature(token, sources)
    platforms = [PLATFORMS[part.preset] for _, part in pinned]
    once = None
    if any(platform.once for platform in platforms):
        jti = token.text("jti", longest=signed.MAX_JTI)
        once = Once(issuer=f"workload {issuer}", jti=jti, expires_at=expires + signed.SKEW_S)
    said = {"issuer": issuer, "subject": subject, **platforms[0].facts(token.claims)}
    facts = {key: _line(value) for key, value in said.items() if isinstance(value, str)}
    return Workload(section, name, facts, once)


def _federated(config: Config) -> Iterator[tuple[Place, FederatedSection]]:
    """Yield the federated credentials of all who get their tokens here."""
    sections: list[tuple[Section, Mapping[str, AgentSection | ServiceSection]]] = [
        ("agents", config.agents),
        ("services", config.services),
    ]
    for section, holders in sections:
        for name, holder in holders.items():
            if holder.issuer is None:
                for number, credential in enumerate(holder.credentials):
                    if credential.federated is not None:
                        yield (section, name, number), credential.federated


def _issuer(part: FederatedSection) -> str | None:
    return part.issuer or PLATFORMS[part.preset].issuer


def _is_for(token: Signed, audience: str) -> bool:
    return token.claims.get("aud") in (audience, [audience])


def _line(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c)[0] != "C")[:MAX_FACT]
