"""Leaving: signing out, taking back what a client was allowed, and forms that were made for somebody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.frontdesk import Browser, Desk, query_of, write_config
from tests.kit.provider import Provider

from ostiary.identity import signin
from ostiary.store import accounts

CLIENT = "https://app.test/client"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        provider.set_user("alice", email="alice@example.com", groups=["dev"])
        yield provider


@pytest.fixture
def browser(provider: Provider, tmp_path: Path) -> Browser:
    provider.reset()
    provider.sign_in_as("alice")
    browser = Browser(Desk(write_config(tmp_path, provider)), provider)
    browser.sign_in()
    browser.desk.grant("human:sso:alice", CLIENT)
    return browser


def test_signing_out_ends_all_that_acts_in_her_name_then_the_session_at_the_provider(browser: Browser) -> None:
    desk, other = browser.desk, Browser(browser.desk, browser.provider)
    other.sign_in()
    csrf, before = browser.csrf, dict(browser.cookies)
    answer = browser.ask("POST", "/oauth/sign-out", {"csrf": csrf})
    assert answer.status_code == 303
    end = answer.headers["location"]
    assert end.startswith(f"{browser.provider.issuer}/logout?")
    asked = query_of(end)
    assert asked["post_logout_redirect_uri"] == "http://127.0.0.1:8811/oauth/account"
    assert asked["id_token_hint"].count(".") == 2
    assert browser.provider.visit(end) == asked["post_logout_redirect_uri"]
    back = bytes(browser.ask("GET", "/oauth/account").body).decode()
    assert "You are signed out" in back
    assert [signin.current(desk, cookies) for cookies in (before, other.cookies)] == [None, None]
    assert "ostiary-session" not in browser.cookies
    assert desk.family_ended() == "signed_out"
    assert [(epoch.kind, epoch.value) for epoch in desk.revoked] == [("subject", "human:sso:alice")]
    assert desk.events()[-2:] == ["revoked", "signed_out"]
    assert accounts.refresh_token(desk.store, "human:sso:alice") is None


def test_where_the_provider_has_no_end_of_session_a_page_says_so(browser: Browser) -> None:
    browser.provider.set(discovery={"end_session_endpoint": None}, id_token={"exp": 9_000_000_000})
    browser.desk.ahead = 3601
    browser.sign_in()
    answer = browser.ask("POST", "/oauth/sign-out", {"csrf": browser.csrf})
    assert (answer.status_code, "You are signed out" in bytes(answer.body).decode()) == (200, True)


@pytest.mark.parametrize("path", ["/oauth/sign-out", "/oauth/account"])
@pytest.mark.parametrize("csrf", [None, "", "A" * 43, "another person's"])
def test_a_form_of_somebody_else_does_nothing(browser: Browser, path: str, csrf: str | None) -> None:
    if csrf == "another person's":
        browser.provider.set_user("bob", email="bob@example.com")
        browser.provider.sign_in_as("bob")
        other = Browser(browser.desk, browser.provider)
        other.sign_in()
        csrf = other.csrf
        assert len(csrf) == 43
    form = {"client": CLIENT} if csrf is None else {"client": CLIENT, "csrf": csrf}
    assert browser.ask("POST", path, form).status_code == 403
    assert browser.desk.family_ended() is None
    assert signin.current(browser.desk, browser.cookies) is not None


def test_a_form_without_a_session_does_nothing(browser: Browser) -> None:
    csrf = browser.csrf
    browser.cookies.clear()
    assert browser.ask("POST", "/oauth/sign-out", {"csrf": csrf}).status_code == 403
    assert browser.desk.family_ended() is None


def test_what_a_client_was_allowed_is_shown_and_can_be_taken_back(browser: Browser) -> None:
    shown = bytes(browser.ask("GET", "/oauth/account").body).decode()
    assert all(text in shown for text in ("An app", "app.test", "mcp:read", "mcp:query", "notes", "alice@example.com"))
    answer = browser.ask("POST", "/oauth/account", {"csrf": browser.csrf, "client": CLIENT})
    assert (answer.status_code, answer.headers["location"]) == (303, "/oauth/account")
    assert "An app" not in bytes(browser.ask("GET", "/oauth/account").body).decode()
    assert browser.desk.family_ended() == "consent_withdrawn"
    assert [(epoch.kind, epoch.value) for epoch in browser.desk.revoked] == [("family", "family")]
    assert browser.desk.events()[-1] == "consent_withdrawn"
    assert signin.current(browser.desk, browser.cookies) is not None


def test_what_somebody_else_allowed_cannot_be_taken_back(browser: Browser) -> None:
    browser.provider.set_user("bob", email="bob@example.com")
    browser.provider.sign_in_as("bob")
    other = Browser(browser.desk, browser.provider)
    other.sign_in()
    assert other.ask("POST", "/oauth/account", {"csrf": other.csrf, "client": CLIENT}).status_code == 404
    assert browser.desk.family_ended() is None


def test_who_is_not_signed_in_is_offered_to(browser: Browser) -> None:
    answer = Browser(browser.desk, browser.provider).ask("GET", "/oauth/account")
    assert (answer.status_code, "Sign in with sso" in bytes(answer.body).decode()) == (200, True)
