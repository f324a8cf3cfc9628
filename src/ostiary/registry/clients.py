"""Acts on OAuth clients: list them, register one, remove one with all that it was granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ostiary.registrar import NotRecordedError
from ostiary.registry.effective import effective
from ostiary.registry.sections import RegistryError
from ostiary.revocation import end, enforce
from ostiary.store import clients

if TYPE_CHECKING:
    from ostiary.control import Control
    from ostiary.registrar import Operator


class AddBody(BaseModel):
    """A client of which its people know; `name` is its id and what people are shown."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    redirect_uris: list[str]
    confidential: bool = False


class RemoveBody(BaseModel):
    """Which client."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str


def listing(control: Control) -> dict[str, Any]:
    """Return all clients, with the registered agent that each acts as, if any."""
    config = effective(control.config, control.store, now=control.now()).config
    agents = {client: key for key, agent in config.agents.items() for client in agent.clients.get("local", ())}
    return {
        "clients": [
            {
                "id": each.id,
                "name": each.name,
                "kind": each.kind,
                "redirect_uris": list(each.metadata.get("redirect_uris", ())),
                "confidential": each.secret is not None,
                "agent": f"agent:local:{agents[each.id]}" if each.id in agents else f"agent:client:{each.id}",
                "created": each.created_at,
                "expires": each.expires_at,
                "used": each.used_at,
            }
            for each in clients.all_clients(control.store)
        ]
    }


def add(control: Control, body: AddBody, by: Operator) -> dict[str, Any]:
    """Register a client. The secret of a confidential one is in the answer, and nowhere else ever again."""
    config = effective(control.config, control.store, now=control.now()).config
    for kind, sections in (("agents", config.agents), ("services", config.services)):
        if body.name in sections and sections[body.name].credentials:
            raise RegistryError(
                f"{kind}.{body.name} gets tokens under this name already", hint="choose another name for the client"
            )
    secret = clients.add_registered(
        control.store,
        body.name,
        body.name,
        body.redirect_uris,
        confidential=body.confidential,
        now=control.now(),
    )
    detail = {"client": body.name, "redirect_uris": body.redirect_uris, "confidential": body.confidential}
    try:
        control.record("admin", "client_registered", by, detail=detail)
    except NotRecordedError:
        clients.remove(control.store, body.name)
        raise
    return {"client_id": body.name, **({} if secret is None else {"client_secret": secret})}


def remove(control: Control, body: RemoveBody, by: Operator) -> dict[str, Any]:
    """Forget a client, and revoke all that it was granted."""
    # In one change, so that nothing is issued to it in between.
    with control.store.changing() as connection:
        if clients.get(connection, body.id) is None:
            raise RegistryError(f"no client has the id {body.id[:200]}", hint="`ostiary clients list` shows them")
        hit = end(control, connection, [("client", body.id)], why="removed")
        clients.forget(connection, body.id)
    enforce(control, hit, by, why="removed")
    control.record("admin", "client_removed", by, detail={"client": body.id, "families": hit.families})
    return {"removed": body.id, "hit": hit.as_json()}
