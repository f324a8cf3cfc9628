"""What a person may be asked to consent to: the classes and servers that a client can have from her, and no more.

The servers are those that she could reach through this client, as the rules in force say; asking the very code of the
request path, so that the page never promises what a call would not get.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ostiary.fields import CLASSES
from ostiary.identity.accounts import claims_for_token
from ostiary.oauth.token import CLIENT_AGENT, agent_of_client
from ostiary.oauth.web import OAuthError
from ostiary.registry.effective import keys_of_token, suspension
from ostiary.registry.liveness import People
from ostiary.store import epochs, grants

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import sqlalchemy as sa

    from ostiary.config import Config
    from ostiary.control import Control, EpochKind
    from ostiary.identity.accounts import Account
    from ostiary.oauth.clients import Client
    from ostiary.store.grants import Consent

#: How long a consent lasts.
CONSENT_S: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The agent as which a client acts. `third_party` is set where nobody registered it; `until` is its own end.

    `key` and `owner` are those of an agent that is registered.
    """

    id: str
    key: str | None
    owner: str | None
    third_party: str | None
    until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be consented to now. `given` is the consent that there is already, if it still counts."""

    actor: Actor
    classes: tuple[str, ...]
    servers: tuple[str, ...]
    given: Consent | None


def actor_of(client: Client, config: Config) -> Actor:
    """Return the agent as which `client` acts."""
    key = agent_of_client(client.id, config)
    if key is None:
        return Actor(id=CLIENT_AGENT + client.id, key=None, owner=None, third_party=client.third_party, until=None)
    agent = config.agents[key]
    return Actor(id=config.agent_id(key), key=key, owner=agent.owner, third_party=None, until=agent.expires)


def make_offer(
    control: Control, client: Client, account: Account, asked: Collection[str], *, address: str | None = None
) -> Offer:
    """Return what `account` can be asked for on behalf of `client`, which wants the classes `asked`.

    Raises `OAuthError` (`access_denied`) where the person or the agent may not act at all.
    """
    config, now = control.config, control.now()
    actor = actor_of(client, config)
    with control.store.reading() as connection:
        check_standing(connection, config, account.id, actor.key, now=now)
        before = grants.consent(connection, client.id, account.id)
        floor = consent_floor(connection, config, account.id, client.id, actor)
    given = before if before is not None and still_counts(before, client, actor, floor=floor, now=now) else None
    servers: Iterable[str] = config.servers
    if actor.key is None:
        wanted = {*config.oauth.default_ceiling, *asked, *(() if given is None else given.classes)}
    else:
        # An operator has said what this agent is for: all of that at once, so that nobody is asked again for a part.
        ceiling = config.agents[actor.key].ceiling
        wanted = set(ceiling.classes)
        servers = [name for name in servers if name in ceiling.servers]
    classes = tuple(name for name in CLASSES if name in wanted)
    facts = _facts(control, client, account, actor, classes, address)
    reached = tuple(name for name in servers if _reaches(control, facts, name))
    return Offer(actor=actor, classes=classes, servers=reached, given=given)


def still_counts(given: Consent, client: Client, actor: Actor, *, floor: int, now: int) -> bool:
    """Whether a consent is in force: not expired or revoked, and for what the client still shows and acts as."""
    same = given.digest == client.digest and given.agent == actor.id
    return same and given.expires_at > now and given.created_at > floor


def epoch_keys(
    config: Config, subject: str, client_id: str, actor: Actor, *, family: str | None = None
) -> list[tuple[EpochKind, str]]:
    """Return all by which tokens of this client for this person can be revoked."""
    return keys_of_token(
        config, subject=subject, client=client_id, agent=actor.id, family=family, third_party=actor.third_party
    )


def consent_floor(connection: sa.Connection, config: Config, subject: str, client_id: str, actor: Actor) -> int:
    """Return when consents to this client were last revoked.

    What ends a person's own sign-ins (kind `subject`) asks for another sign-in, not for another consent.
    """
    keys = [key for key in epoch_keys(config, subject, client_id, actor) if key[0] != "subject"]
    return epochs.floor(connection, keys)


def check_standing(
    connection: sa.Connection,
    config: Config,
    account: str,
    agent: str | None,
    *,
    now: int,
    error: str = "access_denied",
) -> None:
    """Raise `OAuthError` if the person, or the registered agent with the key `agent`, may not act now."""
    if not People.read(config, connection, only=[account]).standing(account, now=now).live:
        raise OAuthError(error, "this account may not be used here now")
    if agent is not None and suspension(config, connection, agent, now=now) is not None:
        raise OAuthError(error, f"agent {agent} is suspended, or its owner is gone")


def _facts(
    control: Control, client: Client, account: Account, actor: Actor, classes: Collection[str], address: str | None
) -> dict[str, Any]:
    """Return the facts of a call that the client would make for this person, but for the server."""
    said = claims_for_token(account, control.config)
    principal = {"type": "human", "id": account.id}
    principal |= {name: said[name] for name in ("email", "groups", "claims") if said.get(name) is not None}
    return {
        "principal": principal,
        "agent": {"id": actor.id},
        "mcp_method": "tools/list",
        "token": {"scope": " ".join(f"mcp:{name}" for name in classes), "client_id": client.id},
        "request": {"method": "POST"} | ({} if address is None else {"ip": address}),
        "time": datetime.fromtimestamp(control.now(), UTC).isoformat(timespec="seconds"),
    }


def _reaches(control: Control, facts: dict[str, Any], server: str) -> bool:
    snapshot = control.snapshot()
    if snapshot is None:
        return False
    asked = {**facts, "server": server, "request": {**facts["request"], "path": f"/mcp/{server}"}}
    answer: dict[str, Any] = json.loads(snapshot.decide(json.dumps(asked)))
    return bool(answer["decision"] == "allow")
