"""Acts on stored credentials. A value goes in and is never shown again: in no answer, record, log or error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SecretStr

from ostiary.registry.sections import RegistryError
from ostiary.store import credentials

if TYPE_CHECKING:
    from ostiary.control import Control
    from ostiary.registrar import Operator


class SetBody(BaseModel):
    """A credential and its value."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    name: str
    value: SecretStr


class NameBody(BaseModel):
    """Which credential."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str


def listing(control: Control) -> dict[str, Any]:
    """Return the credentials that are set, and those that servers name and that are not."""
    used = credentials.used_by(control.config.servers)
    with control.store.reading() as connection:
        stored = {each.name: each for each in credentials.listing(connection)}
    return {
        "credentials": [
            {
                "name": name,
                "set": name in stored,
                "created": stored[name].created_at if name in stored else None,
                "rotated": stored[name].rotated_at if name in stored else None,
                "servers": used.get(name, []),
            }
            for name in sorted({*stored, *used})
        ]
    }


def put(control: Control, body: SetBody, by: Operator) -> dict[str, Any]:
    """Set a credential, or rotate it: the next call to its servers carries the new value."""
    name = credentials.check_name(body.name)
    credentials.check_value(body.value.get_secret_value())
    with control.store.changing() as connection:
        there = any(each.name == name for each in credentials.listing(connection))
        event = "credential_rotated" if there else "credential_set"
        control.record("admin", event, by, detail={"credential": name})
        value = body.value.get_secret_value()
        credentials.put(connection, control.store.sealing, name, value, now=control.now())
    control.registry_changed(by)
    return {"credential": name, "rotated": there, "servers": credentials.used_by(control.config.servers).get(name, [])}


def remove(control: Control, body: NameBody, by: Operator) -> dict[str, Any]:
    """Forget a credential: servers that want it are not reached any more."""
    with control.store.changing() as connection:
        if all(each.name != body.name for each in credentials.listing(connection)):
            hint = "`ostiary credentials list` shows them"
            raise RegistryError(f"no credential is called {body.name[:80]}", hint=hint)
        credentials.remove(connection, body.name)
    control.registry_changed(by)
    control.record("admin", "credential_removed", by, detail={"credential": body.name})
    return {"removed": body.name, "servers": credentials.used_by(control.config.servers).get(body.name, [])}
