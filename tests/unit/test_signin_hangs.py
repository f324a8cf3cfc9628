"""A provider that hangs holds up one thread; others go by its last word, or are told to come back."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.frontdesk import Browser, Desk, write_config
from tests.kit.provider import Provider

from ostiary.identity import refresher
from ostiary.identity.accounts import Account
from ostiary.identity.asking import RETRY_S
from ostiary.store import accounts

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


def test_a_document_that_could_not_be_had_is_asked_for_again_after_a_moment(
    browser: Browser, provider: Provider
) -> None:
    provider.set(down=True)
    counts = []
    for ahead in (0, 1, 1 + RETRY_S):
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


def test_a_provider_that_is_down_takes_nothing_from_another(tmp_path: Path, provider: Provider) -> None:
    with Provider() as other:
        other.set_user("bob")
        other.sign_in_as("bob")
        other.set(id_token={"exp": 9_000_000_000})
        path = write_config(tmp_path, provider)
        document = json.loads(path.read_text("utf-8"))
        providers = document["identity"]["providers"]
        # First by name, and with more people than are ever asked about in vain.
        providers["zz"] = {**providers["sso"], "issuer": other.issuer}
        path.write_text(json.dumps(document), encoding="utf-8")
        desk = Desk(path)
        for number in range(refresher.MAX_IN_VAIN + 1):
            provider.set_user(f"p{number}")
            provider.sign_in_as(f"p{number}")
            Browser(desk, provider).sign_in()
        browser = Browser(desk, other)
        browser.ask("GET", other.visit(browser.begin(provider="zz").headers["location"]))
        provider.set(hangs=True)
        desk.ahead = refresher.CHECK_S
        tick = threading.Thread(target=refresher.tick, args=[desk])
        tick.start()
        while len(other.seen("/token")) == 1 and tick.is_alive():
            pass
        assert tick.is_alive()
        provider.set(hangs=False)
        tick.join()
        bob = accounts.get(desk.store, "human:zz:bob")
        assert bob is not None
        assert bob.checked_at >= bob.signed_in_at + refresher.CHECK_S


@pytest.mark.parametrize("claims", [{"name": "\ud800"}, {"groups": ["dev", "\udfff"]}, {"\ud800": 1}], ids=ascii)
def test_claims_that_are_not_text_sign_nobody_in(browser: Browser, provider: Provider, claims: dict[str, Any]) -> None:
    provider.set(discovery={"userinfo_endpoint": None})  # the ID token says it all
    provider.set_user("alice", email="alice@example.com", **claims)
    assert browser.sign_in().status_code == 400
    assert browser.desk.records[-1]["detail"]["why"] == "not_believed"
    provider.set_user("alice", email="alice@example.com", name="\U0001f600")
    assert browser.sign_in().status_code == 303
