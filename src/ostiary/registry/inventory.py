"""The inventory: everybody whom file and store know, who answers for whom, what each may at most do, when last seen.

Times are seconds since the epoch, and null for never. There is no secret in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ostiary.config import AgentSection
from ostiary.registry.effective import Suspended, effective
from ostiary.registry.liveness import WORDS, People
from ostiary.registry.sections import RegistryError, Section, read_section
from ostiary.store import registry, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.config import Config
    from ostiary.control import Control
    from ostiary.errors import Problem
    from ostiary.store.registry import AgentMark, Registered, Use

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What is known as of one moment."""

    config: Config
    people: People
    suspended: Mapping[str, Suspended]
    problems: tuple[Problem, ...]
    uses: Mapping[str, Use]
    marks: Mapping[str, AgentMark]
    registered: tuple[Registered, ...]
    consents: tuple[Mapping[str, Any], ...]
    now: int

    @classmethod
    def of(cls, control: Control) -> Inventory:
        """Take stock, with the requests up to now."""
        control.note_uses()
        now = control.now()
        force = effective(control.config, control.store, now=now)
        with control.store.reading() as connection:
            return cls(
                config=force.config,
                people=People.read(force.config, connection),
                suspended=force.suspended,
                problems=force.problems,
                uses=registry.uses(connection),
                marks=registry.agent_marks(connection),
                registered=tuple(registry.all_registered(connection)),
                consents=tuple(
                    dict(row)
                    for row in connection.execute(
                        sa.select(tables.consents).order_by(tables.consents.c.client, tables.consents.c.account)
                    ).mappings()
                ),
                now=now,
            )

    # People ----------------------------------------------------------------------------------------------------------

    def all_people(self) -> list[Json]:
        """Return those whom the file declares, and those who signed in or were marked without being declared."""
        names = dict.fromkeys(sorted(self.config.people))
        strangers = [account.id for account in self.people.accounts if self.people.key_of(account) is None]
        marked = [name for name in self.people.marks if self.people.key(name) is None]
        names |= dict.fromkeys(sorted({*strangers, *marked}))
        return [self.person(name) for name in names]

    def person(self, name: str) -> Json:
        """Return what is known of one person, by key in `people` or principal id."""
        key, forms = self.people.key(name), self.people.forms(name)
        standing, mark = self.people.standing(name, now=self.now), self.people.mark(name)
        accounts = self.people.accounts_of(name)
        email = next((account.email for account in accounts if account.email is not None), None)
        if key is not None and self.config.people[key].email is not None:
            email = self.config.people[key].email
        return {
            "name": name if key is None else key,
            "ids": [form for form in forms if form != key],
            "declared": key is not None,
            "email": email,
            "live": standing.live,
            "why": WORDS[standing.why],
            "until": standing.until,
            "signed_in": standing.seen_at,
            "confirmed": mark.confirmed_at,
            "disabled": mark.disabled_at,
            "disabled_why": mark.why,
            "agents": [key for key, agent in sorted(self.config.agents.items()) if agent.owner in forms],
            "deputy_of": [key for key, agent in sorted(self.config.agents.items()) if agent.deputy in forms],
            "services": [key for key, each in sorted(self.config.services.items()) if each.owner in forms],
            "servers": [key for key, each in sorted(self.config.servers.items()) if each.owner in forms],
            **self._last(*forms),
        }

    # Agents ----------------------------------------------------------------------------------------------------------

    def all_agents(self) -> list[Json]:
        """Return the agents of the file, those that were registered, and the clients that people consented to."""
        known = [self._agent(key, agent) for key, agent in sorted(self.config.agents.items())]
        return [*known, *self._left_out(), *self._third_party()]

    def _agent(self, key: str, agent: AgentSection) -> Json:
        agent_id, reason = self.config.agent_id(key), self.suspended.get(key)
        expired = agent.expires is not None and agent.expires <= self.now
        mark, why = self.marks.get(agent_id), None
        if reason == "owner_inactive":
            why = self._owner_words(agent)
        elif mark is not None:
            why = mark.why or "suspended by an operator"
        return {
            "name": key,
            "id": agent_id,
            "from": "store" if f"agents.{key}" in self.config.registered else "file",
            **_described(agent),
            "state": "expired" if expired else "suspended" if reason else "live",
            "reason": reason,
            "why": why,
            **self._last(agent_id),
        }

    def _owner_words(self, agent: AgentSection) -> str:
        owners = [("owner", agent.owner), *([] if agent.deputy is None else [("deputy", agent.deputy)])]
        return ", ".join(
            f"{role} {name}: {WORDS[self.people.standing(name, now=self.now).why]}" for role, name in owners
        )

    def _left_out(self) -> list[Json]:
        """Return the registered agents that are not in force, since they clash with the file or with one another."""
        found = []
        for each in self.registered:
            problem = next((each_ for each_ in self.problems if each_.key == f"agents.{each.name}"), None)
            if each.kind != "agent" or f"agents.{each.name}" in self.config.registered or problem is None:
                continue
            section = _section(each)
            if not isinstance(section, AgentSection):
                continue
            found.append(
                {
                    "name": each.name,
                    "id": f"agent:local:{each.name}",
                    "from": "store",
                    **_described(section),
                    "state": "suspended",
                    "reason": "agent_suspended",
                    "why": problem.message.rpartition(": ")[2],
                    **self._last(f"agent:local:{each.name}"),
                }
            )
        return found

    def _third_party(self) -> list[Json]:
        """Return the clients that nobody registered, once for each person whom they act for."""
        found = []
        for consent in self.consents:
            if not consent["agent"].startswith("agent:client:"):
                continue
            owner = self.people.key(consent["account"]) or consent["account"]
            standing = self.people.standing(consent["account"], now=self.now)
            expired = consent["expires_at"] <= self.now
            found.append(
                {
                    "name": consent["client_name"],
                    "id": consent["agent"],
                    "from": "consent",
                    "owner": owner,
                    "deputy": None,
                    "purpose": None,
                    "environment": None,
                    "servers": json.loads(consent["servers"]),
                    "tools": None,
                    "classes": json.loads(consent["classes"]),
                    "expires": consent["expires_at"],
                    "third_party": consent["third_party"],
                    "clients": [consent["client"]],
                    "credentials": [],
                    "state": "expired" if expired else "live" if standing.live else "suspended",
                    "reason": None if standing.live else "owner_inactive",
                    "why": None if standing.live else f"owner {owner}: {WORDS[standing.why]}",
                    **self._last(consent["agent"]),
                }
            )
        return found

    # Services --------------------------------------------------------------------------------------------------------

    def all_services(self) -> list[Json]:
        """Return the services of the file and those that were registered, also those without an owner any more."""
        known = [
            self._service(key, self.config.service_id(key), service)
            for key, service in sorted(self.config.services.items())
        ]
        gone = [
            self._service(each.name, f"service:local:{each.name}", section)
            for each in self.registered
            if each.kind == "service" and each.name not in self.config.services
            if (section := _section(each)) is not None and section.owner not in self.config.people
        ]
        return [*known, *gone]

    def _service(self, key: str, service_id: str, service: Section) -> Json:
        owned = service.owner in self.config.people
        registered = f"services.{key}" in self.config.registered or not owned
        return {
            "name": key,
            "id": service_id,
            "from": "store" if registered else "file",
            "owner": service.owner,
            "owner_live": owned and self.people.standing(service.owner, now=self.now).live,
            "purpose": service.purpose,
            "credentials": _credentials(service.credentials),
            **self._last(service_id),
        }

    def _last(self, *principals: str) -> Json:
        seen = [self.uses[each] for each in principals if each in self.uses]
        return {
            "last_token": max((use.token_at for use in seen if use.token_at is not None), default=None),
            "last_request": max((use.request_at for use in seen if use.request_at is not None), default=None),
        }


def _section(each: Registered) -> Section | None:
    try:
        return read_section(each.kind, each.name, each.section)
    except RegistryError:
        return None


def _described(agent: AgentSection) -> Json:
    return {
        "owner": agent.owner,
        "deputy": agent.deputy,
        "purpose": agent.purpose,
        "environment": agent.environment,
        "servers": list(agent.ceiling.servers),
        "tools": None if agent.ceiling.tools is None else list(agent.ceiling.tools),
        "classes": list(agent.ceiling.classes),
        "expires": agent.expires,
        "third_party": agent.third_party,
        "clients": [client for clients in agent.clients.values() for client in clients],
        "credentials": _credentials(agent.credentials),
    }


def _credentials(credentials: tuple[Any, ...]) -> list[str]:
    """Return the kinds of credentials, by what they are known by; keys themselves are not shown."""
    return [
        "private_key_jwt" if each.federated is None else f"federated {each.federated.subject}" for each in credentials
    ]
