"""The table of what operators may ask of the registry: the admin socket and commands without a gateway share it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from ostiary.registry import agents, clients, credentials, people
from ostiary.revocation import revoke

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostiary.control import Control
    from ostiary.registrar import Operator

Json = dict[str, Any]


class RevokeBody(BaseModel):
    """What to revoke, and why."""

    model_config = ConfigDict(extra="forbid", strict=True)
    kind: Literal["token", "family", "client", "agent", "service", "subject", "owner", "third_party"]
    value: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act: the body that it takes, and what does it."""

    body: type[BaseModel]
    do: Callable[[Control, Any, Operator], Json]


def _revoke(control: Control, body: RevokeBody, by: Operator) -> Json:
    return revoke(control, [(body.kind, body.value)], by, why=body.reason).as_json()


LISTINGS: Final[Mapping[str, Callable[[Control], Json]]] = MappingProxyType(
    {
        "/people": people.listing,
        "/agents": agents.listing,
        "/services": agents.list_services,
        "/clients": clients.listing,
        "/credentials": credentials.listing,
    }
)
"""What GET gives."""

ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "/people/confirm": Act(body=people.PersonBody, do=people.confirm),
        "/people/disable": Act(body=people.DisableBody, do=people.disable),
        "/people/enable": Act(body=people.PersonBody, do=people.enable),
        "/agents/add": Act(body=agents.AddBody, do=agents.add_agent),
        "/agents/hand-over": Act(body=agents.HandOverBody, do=agents.hand_over),
        "/agents/suspend": Act(body=agents.SuspendBody, do=agents.suspend),
        "/agents/resume": Act(body=agents.NameBody, do=agents.resume),
        "/agents/remove": Act(body=agents.NameBody, do=agents.remove_agent),
        "/services/add": Act(body=agents.AddBody, do=agents.add_service),
        "/services/remove": Act(body=agents.NameBody, do=agents.remove_service),
        "/clients/add": Act(body=clients.AddBody, do=clients.add),
        "/clients/remove": Act(body=clients.RemoveBody, do=clients.remove),
        "/credentials/set": Act(body=credentials.SetBody, do=credentials.put),
        "/credentials/remove": Act(body=credentials.NameBody, do=credentials.remove),
        "/revoke": Act(body=RevokeBody, do=_revoke),
    }
)
"""What POST does."""


def perform(control: Control, path: str, body: bytes, by: Operator) -> Json:
    """Do the act at `path`. Raises `ValidationError` for a body that is wrong, `OstiaryError` for what cannot be."""
    act = ACTS[path]
    return act.do(control, act.body.model_validate_json(body), by)
