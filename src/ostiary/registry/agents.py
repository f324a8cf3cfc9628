"""Acts on agents and services: register, hand over, suspend, resume, remove.

What only gives is recorded before it is done; what takes away is done first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import BaseModel, ConfigDict, JsonValue

from ostiary import _core
from ostiary.compile import compile as compile_snapshot
from ostiary.config import AgentSection
from ostiary.policy.names import nearest
from ostiary.registry.effective import from_file, merge
from ostiary.registry.inventory import Inventory
from ostiary.registry.liveness import WORDS, People
from ostiary.registry.sections import Fault, RegistryError, faults, missing, read_section, unreadable_keys
from ostiary.revocation import Hit, end, enforce
from ostiary.store import clients, registry

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ostiary.config import Config, ServiceSection
    from ostiary.control import Control, EpochKind
    from ostiary.registrar import Operator
    from ostiary.store.registry import Registered, RegisteredKind


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AddBody(_Body):
    """A registration: `section` is what would stand under its name in the file."""

    name: str
    section: dict[str, JsonValue]


class NameBody(_Body):
    """Which one."""

    name: str


class HandOverBody(NameBody):
    """Which agent, and the key in `people` of its next owner."""

    to: str


class SuspendBody(NameBody):
    """Which agent, and why."""

    reason: str | None = None


def listing(control: Control) -> dict[str, Any]:
    """Return all agents."""
    return {"agents": Inventory.of(control).all_agents()}


def list_services(control: Control) -> dict[str, Any]:
    """Return all services."""
    return {"services": Inventory.of(control).all_services()}


# Register and remove -------------------------------------------------------------------------------------------------


def add_agent(control: Control, body: AddBody, by: Operator) -> dict[str, Any]:
    """Register an agent; its owner must be live."""
    _add(control, "agent", body, by)
    return _agent(control, body.name)


def add_service(control: Control, body: AddBody, by: Operator) -> dict[str, Any]:
    """Register a service; its owner must be live."""
    _add(control, "service", body, by)
    found = Inventory.of(control).all_services()
    return {"service": next(each for each in found if each["name"] == body.name)}


def remove_agent(control: Control, body: NameBody, by: Operator) -> dict[str, Any]:
    """Forget a registered agent and revoke all that it holds."""
    agent_id = f"agent:local:{body.name}"
    return _remove(control, "agent", body.name, [("agent", agent_id), ("client", agent_id)], by)


def remove_service(control: Control, body: NameBody, by: Operator) -> dict[str, Any]:
    """Forget a registered service and revoke all that it holds."""
    service_id = f"service:local:{body.name}"
    return _remove(control, "service", body.name, [("subject", service_id), ("client", service_id)], by)


def _add(control: Control, kind: RegisteredKind, body: AddBody, by: Operator) -> None:
    section = read_section(kind, body.name, body.section)
    with control.store.changing() as connection:
        config, _ = merge(control.config, connection)
        # One that is registered and left out now would come back to life under this name.
        if section.credentials and clients.get(connection, body.name) is not None:
            raise RegistryError(
                f"a client is called {body.name} already", hint="choose another name, or `ostiary clients remove` it"
            )
        taken = any(each.kind == kind and each.name == body.name for each in registry.all_registered(connection))
        if taken and f"{kind}s.{body.name}" not in config.registered:
            hint = f"ostiary {kind}s remove {body.name}"
            raise RegistryError(f"{kind}s.{body.name} is registered already, and not in force", hint=hint)
        _check(config, body.name, section, now=control.now())
        _live(config, connection, section.owner, now=control.now())
        registry.register(connection, kind, body.name, body.section, now=control.now())
        _try(merge(control.config, connection)[0])
        # Still within the change: without a record it is not made.
        detail = {kind: body.name, "section": body.section}
        control.record("admin", f"{kind}_registered", by, detail=detail)
    control.registry_changed(by)


def _check(config: Config, name: str, section: AgentSection | ServiceSection, *, now: int) -> None:
    """Raise `RegistryError` for the first thing that is wrong with a new registration."""
    found: list[Fault] = []
    if section.issuer is not None or section.subject is not None:
        found.append(Fault(message="whom another issuer knows is declared in the file", hint=f"see {config.path}"))
    if isinstance(section, AgentSection):
        if section.expires is not None and section.expires <= now:
            found.append(Fault(message="it would have expired already"))
        if not section.purpose:
            found.append(Fault(message="an agent has a purpose", hint="say what it is for: --purpose"))
        if not section.ceiling.servers or not section.ceiling.classes:
            hint = "name servers and classes: --server, --class"
            found.append(Fault(message="its ceiling is empty, so it could do nothing", hint=hint))
        if set(section.clients) - {"local"}:
            found.append(Fault(message="clients of other issuers are mapped in the file", hint=f"see {config.path}"))
    found += [*faults(config, name, section), *missing(config, section), *unreadable_keys(config, section)]
    if found:
        raise RegistryError(found[0].message, hint=found[0].hint)


def _try(config: Config) -> None:
    """Raise `RegistryError` where the data plane would not take what would then be in force."""
    try:
        _core.Snapshot(compile_snapshot(config, local_keys=[]))
    except _core.SnapshotError as error:
        raise RegistryError(f"the data plane would not take it: {error.path} {error.message}") from error


def _live(config: Config, connection: sa.Connection, owner: str, *, now: int) -> None:
    if owner not in config.people:
        hint = nearest(owner, config.people) or f"declare people.{owner[:80]} in {config.path}"
        raise RegistryError(f"the owner `{owner[:80]}` is not declared in `people`", hint=hint)
    standing = People.read(config, connection, only=[owner]).standing(owner, now=now)
    if not standing.live:
        verb = "enable" if standing.why == "disabled" else "confirm"
        raise RegistryError(
            f"{owner} can own nothing now: {WORDS[standing.why]}", hint=f"ostiary people {verb} {owner}"
        )


def _remove(
    control: Control, kind: RegisteredKind, name: str, targets: list[tuple[EpochKind, str]], by: Operator
) -> dict[str, Any]:
    with control.store.changing() as connection:
        _registration(control.config, connection, kind, name)
        # While it is still known, so that the answer says what was hit.
        hit = end(control, connection, targets, why="removed")
        registry.unregister(connection, kind, name)
        registry.resume_agent(connection, f"{kind}:local:{name}")
        registry.forget_owner(connection, f"{kind}:local:{name}")
    _take_away(control, hit, by, "removed")
    control.record("admin", f"{kind}_removed", by, detail={kind: name, "families": hit.families})
    return {"removed": name, "hit": hit.as_json()}


# Owners and suspension -----------------------------------------------------------------------------------------------


def hand_over(control: Control, body: HandOverBody, by: Operator) -> dict[str, Any]:
    """Give a registered agent another owner. What it was issued under the one before is revoked."""
    with control.store.changing() as connection:
        config, _ = merge(control.config, connection)
        before = _registration(control.config, connection, "agent", body.name, change="owner")
        if before.section.get("owner") == body.to:
            raise RegistryError(f"{body.to} owns {body.name} already")
        _live(config, connection, body.to, now=control.now())
        section = {**before.section, "owner": body.to}
        if section.get("deputy") == body.to:
            del section["deputy"]
        detail = {"agent": body.name, "from": before.section.get("owner"), "to": body.to}
        control.record("admin", "agent_handed_over", by, detail=detail)
        hit = end(control, connection, [("agent", f"agent:local:{body.name}")], why="handed over")
        registry.register(connection, "agent", body.name, section, now=control.now())
        # What it held is revoked just now.
        owner = registry.Owner(key=body.to, person=config.person_id(body.to))
        registry.note_owner(connection, f"agent:local:{body.name}", owner)
    _take_away(control, hit, by, "handed over")
    return {**_agent(control, body.name), "hit": hit.as_json()}


def suspend(control: Control, body: SuspendBody, by: Operator) -> dict[str, Any]:
    """Stop an agent, of the file or registered, until it is resumed; what it holds is revoked."""
    with control.store.changing() as connection:
        config, _ = merge(control.config, connection)
        key = _key(config, body.name)
        agent_id = config.agent_id(key)
        registry.suspend_agent(connection, agent_id, body.reason, now=control.now())
        hit = end(control, connection, [("agent", agent_id)], why=body.reason or "suspended")
    _take_away(control, hit, by, body.reason or "suspended")
    control.record("admin", "agent_suspended", by, detail={"agent": agent_id, "reason": body.reason})
    return {**_agent(control, key), "hit": hit.as_json()}


def resume(control: Control, body: NameBody, by: Operator) -> dict[str, Any]:
    """Let a suspended agent act again, as far as its owner and its end allow."""
    with control.store.changing() as connection:
        config, _ = merge(control.config, connection)
        key = _key(config, body.name)
        agent_id = config.agent_id(key)
        if agent_id not in registry.agent_marks(connection):
            raise RegistryError(f"{key} is not suspended by an operator", hint=f"ostiary agents show {key}")
        control.record("admin", "agent_resumed", by, detail={"agent": agent_id})
        registry.resume_agent(connection, agent_id)
    control.registry_changed(by)
    return _agent(control, key)


def _take_away(control: Control, hit: Hit, by: Operator, why: str) -> None:
    """Put in force what the store says already, all of it even where a part cannot be recorded."""
    try:
        enforce(control, hit, by, why=why)
    finally:
        control.registry_changed(by)


def _agent(control: Control, name: str) -> dict[str, Any]:
    found = Inventory.of(control).all_agents()
    return {"agent": next(each for each in found if each["name"] == name and each["from"] != "consent")}


def _key(config: Config, name: str) -> str:
    """Return the key of an agent that is named by key or principal id."""
    if name in config.agents:
        return name
    found = next((key for key in config.agents if config.agent_id(key) == name), None)
    if found is not None:
        return found
    if name.startswith("agent:client:"):
        client = name.removeprefix("agent:client:")
        raise RegistryError(f"nobody registered {name[:200]}", hint=f"ostiary revoke --client {client[:200]} ends it")
    hint = nearest(name, config.agents) or "`ostiary agents list` shows them"
    raise RegistryError(f"no agent is called {name[:200]}", hint=hint)


def _registration(
    config: Config, connection: sa.Connection, kind: RegisteredKind, name: str, *, change: str = ""
) -> Registered:
    """Return a registration. Raises `RegistryError`, which names the file where it is the file's to change."""
    of_file = from_file(config)
    declared = name in (of_file.agents if kind == "agent" else of_file.services)
    found = [each for each in registry.all_registered(connection) if each.kind == kind]
    for each in found:
        if each.name == name and not (declared and change):
            return each
    if declared:
        _declared(config, f"{kind}s.{name}", change)
    hint = nearest(name, [each.name for each in found]) or f"`ostiary {kind}s list` shows them"
    raise RegistryError(f"no {kind} is registered as {name[:80]}", hint=hint)


def _declared(config: Config, place: str, change: str) -> NoReturn:
    where = f"change {place}.{change}" if change else f"take {place} out of the file"
    raise RegistryError(f"{place} is declared in {config.path}", hint=f"{where}, and the file is read again at once")
