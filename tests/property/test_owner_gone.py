"""Whatever is known of an owner and a deputy: without one who is live, the agent is suspended, and only then.

Held against the rule as one would say it, in a dozen lines.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.kit.desk import DAY, LEASE, NOW, Desk
from tests.kit.search import examples

from ostiary.errors import OperationError
from ostiary.registry.effective import suspension
from ostiary.store import registry, tables

#: The people of the house, and whether a provider could sign them in.
PEOPLE = {"alice": False, "bob": True, "carol": True, "dave": False}
MOMENTS = st.sampled_from([NOW - LEASE - 1, NOW - LEASE, NOW - LEASE + 1, NOW - DAY, NOW - 1, NOW])
PERSON = st.fixed_dictionaries(
    {
        "seen": st.none() | MOMENTS,
        "ended": st.none() | MOMENTS,
        "confirmed": st.none() | MOMENTS,
        "disabled": st.booleans(),
    }
)


def live(name: str, known: dict[str, Any]) -> bool:
    if known["disabled"]:
        return False
    if known["seen"] is None and not PEOPLE[name]:
        return True
    ended = known["ended"] if known["seen"] is not None else None
    words = [at for at in (known["seen"], known["confirmed"]) if at is not None and (ended is None or at > ended)]
    return any(at + LEASE > NOW for at in words)


@examples(60)
@given(
    owner=st.sampled_from(sorted(PEOPLE)),
    deputy=st.none() | st.sampled_from(sorted(PEOPLE)),
    known=st.fixed_dictionaries(dict.fromkeys(PEOPLE, PERSON)),
)
def test_an_agent_acts_only_while_its_owner_or_deputy_is_live(
    owner: str, deputy: str | None, known: dict[str, dict[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, Desk(Path(folder)) as desk:
        section = {"owner": owner, "purpose": "p", "ceiling": {"servers": ["notes"], "classes": ["read"]}}
        if deputy is not None:
            section["deputy"] = deputy
        with desk.store.changing() as connection:
            registry.register(connection, "agent", "bot", section, now=NOW)
        for name, each in known.items():
            tell(desk, name, each)
        force = desk.effective()
        expected = None if any(live(name, known[name]) for name in (owner, deputy) if name) else "owner_inactive"
        assert force.suspended.get("bot") == expected
        with desk.store.reading() as connection:
            assert suspension(force.config, connection, "bot", now=NOW) == expected
        try:
            desk.do("/agents/hand-over", name="bot", to=next(name for name in PEOPLE if name != owner))
        except OperationError:
            return
        assert "bot" not in desk.effective().suspended


def tell(desk: Desk, name: str, known: dict[str, Any]) -> None:
    if known["seen"] is not None:
        subject = {"carol": "c-1", "dave": "d-1"}.get(name, name)
        provider = "ci" if name == "dave" else "sso"
        desk.sign_in(f"human:{provider}:{subject}", at=known["seen"], ended_at=known["ended"], person=name)
    disabled = NOW - 5 if known["disabled"] else None
    desk.insert(tables.people_marks, name=name, confirmed_at=known["confirmed"], disabled_at=disabled)
