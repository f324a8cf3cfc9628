"""Who leaves at the provider, or loses a group there, loses access here, within the bounds of `refresher`."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.frontdesk import Browser, Desk, write_config
from tests.kit.provider import Provider

from ostiary.identity import refresher, signin
from ostiary.identity.accounts import AHEAD_S, Account, claims_for_token
from ostiary.identity.refresher import SHARED_S
from ostiary.store import accounts

ALICE = "human:sso:alice"
LATER = 9_000_000_000


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.reset()
    said: dict[str, Any] = {"email": "alice@example.com", "department": "research"}
    running.set_user("alice", groups=["dev", "ops"], **said)
    running.sign_in_as("alice")
    running.set(id_token={"exp": LATER})  # so that only our clock needs to be turned
    return running


@pytest.fixture
def desk(provider: Provider, tmp_path: Path) -> Desk:
    return Desk(write_config(tmp_path, provider))


@pytest.fixture
def browser(desk: Desk, provider: Provider) -> Browser:
    browser = Browser(desk, provider)
    browser.sign_in()
    desk.grant(ALICE)
    return browser


def asked(provider: Provider) -> int:
    return sum(seen["form"].get("grant_type") == "refresh_token" for seen in provider.seen("/token"))


def kept(desk: Desk) -> Account:
    account = accounts.get(desk.store, ALICE)
    assert account is not None
    return account


def test_the_provider_is_asked_at_each_refresh(browser: Browser, desk: Desk, provider: Provider) -> None:
    counts = []
    for ahead in (0, 0, SHARED_S, SHARED_S, 3 * SHARED_S):
        desk.ahead = ahead
        account = refresher.confirm(desk, ALICE)
        assert account is not None
        counts.append(asked(provider))
    assert counts == [1, 1, 2, 2, 3]
    assert kept(desk).checked_at == desk.now()


def test_for_a_code_the_provider_is_asked_unless_she_comes_from_there(
    browser: Browser, desk: Desk, provider: Provider
) -> None:
    there = []
    for ahead in (0, refresher.RETURN_S):
        provider.disable("alice")
        desk.ahead = ahead
        there.append((refresher.confirm(desk, ALICE, cause="silent") is not None, asked(provider)))
    assert there == [(True, 0), (False, 1)]


@pytest.mark.parametrize("ahead", [0, 61])
def test_who_left_loses_everything_at_the_next_refresh(
    browser: Browser, desk: Desk, provider: Provider, ahead: int
) -> None:
    provider.disable("alice")
    desk.ahead = ahead
    assert refresher.confirm(desk, ALICE) is None
    assert signin.current(desk, browser.cookies) is None
    assert (desk.family_ended(), kept(desk).ended_at) == ("left", desk.now())
    assert [(epoch.kind, epoch.value, epoch.epoch) for epoch in desk.revoked] == [("subject", ALICE, desk.now())]
    assert desk.registry_changes == 2  # she came, she left
    assert refresher.confirm(desk, ALICE) is None
    assert (asked(provider), len(desk.revoked)) == (1, 1)


def test_who_left_loses_everything_in_the_background_too(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.disable("alice")
    desk.ahead = refresher.CHECK_S - 5
    refresher.tick(desk)
    assert (asked(provider), desk.family_ended()) == (0, None)
    desk.ahead = refresher.CHECK_S
    refresher.tick(desk)
    assert (asked(provider), desk.family_ended()) == (1, "left")


def test_a_word_of_a_clock_that_was_ahead_is_asked_for_anew(browser: Browser, desk: Desk, provider: Provider) -> None:
    """L05: at the next look in the background, not once the clock has caught up."""
    provider.disable("alice")
    desk.ahead = -AHEAD_S + 5
    refresher.tick(desk)
    assert desk.family_ended() is None
    desk.ahead = -3600
    refresher.tick(desk)
    assert desk.family_ended() == "left"


def test_who_came_back_is_there_again(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.disable("alice")
    desk.ahead = 61
    refresher.confirm(desk, ALICE)
    provider.set_user("alice", email="alice@example.com")
    browser.sign_in()
    assert kept(desk).ended_at is None
    assert signin.current(desk, browser.cookies) is not None


@pytest.mark.parametrize("rotate", [True, False])
def test_the_next_refresh_token_is_used_next(browser: Browser, desk: Desk, provider: Provider, rotate: bool) -> None:
    provider.set(rotate=rotate)
    for ahead in (61, 122, 183):
        desk.ahead = ahead
        assert refresher.confirm(desk, ALICE) is not None
    sent = [seen["form"]["refresh_token"] for seen in provider.seen("/token")[1:]]
    assert len(set(sent)) == (3 if rotate else 1)


def test_a_refresh_token_is_not_lost_where_the_rest_of_the_answer_is(
    browser: Browser, desk: Desk, provider: Provider
) -> None:
    provider.set(userinfo={"sub": "bob"})
    desk.ahead = 61
    assert refresher.confirm(desk, ALICE) is None
    assert kept(desk).checked_at < desk.now()
    provider.set(userinfo={})
    desk.ahead = 122
    assert refresher.confirm(desk, ALICE) is not None
    assert kept(desk).checked_at == desk.now()


def test_two_at_once_use_a_rotating_token_once(browser: Browser, desk: Desk, provider: Provider) -> None:
    desk.ahead = 61
    found: list[Account | None] = []
    threads = [threading.Thread(target=lambda: found.append(refresher.confirm(desk, ALICE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), None in found, asked(provider)) == (8, False, 1)


# Groups and claims (L06) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "groups", "revoked"),
    [
        ({"groups": ["dev", "ops"]}, ("dev", "ops"), False),
        ({"groups": ["dev", "ops", "sre"]}, ("dev", "ops", "sre"), False),
        ({"groups": ["dev"]}, ("dev",), True),
        ({"groups": []}, (), True),
        ({}, None, True),
        ({"_claim_names": {"groups": "src1"}}, None, False),
    ],
    ids=str,
)
def test_a_group_that_is_gone_revokes_and_a_new_one_does_not(
    browser: Browser, desk: Desk, provider: Provider, claims: dict[str, Any], groups: Any, revoked: bool
) -> None:
    provider.set_user("alice", email="alice@example.com", **claims)
    desk.ahead = refresher.CHECK_S
    refresher.tick(desk)
    account = kept(desk)
    assert (account.groups, account.groups_error) == (groups, "too_many" if "_claim_names" in claims else None)
    assert (desk.family_ended(), len(desk.revoked)) == (("groups_removed", 1) if revoked else (None, 0))
    assert signin.current(desk, browser.cookies) is not None


def test_a_group_that_is_gone_at_the_next_sign_in_revokes_too(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set_user("alice", email="alice@example.com", groups=["dev"])
    browser.sign_in()
    assert desk.family_ended() == "groups_removed"


def test_what_is_not_said_again_is_not_to_be_had(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set(id_token_on_refresh=False, userinfo={"groups": None, "department": None})
    desk.ahead = 61
    account = refresher.confirm(desk, ALICE)
    assert account is not None
    assert (account.groups, account.groups_error) == (None, "too_many")
    made = claims_for_token(account, desk.config)
    assert made["_claim_names"] == {"groups": "unavailable", "department": "unavailable"}
    assert made["email"] == "alice@example.com"
    assert desk.revoked == []
    provider.set(id_token_on_refresh=True, userinfo={})
    desk.ahead = 122
    again = refresher.confirm(desk, ALICE)
    assert again is not None
    assert claims_for_token(again, desk.config)["groups"] == ["dev", "ops"]
    assert "_claim_names" not in claims_for_token(again, desk.config)


# Without a word -------------------------------------------------------------------------------------------------------


def test_the_last_word_counts_for_an_hour(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set(down=True)
    there = []
    for ahead in (61, 3590, 3601):
        desk.ahead = ahead
        there.append((refresher.confirm(desk, ALICE) is not None, signin.current(desk, browser.cookies) is not None))
    assert there == [(True, True), (True, True), (False, False)]
    assert kept(desk).ended_at is None
    provider.set(down=False)
    desk.ahead = 3700
    assert refresher.confirm(desk, ALICE) is not None
    assert signin.current(desk, browser.cookies) is not None


def test_a_provider_that_is_down_is_left_alone_for_a_while(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set(down=True)
    counts = []
    for ahead in (61, 61, 61 + refresher.PATIENCE_S - 3, 61 + refresher.PATIENCE_S):
        desk.ahead = ahead
        assert refresher.confirm(desk, ALICE) is not None  # no word is not a no
        counts.append(asked(provider))
    assert counts == [1, 1, 1, 2]
    browser.desk.ahead = 0
    provider.set(down=False)
    browser.sign_in()
    refresher.confirm(desk, ALICE)
    assert asked(provider) == 3


def test_without_a_refresh_token_a_sign_in_counts_for_eight_hours(desk: Desk, provider: Provider) -> None:
    provider.set(refresh=False)
    Browser(desk, provider).sign_in()
    there = []
    for ahead in (61, 8 * 3600 - 5, 8 * 3600):
        desk.ahead = ahead
        refresher.tick(desk)
        there.append(refresher.confirm(desk, ALICE) is not None)
    assert (there, asked(provider)) == ([True, True, False], 0)


@pytest.mark.parametrize("name", [ALICE, "alice"])
def test_a_disabled_person_is_not_there(browser: Browser, desk: Desk, name: str) -> None:
    desk.disable(name)
    assert refresher.confirm(desk, ALICE) is None


def test_nobody_is_not_there(desk: Desk) -> None:
    assert refresher.confirm(desk, "human:sso:nobody") is None


def test_who_has_no_grant_and_no_session_is_not_asked_about(desk: Desk, provider: Provider) -> None:
    browser = Browser(desk, provider)
    browser.sign_in()
    desk.ahead = 8 * 3600 + 5
    refresher.tick(desk)
    assert asked(provider) == 0


@pytest.mark.parametrize(
    ("answer", "there"),
    [
        ({"id_token": {"sub": "bob"}}, False),
        ({"userinfo": {"sub": "bob"}}, False),
        ({"signing": "stranger"}, False),
        ({"statuses": {"/userinfo": 401}}, False),
        ({"statuses": {"/userinfo": 403}}, False),
        ({"statuses": {"/token": 403}}, False),
        ({"secret": "another"}, True),  # it is us whom it does not take
        ({"statuses": {"/token": 429}}, True),
        ({"statuses": {"/token": 503}}, True),
        ({"statuses": {"/userinfo": 503}}, True),
        ({"down": True}, True),
    ],
    ids=str,
)
def test_an_answer_that_says_no_or_is_not_to_be_believed_refuses_and_none_does_not(
    browser: Browser, desk: Desk, provider: Provider, answer: dict[str, Any], there: bool
) -> None:
    provider.set(**answer)
    before, found = kept(desk).checked_at, []
    for ahead in (61, 61, 3601):
        desk.ahead = ahead
        found.append(refresher.confirm(desk, ALICE) is not None)
    assert found == [there, there, False]
    assert (kept(desk).checked_at, kept(desk).ended_at, desk.revoked) == (before, None, [])
    provider.set(id_token={"exp": LATER}, userinfo={}, signing="RS256", statuses={}, secret=provider.secret, down=False)
    desk.ahead = 3700
    assert refresher.confirm(desk, ALICE) is not None


def test_one_whose_answer_cannot_be_used_holds_up_nobody(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set_user("bob", email="bob@example.com")
    provider.sign_in_as("bob")
    Browser(desk, provider).sign_in()
    provider.set_user("alice", email="alice@example.com", story="x" * 70_000)
    provider.disable("bob")
    desk.ahead = refresher.CHECK_S
    refresher.tick(desk)
    bob = accounts.get(desk.store, "human:sso:bob")
    assert bob is not None
    assert (bob.ended_at is not None, kept(desk).ended_at) == (True, None)
    assert kept(desk).checked_at < desk.now()


def test_a_provider_that_is_down_is_left_alone_until_the_next_time(desk: Desk, provider: Provider) -> None:
    names = [f"p{number}" for number in range(refresher.MAX_IN_VAIN + 3)]
    for name in names:
        provider.set_user(name)
        provider.sign_in_as(name)
        Browser(desk, provider).sign_in()
    provider.set(down=True)
    counts = []
    for ahead in (refresher.CHECK_S, refresher.CHECK_S + 30):
        desk.ahead = ahead
        refresher.tick(desk)
        counts.append(asked(provider))
    assert counts == [refresher.MAX_IN_VAIN, len(names)]
