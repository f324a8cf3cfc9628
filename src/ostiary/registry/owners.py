"""Who owned each agent when what is in force was last looked at: whoever gets another owner starts anew.

What an agent was issued under one owner is not the next one's. `ostiary agents hand-over` takes it back itself; here it
is done for a change of the file, made while the gateway runs or while it is stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostiary.revocation import end, enforce
from ostiary.store import registry
from ostiary.store.registry import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.config import Config
    from ostiary.control import Control, Person
    from ostiary.registrar import Operator

WHY = "its owner changed"


def end_of_other_owners(control: Control, by: Operator | Person | None) -> None:
    """Revoke what agents hold from an owner before the one that is in force, and remember who that is."""
    here = _owners(control.config)
    with control.store.reading() as connection:
        if _news(registry.owners(connection), here) == {}:
            return
    with control.store.changing() as connection:
        before = registry.owners(connection)
        news = _news(before, here)
        moved = [agent for agent, owner in news.items() if agent in before and before[agent].is_another(owner)]
        hit = end(control, connection, [("agent", agent) for agent in moved], why=WHY) if moved else None
        for agent, owner in news.items():
            registry.note_owner(connection, agent, owner)
    if hit is not None:
        told = [{"agent": agent, "from": before[agent].key, "to": here[agent].key} for agent in moved]
        enforce(control, hit, by, why=WHY, owners=told)


def _owners(config: Config) -> dict[str, Owner]:
    """Return the owners in force, by principal id of the agent."""
    known = {key: config.person_id(key) for key in config.people}
    return {
        config.agent_id(key): Owner(key=agent.owner, person=known.get(agent.owner))
        for key, agent in config.agents.items()
    }


def _news(before: Mapping[str, Owner], now: Mapping[str, Owner]) -> dict[str, Owner]:
    return {agent: owner for agent, owner in now.items() if before.get(agent) != owner}
