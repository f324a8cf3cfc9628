"""What ends at a sign-out, a withdrawal or a provider's no is revoked in the same change of the store, completely."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.kit.frontdesk import Browser, Desk, write_config
from tests.kit.provider import Provider

from ostiary.control import EpochKind
from ostiary.identity import refresher, signin
from ostiary.store import registry
from ostiary.store.errors import StoreError
from ostiary.store.tables import epochs

ALICE = "human:sso:alice"
CLIENT = "https://app.test/client"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def browser(running: Provider, tmp_path: Path) -> Browser:
    running.reset()
    running.set_user("alice", email="alice@example.com", groups=["dev", "ops"])
    running.sign_in_as("alice")
    running.set(id_token={"exp": 9_000_000_000})
    browser = Browser(Desk(write_config(tmp_path, running)), running)
    browser.sign_in()
    browser.desk.grant(ALICE, CLIENT)
    return browser


def sign_out(browser: Browser) -> None:
    session = signin.current(browser.desk, browser.cookies)
    assert session is not None
    signin.sign_out(browser.desk, session)


def withdraw(browser: Browser) -> None:
    session = signin.current(browser.desk, browser.cookies)
    assert session is not None
    assert signin.withdraw(browser.desk, session, CLIENT)


def leave(browser: Browser) -> None:
    browser.provider.disable("alice")
    browser.desk.ahead += 61
    refresher.confirm(browser.desk, ALICE)


def lose_a_group(browser: Browser) -> None:
    browser.provider.set_user("alice", email="alice@example.com", groups=["dev"])
    browser.desk.ahead += 61
    refresher.confirm(browser.desk, ALICE)


def sign_in_without_a_group(browser: Browser) -> None:
    browser.provider.set_user("alice", email="alice@example.com", groups=["dev"])
    browser.sign_in()


ENDS: list[tuple[Callable[[Browser], None], EpochKind, str, str]] = [
    (sign_out, "subject", ALICE, "signed_out"),
    (withdraw, "family", "family", "consent_withdrawn"),
    (leave, "subject", ALICE, "left"),
    (lose_a_group, "subject", ALICE, "groups_removed"),
    (sign_in_without_a_group, "subject", ALICE, "groups_removed"),
]
each_end = pytest.mark.parametrize(("end", "kind", "value", "why"), ENDS, ids=[each[0].__name__ for each in ENDS])


@each_end
def test_what_ends_is_revoked_though_it_cannot_be_put_in_force_at_once(
    browser: Browser, end: Callable[[Browser], None], kind: EpochKind, value: str, why: str
) -> None:
    desk = browser.desk
    desk.store_is_locked = True
    with contextlib.suppress(StoreError):
        end(browser)
    assert (desk.family_ended(), desk.floor(kind, value) >= desk.now() - 5, desk.revoked) == (why, True, [])


@each_end
def test_a_token_of_the_same_second_is_revoked_too(
    browser: Browser, end: Callable[[Browser], None], kind: EpochKind, value: str, why: str
) -> None:
    # After a revocation, a token of the same second bears the next one; here it is 100 seconds, not to depend on ours.
    desk, issued_at = browser.desk, browser.desk.now() + 100
    with desk.store.changing() as connection:
        registry.note_token(connection, ALICE, issued_at=issued_at)
    end(browser)
    assert desk.floor(kind, value) >= issued_at
    assert [(epoch.value, epoch.epoch >= issued_at) for epoch in desk.revoked] == [(value, True)]


def test_nothing_is_revoked_where_nothing_ends(browser: Browser) -> None:
    browser.desk.ahead += 61
    assert refresher.confirm(browser.desk, ALICE) is not None
    browser.sign_in()
    with browser.desk.store.reading() as connection:
        assert connection.execute(sa.select(epochs)).all() == []
