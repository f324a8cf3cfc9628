"""Signing in by an OpenID provider: what is believed, what is refused, and which browser it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs
from tests.kit.frontdesk import Browser, Desk, query_of, write_config
from tests.kit.provider import Provider

from ostiary.identity import signin
from ostiary.identity.asking import LOOK_S, LOOKS, RETRY_S
from ostiary.registrar import NotRecordedError
from ostiary.store import accounts


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.reset()
    running.set_user("alice", email="alice@example.com", name="Alice", groups=["ops", "dev"], department="research")
    running.sign_in_as("alice")
    return running


@pytest.fixture
def desk(provider: Provider, tmp_path: Path) -> Desk:
    return Desk(write_config(tmp_path, provider))


@pytest.fixture
def browser(desk: Desk, provider: Provider) -> Browser:
    return Browser(desk, provider)


def signed_in(browser: Browser) -> bool:
    return signin.current(browser.desk, browser.cookies) is not None


def refused(browser: Browser, url: str, status: int) -> None:
    answer = browser.ask("GET", url)
    assert (answer.status_code, signed_in(browser)) == (status, False)


def test_a_person_signs_in_and_is_known_by_what_the_provider_says(browser: Browser, desk: Desk) -> None:
    answer = browser.ask("GET", browser.at_provider())
    session = signin.current(desk, browser.cookies)
    assert answer.headers["location"] == "/oauth/account"
    assert session is not None
    account = session.account
    assert account.id == "human:sso:alice"
    assert (account.email, account.name, account.groups) == ("alice@example.com", "Alice", ("dev", "ops"))
    assert (account.person, account.renewable) == ("alice", True)
    assert desk.events() == ["signed_in"]
    assert desk.records[0]["principal"] == {"type": "human", "id": "human:sso:alice"}
    assert desk.registry_changes == 1


def test_the_provider_is_asked_with_pkce_nonce_and_state(browser: Browser, provider: Provider) -> None:
    begun = query_of(browser.begin().headers["location"])
    again = query_of(browser.begin().headers["location"])
    assert begun["code_challenge_method"] == "S256"
    assert begun["redirect_uri"] == "http://127.0.0.1:8811/oauth/callback"
    assert begun["scope"] == "openid email profile offline_access"
    assert all(len(begun[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    assert all(begun[name] != again[name] for name in ("state", "nonce", "code_challenge"))


def test_what_the_id_token_lacks_comes_from_userinfo(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set(only_userinfo=["groups", "email"])
    browser.sign_in()
    account = accounts.get(desk.store, "human:sso:alice")
    assert account is not None
    assert (account.groups, account.email) == (("dev", "ops"), "alice@example.com")


@pytest.mark.parametrize(
    ("section", "methods", "sent_by"),
    [
        ({}, ["client_secret_basic", "client_secret_post"], "header"),
        ({}, ["client_secret_post"], "form"),
        ({}, None, "header"),
        ({"client_secret": None}, ["none"], "none"),
    ],
)
def test_the_gateway_authenticates_as_the_provider_takes_it(
    provider: Provider, tmp_path: Path, section: dict[str, Any], methods: list[str] | None, sent_by: str
) -> None:
    provider.set(discovery={"token_endpoint_auth_methods_supported": methods})
    if sent_by == "none":
        provider.set(secret=None)
    browser = Browser(Desk(write_config(tmp_path, provider, **section)), provider)
    browser.sign_in()
    assert signed_in(browser)
    (seen,) = provider.seen("/token")
    assert (seen["authorization"] is not None) == (sent_by == "header")
    assert ("client_secret" in seen["form"]) == (sent_by == "form")


# State and browser (F05) ----------------------------------------------------------------------------------------------


def test_a_state_is_good_once(browser: Browser) -> None:
    back = browser.at_provider()
    browser.ask("GET", back)
    browser.cookies.pop("ostiary-session")
    refused(browser, back, 400)


def test_a_return_in_another_browser_is_refused_and_uses_the_state_up(browser: Browser, desk: Desk) -> None:
    back = browser.at_provider()
    other = Browser(desk, browser.provider)
    other.begin()
    refused(other, back, 400)
    refused(browser, back, 400)
    assert desk.records[0]["detail"] == {"provider": "sso", "why": "another_browser"}


def test_a_return_without_our_cookie_is_refused(browser: Browser, desk: Desk) -> None:
    refused(Browser(desk, browser.provider), browser.at_provider(), 400)


@pytest.mark.parametrize("change", [{"state": None}, {"state": ""}, {"state": "A" * 43}, {"code": None}])
def test_a_return_that_lacks_something_is_refused(browser: Browser, change: dict[str, str | None]) -> None:
    back = browser.at_provider()
    query = {name: value for name, value in {**query_of(back), **change}.items() if value is not None}
    status = 403 if "code" in change else 400
    refused(browser, back.partition("?")[0] + "?" + urlencode(query), status)


def test_a_return_that_says_something_twice_is_refused(browser: Browser) -> None:
    back = browser.at_provider()
    refused(browser, f"{back}&state={query_of(back)['state']}", 400)


def test_a_sign_in_is_open_for_ten_minutes(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set(id_token={"exp": 9_000_000_000})
    back, late = browser.at_provider(), browser.at_provider()
    desk.ahead = signin.FLOW_S - 5
    assert browser.ask("GET", back).status_code == 303
    browser.cookies.pop("ostiary-session")
    desk.ahead = signin.FLOW_S
    refused(browser, late, 400)


# What is believed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        {"id_token": {"nonce": "another"}},
        {"id_token": {"nonce": None}},
        {"id_token": {"iss": "https://evil.test"}},
        {"id_token": {"iss": None}},
        {"id_token": {"aud": "another"}},
        {"id_token": {"aud": ["another", "more"]}},
        {"id_token": {"aud": ["ostiary", "more"]}},
        {"id_token": {"azp": "another"}},
        {"id_token": {"aud": None}},
        {"id_token": {"exp": 1_600_000_000}},
        {"id_token": {"exp": None}},
        {"id_token": {"exp": "tomorrow"}},
        {"id_token": {"iat": 9_000_000_000}},
        {"id_token": {"iat": None}},
        {"id_token": {"nbf": 9_000_000_000}},
        {"id_token": {"at_hash": "AAAA"}},
        {"id_token": {"sub": None}},
        {"id_token": {"sub": 7}},
        {"signing": "none"},
        {"signing": "HS256"},
        {"signing": "stranger"},
        {"answer": {"id_token": None}},
        {"answer": {"id_token": "a.b.c"}},
        {"userinfo": {"sub": "bob"}},
        {"userinfo": {"sub": None}},
        {"callback": {"iss": "https://evil.test"}},
        {"callback": {"iss": None}},
    ],
    ids=str,
)
def test_an_answer_that_does_not_hold_is_refused(
    browser: Browser, desk: Desk, provider: Provider, behaviour: dict[str, Any]
) -> None:
    provider.set(**behaviour)
    refused(browser, browser.at_provider(), 400)
    assert desk.records[-1]["detail"]["why"] == "not_believed"
    assert accounts.get(desk.store, "human:sso:alice") is None


@pytest.mark.parametrize(
    "behaviour",
    [
        {"id_token": {"at_hash": None}},
        {"id_token": {"aud": ["ostiary", "more"], "azp": "ostiary"}},
        {"id_token": {"auth_time": None}},
        {"discovery": {"userinfo_endpoint": None}},
        {"discovery": {"authorization_response_iss_parameter_supported": None}, "callback": {"iss": None}},
        {"answer": {"refresh_token": None}},
    ],
    ids=str,
)
def test_what_a_provider_may_leave_out_is_not_missed(
    browser: Browser, provider: Provider, behaviour: dict[str, Any]
) -> None:
    provider.set(**behaviour)
    browser.sign_in()
    assert signed_in(browser)


def test_the_issuer_of_a_refusal_is_held_to_as_well(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.sign_in_as("mallory")
    refused(browser, browser.at_provider(), 403)
    provider.set(callback={"iss": "https://evil.test"})
    refused(browser, browser.at_provider(), 400)
    assert [record["detail"]["why"] for record in desk.records] == ["provider_refused", "not_believed"]


def test_a_new_key_is_found_at_once_and_one_that_is_nowhere_is_not_looked_for_without_end(
    browser: Browser, desk: Desk, provider: Provider
) -> None:
    browser.sign_in()
    provider.rotate_keys()
    browser.cookies.pop("ostiary-session")
    browser.sign_in()
    assert signed_in(browser)
    assert len(provider.seen("/jwks")) == 2
    browser.cookies.pop("ostiary-session")
    provider.set(signing="stranger")
    for ahead in range(1, 1 + LOOKS):
        desk.ahead = ahead
        refused(browser, browser.at_provider(), 400)
    assert len(provider.seen("/jwks")) == 1 + LOOKS
    provider.set(signing="RS256")
    provider.rotate_keys()
    desk.ahead += LOOK_S
    browser.sign_in()
    assert signed_in(browser)


# The provider's document ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.test"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": "http://idp.example.com/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://idp.example.com/a#b"},
        {"jwks_uri": 7},
    ],
    ids=str,
)
def test_a_document_that_is_not_the_providers_is_not_used(
    browser: Browser, provider: Provider, change: dict[str, Any]
) -> None:
    provider.set(discovery=change)
    with capture_logs() as logged:
        assert [browser.begin().status_code for _ in range(3)] == [502] * 3
    told = [record["detail"] for record in browser.desk.records if record["event"] == "sign_in_refused"]
    assert [(each["provider"], each["why"], bool(each["said"])) for each in told] == [("sso", "provider", True)] * 3
    assert [each["log_level"] for each in logged] == ["warning"]
    assert "at the provider sso" in logged[0]["event"]


def test_a_document_that_is_not_the_providers_takes_no_good_ones_place(
    browser: Browser, desk: Desk, provider: Provider
) -> None:
    assert browser.begin().status_code == 303
    provider.set(discovery={"issuer": "https://evil.test", "authorization_endpoint": "https://evil.test/"})
    answers = []
    for ahead in (3700, 86_500):
        desk.ahead = ahead
        answers.append(browser.begin().headers.get("location", "").startswith(provider.origin))
    provider.set(discovery={})
    desk.ahead += RETRY_S
    answers.append(browser.begin().headers.get("location", "").startswith(provider.origin))
    assert answers == [True, False, True]


def test_the_document_is_kept_for_an_hour_and_a_day_while_the_provider_is_down(
    browser: Browser, desk: Desk, provider: Provider
) -> None:
    answers = []
    for ahead, down in (
        (0, False),
        (3500, True),
        (3700, True),
        (86_300, True),
        (86_500, True),
        (86_500, False),
        (86_500 + RETRY_S, False),
    ):
        desk.ahead = ahead
        provider.set(down=down)
        answers.append(browser.begin().status_code)
    assert answers == [303, 303, 303, 303, 502, 502, 303]  # what failed is left alone for a moment


def test_a_provider_that_is_down_signs_nobody_in(browser: Browser, desk: Desk, provider: Provider) -> None:
    back = browser.at_provider()
    provider.set(down=True)
    refused(browser, back, 502)
    assert desk.records[-1]["detail"]["why"] == "provider"


# Where to -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/oauth/authorize?client_id=x&state=a%20b", "/oauth/account"])
def test_the_browser_comes_back_to_where_it_was(browser: Browser, target: str) -> None:
    back = browser.provider.visit(browser.begin(target).headers["location"])
    assert browser.ask("GET", back).headers["location"] == target


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/oauth/account",
        "//evil.test/oauth/",
        "/\\evil.test",
        "/oauth/../x",
        "/oauth//evil.test",
        "/oauth/a\r\nSet-Cookie: x=y",
        "/oauth/a?b#c",
        "/oauth/ä",
        "/mcp/notes",
        "/oauth/",
        "",
        "/oauth/a?" + "x" * 9000,
    ],
)
def test_no_target_leads_elsewhere(browser: Browser, target: str) -> None:
    assert browser.begin(target).status_code == 400


def test_a_provider_that_is_not_configured_is_none(browser: Browser) -> None:
    assert browser.begin(provider="other").status_code == 404


# Sessions -------------------------------------------------------------------------------------------------------------


def test_each_sign_in_makes_a_new_session_and_ends_the_one_before(browser: Browser, desk: Desk) -> None:
    browser.sign_in()
    first = dict(browser.cookies)
    browser.sign_in()
    assert browser.cookies["ostiary-session"] != first["ostiary-session"]
    assert signin.current(desk, first) is None
    assert signed_in(browser)


def test_a_session_that_somebody_put_there_is_not_taken_over(browser: Browser) -> None:
    browser.cookies["ostiary-session"] = "A" * 43
    assert not signed_in(browser)
    browser.sign_in()
    assert browser.cookies["ostiary-session"] != "A" * 43


def test_a_session_lives_for_eight_hours(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set(refresh=False)
    browser.sign_in()
    desk.ahead = 8 * 3600 - 5
    assert signed_in(browser)
    desk.ahead = 8 * 3600
    assert not signed_in(browser)


@pytest.mark.parametrize(
    ("url", "prefix", "attributes"),
    [
        ("http://127.0.0.1:8811", "", "; Path=/; HttpOnly; SameSite=Lax"),
        ("https://gw.example.com", "__Host-", "; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ("https://127.0.0.1:8811", "__Host-", "; Path=/; Secure; HttpOnly; SameSite=Lax"),
    ],
)
def test_cookies_are_bound_to_the_host_wherever_browsers_can(
    provider: Provider, tmp_path: Path, url: str, prefix: str, attributes: str
) -> None:
    browser = Browser(Desk(write_config(tmp_path, provider, url=url)), provider)
    browser.sign_in()
    assert [text.partition("=")[0] for text in browser.set_cookies] == [
        f"{prefix}ostiary-browser",
        f"{prefix}ostiary-session",
    ]
    assert all(
        text.endswith(attributes) and len(text.partition(";")[0].partition("=")[2]) == 43
        for text in browser.set_cookies
    )


def test_nothing_that_opens_a_door_is_recorded_or_stored_in_clear(
    browser: Browser, desk: Desk, provider: Provider, tmp_path: Path
) -> None:
    back = browser.at_provider()
    browser.ask("GET", back)
    (token,) = provider.seen("/token")
    secret = [*browser.cookies.values(), *(query_of(back)[name] for name in ("code", "state"))]
    secret += [token["form"]["code_verifier"], provider.secret]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("o.db*")) + json.dumps(desk.records).encode()
    assert b"human:sso:alice" in kept
    assert [text for text in secret if text.encode() in kept] == []


def test_a_sign_in_that_cannot_be_recorded_is_none(browser: Browser, desk: Desk) -> None:
    back = browser.at_provider()
    desk.recording = False
    with pytest.raises(NotRecordedError):
        browser.ask("GET", back)
    assert accounts.get(desk.store, "human:sso:alice") is None


# Who it is ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alice", "human:sso:alice"])
def test_a_disabled_person_cannot_sign_in_and_her_session_counts_no_more(
    browser: Browser, desk: Desk, name: str
) -> None:
    browser.sign_in()
    assert signed_in(browser)
    desk.disable(name)
    assert not signed_in(browser)
    refused(browser, browser.at_provider(), 403)
    assert desk.records[-1]["detail"]["why"] == "disabled"


ALICE = {"email": "alice@example.com"}


@pytest.mark.parametrize(
    ("people", "claims", "person"),
    [
        ({"alice": ALICE}, {}, "alice"),
        ({"alice": {"email": "Alice@Example.com"}}, {}, "alice"),
        ({"alice": ALICE}, {"email_verified": False}, None),
        ({"alice": {"email": "alice@other.test"}}, {"email": "alice@other.test"}, None),
        ({"alice": ALICE, "twin": ALICE}, {}, None),
        ({"alice": {**ALICE, "issuer": "sso", "subject": "alice"}}, {"email": "other@example.com"}, "alice"),
        ({"alice": {**ALICE, "issuer": "sso", "subject": "bob"}}, {}, None),
        ({"alice": {"email": "alice@example.com"}}, {"email": "alice@example.com@evil.test"}, None),
        ({"alice": {"email": "alice@example.com"}}, {"email": ["alice@example.com"]}, None),
    ],
)
def test_an_account_is_the_person_whom_it_can_be_shown_to_be(
    provider: Provider, tmp_path: Path, people: Any, claims: dict[str, Any], person: str | None
) -> None:
    provider.set_user("alice", **{"email": "alice@example.com", **claims})
    browser = Browser(Desk(write_config(tmp_path, provider)), provider)
    browser.desk.declare(people)
    browser.sign_in()
    account = accounts.get(browser.desk.store, "human:sso:alice")
    assert account is not None
    assert account.person == person


def test_an_address_is_the_first_accounts_that_came_with_it(browser: Browser, desk: Desk, provider: Provider) -> None:
    provider.set_user("alice2", email="alice@example.com")
    browser.sign_in()
    provider.sign_in_as("alice2")
    browser.sign_in()
    found = [accounts.get(desk.store, f"human:sso:{name}") for name in ("alice", "alice2")]
    assert [account and account.person for account in found] == ["alice", None]
    assert [record["detail"]["person"] for record in desk.records if record["event"] == "signed_in"] == ["alice", None]
