"""Acts on people: confirm that somebody is still there, disable and enable. People themselves come from the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ostiary.policy.names import nearest
from ostiary.registry.effective import merge
from ostiary.registry.inventory import Inventory
from ostiary.registry.liveness import People
from ostiary.registry.sections import RegistryError
from ostiary.revocation import end, enforce
from ostiary.store import registry

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ostiary.control import Control
    from ostiary.registrar import Operator


class PersonBody(BaseModel):
    """Who is meant, by key in `people` or principal id."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str


class DisableBody(PersonBody):
    """Who is meant, and why."""

    reason: str | None = None


def listing(control: Control) -> dict[str, Any]:
    """Return all people."""
    return {"people": Inventory.of(control).all_people()}


def confirm(control: Control, body: PersonBody, by: Operator) -> dict[str, Any]:
    """Take an operator's word that somebody is still there, for another lease."""
    with control.store.changing() as connection:
        people = _people(control, connection)
        name = _known(people, body.name)
        if people.mark(name).disabled_at is not None:
            raise RegistryError(f"{name} is disabled", hint=f"ostiary people enable {name}")
        control.record("admin", "person_confirmed", by, detail={"person": name})
        registry.confirm_person(connection, name, now=control.now())
    return _changed(control, name, by)


def disable(control: Control, body: DisableBody, by: Operator) -> dict[str, Any]:
    """Let nobody sign in as this person, and nothing act for or under her, from now on."""
    with control.store.changing() as connection:
        people = _people(control, connection)
        # Somebody may be shut out before ever coming.
        name = body.name if body.name.startswith("human:") and people.key(body.name) is None else None
        name = name or _known(people, body.name)
        # By every name, so that the mark outlasts a change of the key in `people`, or its end.
        for form in people.forms(name):
            registry.disable_person(connection, form, body.reason, now=control.now())
        why = body.reason or "disabled"
        hit = end(control, connection, [("subject", name), ("owner", name)], why=why)
    try:
        enforce(control, hit, by, why=why)
    finally:
        control.registry_changed(by)
    detail = {"person": name, "reason": body.reason, "families": hit.families}
    control.record("admin", "person_disabled", by, detail=detail)
    return {"person": Inventory.of(control).person(name), "hit": hit.as_json()}


def enable(control: Control, body: PersonBody, by: Operator) -> dict[str, Any]:
    """Take the mark away again; what was revoked stays revoked."""
    with control.store.changing() as connection:
        people = _people(control, connection)
        name = _known(people, body.name)
        marked = [form for form in _ever(people, name) if form in people.marks]
        if people.mark(name).disabled_at is None:
            raise RegistryError(f"{name} is not disabled")
        control.record("admin", "person_enabled", by, detail={"person": name})
        for form in marked:
            registry.enable_person(connection, form)
    return _changed(control, name, by)


def _people(control: Control, connection: sa.Connection) -> People:
    return People.read(merge(control.config, connection)[0], connection)


def _known(people: People, name: str) -> str:
    """Return the one name under which marks on a person are kept. Raises `RegistryError` for nobody."""
    if not people.known(name):
        hint = nearest(name, people.config.people) or f"declare people.{name[:80]} in {people.config.path}"
        raise RegistryError(f"nobody is known as {name[:200]}", hint=hint)
    return people.key(name) or name


def _ever(people: People, name: str) -> set[str]:
    """Return the names that a person goes by, and keys of hers that `people` has no longer."""
    linked = {account.person for account in people.accounts_of(name) if account.person is not None}
    return {*people.forms(name), *(linked - set(people.config.people))}


def _changed(control: Control, name: str, by: Operator) -> dict[str, Any]:
    control.registry_changed(by)
    return {"person": Inventory.of(control).person(name)}
