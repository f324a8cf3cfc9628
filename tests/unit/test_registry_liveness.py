"""Who is live, and what becomes of the agents of somebody who is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.desk import DAY, HOUSE, LEASE, NOW, Desk

from ostiary import _core
from ostiary.compile import compile as compile_snapshot
from ostiary.errors import OperationError
from ostiary.registry.effective import from_file, keys_of_token, owner_forms, suspension, troubles
from ostiary.registry.liveness import People
from ostiary.store import accounts, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CAROL = "human:sso:c-1"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as opened:
        yield opened


def standing(desk: Desk, name: str) -> tuple[bool, str, int | None]:
    with desk.store.reading() as connection:
        found = People.read(desk.control.config, connection).standing(name, now=desk.at)
        only = People.read(desk.control.config, connection, only=[name]).standing(name, now=desk.at)
    assert found == only
    return found.live, found.why, found.until


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alice", (True, "declared", None)),  # no issuer, and no provider vouches for her domain
        ("bob", (False, "never", None)),  # a provider vouches for his domain
        ("carol", (False, "never", None)),  # a provider is her issuer
        ("dave", (True, "declared", None)),  # another issuer knows him, and none can sign him in here
        ("human:ci:d-1", (True, "declared", None)),
        ("erin", (True, "declared", None)),  # so is she, whatever provider vouches for her domain
        ("mallory", (False, "unknown", None)),
        ("human:sso:zoe", (False, "unknown", None)),
    ],
)
def test_who_was_never_seen_is_live_only_where_no_provider_could_sign_her_in(
    desk: Desk, name: str, expected: tuple[bool, str, int | None]
) -> None:
    assert standing(desk, name) == expected


SEEN: list[tuple[str, dict[str, Any], int, tuple[bool, str, int | None]]] = [
    ("signed in", {"at": NOW}, 0, (True, "signed_in", NOW + LEASE)),
    ("last second of the lease", {"at": NOW}, LEASE - 1, (True, "signed_in", NOW + LEASE)),
    ("lease over", {"at": NOW}, LEASE, (False, "lease", NOW + LEASE)),
    ("checked since", {"at": NOW, "checked_at": NOW + DAY}, LEASE, (True, "signed_in", NOW + DAY + LEASE)),
    ("the provider says gone", {"at": NOW, "ended_at": NOW + 5}, 10, (False, "ended", None)),
    ("back", {"at": NOW, "checked_at": NOW + 9, "ended_at": NOW + 5}, 10, (True, "signed_in", NOW + 9 + LEASE)),
]


@pytest.mark.parametrize(("values", "later", "expected"), [case[1:] for case in SEEN], ids=[case[0] for case in SEEN])
def test_a_sign_in_counts_for_a_lease(
    desk: Desk, values: dict[str, Any], later: int, expected: tuple[bool, str, int | None]
) -> None:
    desk.sign_in(CAROL, **values)
    desk.at += later
    assert standing(desk, "carol") == expected
    assert standing(desk, CAROL) == expected


def test_a_confirmation_counts_like_a_sign_in_unless_the_person_left_after_it(desk: Desk) -> None:
    desk.do("/people/confirm", name="bob")
    assert standing(desk, "bob") == (True, "confirmed", NOW + LEASE)
    desk.do("/people/confirm", name="carol")
    desk.sign_in(CAROL, at=NOW - 5, ended_at=NOW + 5)
    assert standing(desk, "carol") == (False, "ended", None)
    desk.at += 10
    desk.do("/people/confirm", name=CAROL)
    assert standing(desk, "carol") == (True, "confirmed", NOW + 10 + LEASE)


@pytest.mark.parametrize("name", ["alice", "carol", CAROL, "human:ci:d-1"])
def test_who_is_disabled_is_not_live_by_any_name(desk: Desk, name: str) -> None:
    desk.sign_in(CAROL)
    assert standing(desk, name)[0]
    desk.do("/people/disable", name=name, reason="left")
    assert standing(desk, name)[:2] == (False, "disabled")
    desk.do("/people/enable", name=name)
    assert standing(desk, name)[0]


BOB_SIGNED_IN = "human:sso:b-7"


@pytest.mark.parametrize("name", ["bob", BOB_SIGNED_IN])
@pytest.mark.parametrize("becomes", ["  robert: {email: bob@corp.test}\n", ""], ids=["renamed", "taken out"])
def test_who_is_disabled_stays_so_when_the_file_names_her_otherwise(tmp_path: Path, name: str, becomes: str) -> None:
    with Desk(tmp_path) as desk:
        desk.sign_in(BOB_SIGNED_IN, person="bob")
        desk.do("/people/disable", name=name)
    line = "  bob: {email: bob@corp.test}\n"
    assert line in HOUSE
    with Desk(tmp_path, HOUSE.replace(line, becomes)) as desk:
        assert standing(desk, BOB_SIGNED_IN)[:2] == (False, "disabled")
        assert accounts.disabled(desk.store, [BOB_SIGNED_IN])
        desk.do("/people/enable", name=BOB_SIGNED_IN)
        assert standing(desk, BOB_SIGNED_IN)[:2] == (True, "signed_in")
        assert not accounts.disabled(desk.store, [BOB_SIGNED_IN, "bob"])


def test_an_account_is_a_persons_own_where_the_file_says_so_and_else_where_sign_in_linked_it(desk: Desk) -> None:
    desk.sign_in("human:sso:b-7", person="bob")
    desk.sign_in("human:sso:c-2", person="carol")  # the file says carol is another subject
    desk.sign_in("human:sso:z-9", person="gone")
    assert standing(desk, "bob")[:2] == (True, "signed_in")
    assert standing(desk, "carol")[:2] == (False, "never")
    assert standing(desk, "human:sso:z-9")[:2] == (True, "signed_in")
    with desk.store.reading() as connection:
        people = People.read(desk.control.config, connection)
    assert people.forms("bob") == people.forms("human:sso:b-7") == ("bob", "human:sso:b-7")
    assert people.forms("carol") == ("carol", CAROL)


# Agents --------------------------------------------------------------------------------------------------------------


def suspended(desk: Desk) -> dict[str, str]:
    """Return who is suspended, by both ways of asking."""
    force = desk.effective()
    with desk.store.reading() as connection:
        each = {key: suspension(force.config, connection, key, now=desk.at) for key in force.config.agents}
    assert {key: reason for key, reason in each.items() if reason} == dict(force.suspended)
    return dict(force.suspended)


def test_an_agent_works_while_its_owner_or_the_deputy_is_live(desk: Desk) -> None:
    assert suspended(desk) == {"ship": "owner_inactive", "brief": "agent_suspended"}  # pair has a deputy; brief expired
    desk.sign_in(CAROL)
    assert suspended(desk) == {"brief": "agent_suspended"}
    desk.do("/people/disable", name="alice")
    assert suspended(desk) == {"lint": "owner_inactive", "brief": "agent_suspended"}
    desk.do("/people/disable", name="carol")
    assert suspended(desk) == {
        "lint": "owner_inactive",
        "ship": "owner_inactive",
        "pair": "owner_inactive",
        "brief": "agent_suspended",
    }


def test_a_lease_that_runs_out_suspends_without_anybody_doing_anything(desk: Desk) -> None:
    desk.sign_in(CAROL)
    assert "ship" not in suspended(desk)
    desk.at += LEASE
    assert suspended(desk)["ship"] == "owner_inactive"


def test_an_agent_ends_in_the_second_of_its_expiry(desk: Desk) -> None:
    assert suspended(desk)["brief"] == "agent_suspended"
    desk.at = NOW - 1
    assert "brief" not in suspended(desk)


# What is in force ----------------------------------------------------------------------------------------------------


def test_registrations_are_merged_in_and_can_be_taken_out_again(desk: Desk) -> None:
    desk.add()
    desk.do("/services/add", name="sync", section={"owner": "alice"})
    force = desk.effective()
    assert force.config.registered == {"agents.nightly", "services.sync"}
    assert set(force.config.agents) - set(from_file(force.config).agents) == {"nightly"}
    assert force.problems == ()
    assert from_file(force.config).services.keys() == {"batch"}


def test_where_the_file_comes_later_it_wins_and_the_clash_is_told(desk: Desk) -> None:
    with desk.store.changing() as connection:
        registry.register(connection, "agent", "lint", {"owner": "dave"}, now=NOW)
        registry.register(connection, "agent", "batch", {"owner": "dave"}, now=NOW)
    force = desk.effective()
    assert force.config.agents["lint"].owner == "alice"
    assert "batch" not in force.config.agents
    assert [(each.key, "is already declared in" in each.message) for each in force.problems] == [
        ("agents.batch", True),
        ("agents.lint", True),
    ]


def test_what_does_not_count_or_may_not_act_is_told_at_a_start(desk: Desk) -> None:
    quiet = set(troubles(desk.effective()))
    way_out = "its owner signs in, or `ostiary people confirm OWNER`"
    told = f"agent ship may not act: nobody live answers for it: {way_out}; `ostiary agents show ship` says more"
    assert told in quiet
    assert not any(told.startswith("agent lint ") for told in quiet)
    with desk.store.changing() as connection:
        registry.register(connection, "agent", "lint", {"owner": "dave"}, now=NOW)
    (clash,) = set(troubles(desk.effective())) - quiet
    assert "is already declared in" in clash


def test_a_registered_agent_loses_its_place_with_its_owner_and_its_reach_with_a_server(desk: Desk) -> None:
    desk.add("one", owner="dave", deputy="alice")
    desk.do("/services/add", name="sync", section={"owner": "dave"})
    desk.add("two", ceiling={"servers": ["notes", "mail"], "classes": ["read"], "tools": ["mail/send"]})
    with desk.store.reading() as connection:
        rows = registry.all_registered(connection)
    text = desk.file.read_text().replace("  dave: {issuer: ci, subject: d-1}\n", "")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("  mail:"))
    folder = desk.folder / "later"
    folder.mkdir()
    with Desk(folder, text) as later:
        with later.store.changing() as connection:
            for row in rows:
                registry.register(connection, row.kind, row.name, row.section, now=NOW)
        force = later.effective()
        ceiling = force.config.agents["two"].ceiling
        assert (force.config.agents["one"].owner, force.suspended["one"]) == ("dave", "owner_inactive")
        assert [each.key for each in force.problems if "`dave` is not declared" in each.message] == [
            "agents.one",
            "services.sync",
        ]
        snapshot = json.loads(compile_snapshot(force.config, local_keys=[], suspended=force.suspended))
        assert {"key": "dave", "id": None} in snapshot["people"]
        _core.Snapshot(json.dumps(snapshot).encode())
        assert (ceiling.servers, ceiling.tools) == (("notes",), ())
        found = later.one("/agents", "one")
        assert (found["state"], found["reason"]) == ("suspended", "owner_inactive")
        # A live deputy does not stand in for an owner who is not there at all.
        assert found["why"] == "owner dave: not known here, deputy alice: declared in the file"
        assert "sync" not in force.config.services
        sync = later.one("/services", "sync")
        assert (sync["from"], sync["owner"], sync["owner_live"]) == ("store", "dave", False)


def test_a_section_that_cannot_be_read_is_left_out_and_told(desk: Desk) -> None:
    with desk.store.changing() as connection:
        registry.register(connection, "agent", "odd", {"owner": "alice", "colour": "red"}, now=NOW)
    force = desk.effective()
    assert "odd" not in force.config.agents
    assert [each.key for each in force.problems] == ["agents.odd"]


def test_whoever_was_removed_gets_no_token_from_a_configuration_that_does_not_know_yet(desk: Desk) -> None:
    desk.add()
    before = desk.control.config
    desk.do("/agents/remove", name="nightly")
    with desk.store.reading() as connection:
        assert suspension(before, connection, "nightly", now=desk.at) == "agent_suspended"


def test_all_that_revokes_a_token_is_named_by_its_keys(desk: Desk) -> None:
    config = desk.control.config
    assert owner_forms(config, "carol") == owner_forms(config, CAROL) == ("carol", CAROL)
    assert owner_forms(config, "human:sso:x") == ("human:sso:x",)
    assert keys_of_token(config, subject="agent:local:ship", client="agent:local:ship", agent="agent:local:ship") == [
        ("subject", "agent:local:ship"),
        ("client", "agent:local:ship"),
        ("agent", "agent:local:ship"),
        ("owner", "carol"),
        ("owner", CAROL),
        ("third_party", "acme"),
    ]
    assert keys_of_token(
        config, subject=CAROL, client="ide", agent="agent:client:ide", family="f", third_party="ide.test"
    ) == [
        ("subject", CAROL),
        ("client", "ide"),
        ("family", "f"),
        ("agent", "agent:client:ide"),
        ("owner", "carol"),
        ("owner", CAROL),
        ("third_party", "ide.test"),
    ]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/people/confirm", {"name": "mallory"}, "nobody is known as mallory"),
        ("/people/disable", {"name": "alise"}, "did you mean `alice`"),
        ("/people/enable", {"name": "alice"}, "alice is not disabled"),
    ],
)
def test_nothing_is_said_of_people_whom_nobody_knows(desk: Desk, path: str, body: dict[str, Any], told: str) -> None:
    with pytest.raises(OperationError, match=told):
        desk.do(path, **body)
    assert desk.events() == []


def test_who_is_disabled_cannot_be_confirmed(desk: Desk) -> None:
    desk.do("/people/disable", name="bob")
    with pytest.raises(OperationError, match="bob is disabled"):
        desk.do("/people/confirm", name="bob")


def test_somebody_can_be_shut_out_before_ever_coming(desk: Desk) -> None:
    desk.do("/people/disable", name="human:sso:zoe")
    desk.sign_in("human:sso:zoe")
    assert standing(desk, "human:sso:zoe")[:2] == (False, "disabled")
