"""A provider that hangs holds up one thread; others go by its last word, or are told to come back."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.frontdesk import Browser, Desk, write_config
from tests.kit.provider import Provider

from ostiary.identity import refresher
from ostiary.identity.accounts import Account

ALICE = "human:sso:alice"
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.reset()
    running.set_user("alice", email="alice@example.com")
    running.sign_in_as("alice")
    running.set(id_token={"exp": 9_000_000_000})
    return running


@pytest.fixture
def browser(provider: Provider, tmp_path: Path) -> Browser:
    return Browser(Desk(write_config(tmp_path, provider)), provider)


def while_one_waits(
    provider: Provider, path: str, first: Callable[[], Any], then: Callable[[], Any]
) -> tuple[Any, Any]:
    """Let `first` ask the provider at `path` in vain, and `then` run before there is an answer."""
    before, found = len(provider.seen(path)), list[Any]()
    thread = threading.Thread(target=lambda: found.append(first()))
    provider.set(hangs=True)
    thread.start()
    while len(provider.seen(path)) == before and thread.is_alive():
        pass
    try:
        second = then()
        assert thread.is_alive()
    finally:
        provider.set(hangs=False)
        thread.join()
    return found[0], second


def test_the_last_document_is_used_while_one_asks_for_the_next(browser: Browser, provider: Provider) -> None:
    assert browser.begin().status_code == 303
    browser.desk.ahead = 3700
    both = while_one_waits(
        provider, DISCOVERY, lambda: browser.begin().status_code, lambda: [browser.begin().status_code for _ in "123"]
    )
    assert both == (303, [303, 303, 303])
    assert len(provider.seen(DISCOVERY)) == 2


def test_without_a_document_one_asks_and_others_are_told_to_come_back(browser: Browser, provider: Provider) -> None:
    both = while_one_waits(
        provider, DISCOVERY, lambda: browser.begin().status_code, lambda: browser.begin().status_code
    )
    assert both == (303, 502)
    assert len(provider.seen(DISCOVERY)) == 1


def test_a_document_that_could_not_be_had_is_not_asked_for_again_at_once(browser: Browser, provider: Provider) -> None:
    provider.set(down=True)
    counts = []
    for ahead in (0, 10, 31):
        browser.desk.ahead = ahead
        assert browser.begin().status_code == 502
        counts.append(len(provider.seen(DISCOVERY)))
    assert counts == [1, 1, 2]


@pytest.mark.parametrize(("ahead", "there"), [(61, True), (3601, False)])
def test_the_last_word_on_a_person_counts_while_one_asks_for_the_next(
    browser: Browser, provider: Provider, ahead: int, there: bool
) -> None:
    browser.sign_in()
    browser.desk.ahead = ahead

    def confirm() -> Account | None:
        return refresher.confirm(browser.desk, ALICE)

    path = "/token" if ahead < 3600 else DISCOVERY
    first, second = while_one_waits(provider, path, confirm, confirm)
    assert (first is not None, second is not None) == (True, there)
