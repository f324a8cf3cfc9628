"""What each kind of revocation reaches, in the store and for the data plane, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.kit.desk import BY, NOW, Desk

from ostiary.oauth.token import TokenRefusedError, TokenRequest
from ostiary.revocation import RevocationError, revoke
from ostiary.store import epochs, registry, tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ostiary.control import EpochKind

CAROL, ZOE = "human:sso:c-1", "human:sso:zoe"
#: Family and who it belongs to: each client acts for two people, one of them through a registered agent.
ALL = ["ide/human:sso:c-1", "ide/human:sso:zoe", "ship-ide/human:sso:zoe"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as opened:
        opened.sign_in(CAROL)
        opened.sign_in(ZOE)
        opened.consent("ide", CAROL, third_party="vendor")
        opened.consent("ide", ZOE, third_party="vendor")
        opened.consent("ship-ide", ZOE, agent="agent:local:ship", third_party="acme")
        for hash_, account in (("h1", CAROL), ("h2", ZOE)):
            opened.insert(tables.browser_sessions, hash=hash_, account=account, created_at=NOW, expires_at=NOW + 9)
        yield opened


def consents(desk: Desk) -> list[str]:
    return sorted(f"{row['client']}/{row['account']}" for row in desk.rows(tables.consents))


Case = tuple[str, str, set[tuple[str, str]], set[str], list[str], bool]
CASES: list[Case] = [
    # kind, value, epochs, agents hit, families left, whether consents go with the families
    ("agent", "ship", {("agent", "agent:local:ship")}, {"agent:local:ship"}, ALL[:2], True),
    ("agent", "agent:local:ship", {("agent", "agent:local:ship")}, {"agent:local:ship"}, ALL[:2], True),
    ("agent", "agent:client:ide", {("agent", "agent:client:ide")}, {"agent:client:ide"}, ALL[2:], True),
    ("client", "ide", {("client", "ide")}, {"agent:client:ide"}, ALL[2:], True),
    ("client", "ship-ide", {("client", "ship-ide")}, {"agent:local:ship"}, ALL[:2], True),
    ("client", "lint", {("client", "agent:local:lint"), ("client", "lint")}, {"agent:local:lint"}, ALL, True),
    ("client", "batch", {("client", "batch"), ("client", "service:local:batch")}, set(), ALL, True),
    ("service", "batch", {("client", "service:local:batch")}, set(), ALL, True),
    ("service", "service:local:batch", {("client", "service:local:batch")}, set(), ALL, True),
    ("third_party", "vendor", {("third_party", "vendor")}, {"agent:client:ide"}, ALL[2:], True),
    ("third_party", "acme", {("third_party", "acme")}, {"agent:local:ship"}, ALL[:2], True),
    # Whose agents: the ones she owns, and the clients that act for her.
    (
        "owner",
        "carol",
        {("owner", "carol"), ("owner", CAROL)},
        {"agent:local:ship", "agent:local:pair", "agent:client:ide"},
        [ALL[1]],
        True,
    ),
    (
        "owner",
        CAROL,
        {("owner", "carol"), ("owner", CAROL)},
        {"agent:local:ship", "agent:local:pair", "agent:client:ide"},
        [ALL[1]],
        True,
    ),
    ("owner", ZOE, {("owner", ZOE)}, {"agent:client:ide"}, [ALL[0], ALL[2]], True),
    ("owner", "alice", {("owner", "alice")}, {"agent:local:lint", "agent:local:brief"}, ALL, True),
    # By whose authority: whatever acts in her name, whoever owns it. What she consented to stays.
    ("subject", ZOE, {("subject", ZOE)}, {"agent:client:ide", "agent:local:ship"}, ALL[:1], False),
    ("family", ALL[0], {("family", ALL[0])}, {"agent:client:ide"}, ALL[1:], False),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
def test_each_kind_reaches_what_it_names_and_nothing_else(desk: Desk, case: Case) -> None:
    kind, value, made, agents, left, with_consents = case
    hit = revoke(desk.control, [(cast("EpochKind", kind), value)], BY, why="because")
    assert {(each.kind, each.value) for each in hit.epochs} == made
    assert {each.epoch for each in hit.epochs} == {NOW}
    assert set(hit.agents) == agents
    assert (desk.live_families(), hit.families) == (left, len(ALL) - len(left))
    assert consents(desk) == (left if with_consents else ALL)
    assert hit.known
    with desk.store.reading() as connection:
        kept, _ = epochs.since(connection, 0)
    assert set(kept) == set(hit.epochs)


def test_a_revocation_is_recorded_with_who_asked_why_and_what_it_reached(desk: Desk) -> None:
    revoke(desk.control, [("client", "ide")], BY, why="stolen laptop")
    (record,) = desk.records()
    assert (record["kind"], record["event"], record["by"]) == ("control", "revoked", {"uid": 1000, "login": "olga"})
    assert record["detail"]["why"] == "stolen laptop"
    assert record["detail"]["hit"] == {"agents": ["agent:client:ide"], "families": 2}
    assert {row["why"] for row in desk.rows(tables.families) if row["ended_at"]} == {"stolen laptop"}


def test_only_the_browser_sessions_of_the_subject_end(desk: Desk) -> None:
    revoke(desk.control, [("owner", ZOE)], BY, why=None)
    assert {row["account"] for row in desk.rows(tables.browser_sessions)} == {CAROL, ZOE}
    revoke(desk.control, [("subject", ZOE)], BY, why=None)
    assert {row["account"] for row in desk.rows(tables.browser_sessions)} == {CAROL}


def test_disabling_a_person_ends_her_sessions_her_agents_and_what_acts_for_her(desk: Desk) -> None:
    hit = desk.do("/people/disable", name="carol", reason="left")["hit"]
    assert {(each["kind"], each["value"]) for each in hit["revoked"]} == {
        ("subject", CAROL),
        ("owner", "carol"),
        ("owner", CAROL),
    }
    assert (desk.live_families(), consents(desk)) == ([ALL[1]], [ALL[1]])
    assert {row["account"] for row in desk.rows(tables.browser_sessions)} == {ZOE}
    assert desk.effective().suspended["ship"] == "owner_inactive"
    assert desk.events() == ["revoked", "person_disabled"]


@pytest.mark.parametrize("kind", ["agent", "service", "client", "owner", "third_party", "family", "subject", "token"])
def test_what_nobody_knows_is_revoked_all_the_same_and_said_to_be_unknown(desk: Desk, kind: Any) -> None:
    hit = revoke(desk.control, [(kind, "unheard-of")], BY, why=None)
    assert (hit.known, hit.agents, hit.families) == (False, (), 0)
    assert len(hit.epochs) == 1
    assert desk.events() == ["revoked"]


@pytest.mark.parametrize(
    ("kind", "value", "hint"),
    [
        ("agent", "lnt", "did you mean `lint`?"),
        ("owner", "alise", "did you mean `alice`?"),
        ("third_party", "vendr", "did you mean `vendor`?"),
        ("service", "bach", "did you mean `batch`?"),
        ("service", "lint", "it is an agent: `ostiary revoke --agent lint`"),
        ("agent", "batch", "it is a service: `ostiary revoke --service batch`"),
        ("token", "some-jti", "tokens are not kept, so whether there is one of this id cannot be said here"),
    ],
)
def test_a_name_that_is_not_known_is_told_with_what_may_be_meant(desk: Desk, kind: Any, value: str, hint: str) -> None:
    assert revoke(desk.control, [(kind, value)], BY, why=None).hint == hint


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("agent", "human:sso:zoe"),
        ("agent", "service:local:batch"),
        ("service", "agent:local:lint"),
        ("owner", " "),
        ("token", ""),
    ],
)
def test_what_can_match_no_token_is_refused_and_nothing_is_written(desk: Desk, kind: Any, value: str) -> None:
    with pytest.raises(RevocationError):
        revoke(desk.control, [(kind, value)], BY, why=None)
    with desk.store.reading() as connection:
        assert epochs.since(connection, 0) == ([], 0)
    assert desk.events() == []


def test_revoking_twice_in_a_second_reaches_what_was_issued_in_between(desk: Desk) -> None:
    first = revoke(desk.control, [("agent", "lint")], BY, why=None).epochs[0].epoch
    with desk.store.changing() as connection:
        again = max(desk.at, epochs.floor(connection, [("agent", "agent:local:lint")]) + 1)
        registry.note_token(connection, "agent:local:lint", issued_at=again)
    assert again > first
    second = revoke(desk.control, [("owner", "alice")], BY, why=None).epochs[0].epoch
    assert second >= again


def test_an_ended_family_is_not_counted_again(desk: Desk) -> None:
    assert revoke(desk.control, [("client", "ide")], BY, why=None).families == 2
    assert revoke(desk.control, [("client", "ide")], BY, why=None).families == 0


def test_a_human_in_person_is_untouched_when_her_agents_are_revoked(desk: Desk) -> None:
    hit = revoke(desk.control, [("owner", "carol")], BY, why=None)
    assert "subject" not in {each.kind for each in hit.epochs}


# Tokens that operators issue -----------------------------------------------------------------------------------------


def issue(desk: Desk, name: str) -> Any:
    asked = TokenRequest(type="agent", name=name, server="notes")
    return desk.control.registrar.issue_token(desk.control.config, asked, BY)


def test_a_token_that_is_issued_in_the_second_of_a_revocation_is_later_than_it(desk: Desk) -> None:
    assert issue(desk, "lint").grant.issued_at == NOW
    targets: list[tuple[EpochKind, str]] = [("agent", "lint"), ("owner", "alice"), ("client", "lint")]
    for target in targets:
        revoked = revoke(desk.control, [target], BY, why=None).epochs[0].epoch
        assert issue(desk, "lint").grant.issued_at == revoked + 1


def test_issuing_waits_for_the_second_of_a_revocation_to_end_however_often_that_is_done(desk: Desk) -> None:
    desk.ticking = True
    for _ in range(40):
        now, revoked = desk.at, revoke(desk.control, [("agent", "lint")], BY, why=None).epochs[0].epoch
        assert (revoked, issue(desk, "lint").grant.issued_at, desk.at) == (now, now + 1, now + 1)
    # Whom it does not concern does not wait.
    assert issue(desk, "pair").grant.issued_at == desk.at == NOW + 40


def test_what_is_revoked_while_issuing_waits_is_waited_for_too(desk: Desk) -> None:
    desk.ticking = True
    revoke(desk.control, [("agent", "lint")], BY, why=None)
    waits = iter(["once", "twice"])

    def pause(seconds: float) -> None:
        desk.at += int(seconds)
        if next(waits) == "once":
            revoke(desk.control, [("owner", "alice")], BY, why=None)

    desk.control.registrar._pause = pause
    assert issue(desk, "lint").grant.issued_at == desk.at == NOW + 2


def test_after_the_clock_was_set_back_tokens_are_dated_after_the_revocation_without_a_wait(desk: Desk) -> None:
    desk.ticking = True
    revoke(desk.control, [("agent", "lint")], BY, why=None)
    desk.at -= 3600
    assert issue(desk, "lint").grant.issued_at == NOW + 1
    # What concerns others is dated by the clock, and a revocation still covers what there is.
    assert revoke(desk.control, [("agent", "pair")], BY, why=None).epochs[0].epoch == desk.at == NOW - 3600
    assert issue(desk, "pair").grant.issued_at == NOW - 3599
    assert revoke(desk.control, [("agent", "lint")], BY, why=None).epochs[0].epoch == NOW + 1


def test_an_agent_without_a_live_owner_gets_no_token(desk: Desk) -> None:
    assert issue(desk, "ship").grant.owner == "carol"
    desk.do("/people/disable", name="carol")
    with pytest.raises(TokenRefusedError, match="may not act now: nobody live answers for it"):
        issue(desk, "ship")
    desk.do("/agents/suspend", name="lint")
    with pytest.raises(TokenRefusedError, match="may not act now: it is suspended"):
        issue(desk, "lint")
    assert desk.events()[-1] == "token_refused"
