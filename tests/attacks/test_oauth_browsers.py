"""What reaches people's browsers: returns from the provider, pages of consent, names and documents of clients."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from tests.kit.estate import CALLBACK, App, Estate
from tests.kit.flows.browser import Browser, Page
from tests.kit.webserver import answer

FOLDER = Path(__file__).parent / "oauth"


def rows(name: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in json.loads((FOLDER / f"{name}.json").read_text())]


@pytest.fixture(scope="module")
def app(estate: Estate) -> App:
    return estate.app()


@pytest.fixture(scope="module")
def alice(estate: Estate, app: App) -> Browser:
    browser = estate.browser("alice")
    app.sign_in(browser)
    return browser


def events(estate: Estate, since: int) -> list[str]:
    return [record["event"] for record in estate.gateway.records()[since:] if "event" in record]


# Returns from the provider --------------------------------------------------------------------------------------------


def begin(browser: Browser, app: App) -> str:
    """Begin a sign-in, do it at the provider, and return the way back, which is not taken yet."""
    back = f"{app.estate.gateway.url}/oauth/callback"
    found = browser.go(app.ask(), until=back)
    assert isinstance(found, str), found
    return found


def changed(url: str, case: dict[str, Any]) -> str:
    query = {**dict(parse_qsl(urlsplit(url).query)), **case.get("change", {})}
    text = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{url.partition('?')[0]}?{text}{case.get('more', '')}"


def taker(case: dict[str, Any], browser: Browser, app: App) -> Browser:
    """Return the browser that takes the way back."""
    estate, by = app.estate, case.get("by")
    if by is None:
        return browser
    other = estate.browser("bob")
    if by == "busy-browser":
        begin(other, app)
    return other


@pytest.mark.parametrize("case", rows("returns"))
def test_a_return_that_is_not_its_own_signs_nobody_in(case: dict[str, Any], estate: Estate, app: App) -> None:
    behaviour = json.loads(json.dumps(case.get("provider", {})).replace("$PROVIDER", estate.provider.origin))
    browser = estate.browser("bob")
    estate.provider.set(**behaviour)
    try:
        url = begin(browser, app)
        if case.get("before") == "used":
            assert browser.client.get(url).status_code == 303
        who = taker(case, browser, app)
        had = who.client.cookies.get("ostiary-session")
        since = len(estate.gateway.records())
        told = who.client.get(changed(url, case))
    finally:
        estate.provider.set(callback={}, id_token={}, userinfo={}, signing="RS256", only_userinfo=[])
    assert (told.status_code, told.headers.get("location")) == (case["must"]["status"], None), told.text
    assert "signed_in" not in events(estate, since)
    estate.gateway.refused(since, "sign_in")
    assert who.client.cookies.get("ostiary-session") == had
    twin = estate.browser("bob")
    assert twin.client.get(begin(twin, app)).status_code == 303
    assert twin.client.cookies.get("ostiary-session")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"error": "access_denied"}, "access_denied"),
        ({"error": "interaction_required"}, "access_denied"),
        ({"error": "server_error"}, "temporarily_unavailable"),
        ({"down": True}, "temporarily_unavailable"),
    ],
    ids=str,
)
def test_a_client_is_told_that_the_provider_signed_nobody_in(
    change: dict[str, Any], error: str, estate: Estate, app: App
) -> None:
    """RFC 6749 section 4.1.2.1, RFC 9207. The rows of `returns` are its twins: nobody is told of those."""
    browser, since = estate.browser("bob"), len(estate.gateway.records())
    back = begin(browser, app)
    if "error" in change:
        back = changed(back, {"change": {"code": None, **change}})
    estate.provider.set(down="down" in change)
    try:
        told = browser.client.get(back)
    finally:
        estate.provider.set(down=False)
    where, _, query = told.headers["location"].partition("?")
    said = dict(parse_qsl(query))
    assert (told.status_code, where) == (303, CALLBACK)
    assert said.pop("error_description")
    assert said == {"error": error, "state": "the-state", "iss": estate.gateway.url}
    assert events(estate, since) == ["sign_in_refused"]
    assert not browser.client.cookies.get("ostiary-session")


# Consent --------------------------------------------------------------------------------------------------------------


def answer_page(estate: Estate, browser: Browser, page: Page, case: dict[str, Any]) -> Any:
    """Answer a page as its first button does, but for what the case says."""
    words = {"$URL": estate.gateway.url}
    fields: dict[str, str | None] = {**page.forms[0].fields, "decision": "allow"}
    if "request" in case:
        other = estate.app().id
        query = {**dict(parse_qsl(fields["request"] or "")), **case["request"]}
        fields["request"] = urlencode({name: value.replace("$OTHER", other) for name, value in query.items()})
    fields |= case.get("fields", {})
    if case.get("csrf") == "another" or case.get("cookies") == "another":
        other_browser = estate.browser("bob")
        other_page = estate.app().consent_page(other_browser)
        if "csrf" in case:
            fields["csrf"] = other_page.forms[0].fields["csrf"]
        else:
            browser = other_browser
    headers = [(name, words.get(value, value)) for name, value in case.get("headers", [["Origin", "$URL"]])]
    cookies = "" if case.get("cookies") == "none" else browser.client.cookies.get("ostiary-session") or ""
    return estate.form("/oauth/authorize", fields, [*headers, ("Cookie", f"ostiary-session={cookies}")])


@pytest.mark.parametrize("case", rows("consents"))
def test_only_her_own_yes_to_what_she_was_shown_counts(case: dict[str, Any], estate: Estate, alice: Browser) -> None:
    page = estate.app().consent_page(alice)
    since = len(estate.gateway.records())
    told = answer_page(estate, alice, page, case)
    assert told.status in case["must"]["status"], told
    assert told.header("location") is None
    assert "consent_given" not in events(estate, since)
    # What has changed since it was shown is shown again, which refuses nothing.
    if told.status != 200:
        estate.gateway.refused(since)
    twin = answer_page(estate, alice, page, {})
    assert (twin.status, "code=" in (twin.header("location") or "")) == (303, True), twin


@pytest.mark.parametrize("case", rows("names"))
def test_a_name_is_text_and_the_host_is_shown(case: dict[str, Any], estate: Estate, alice: Browser) -> None:
    registered = estate.register(client_name=case["name"])
    assert registered.status == 201, registered
    app = App(estate=estate, id=registered.json()["client_id"], third_party="")
    page = app.consent_page(alice)
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy or "script-src 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert "127.0.0.1:7777" in page.text
    assert next(iter(page.forms[0].buttons)) == "Allow"
    assert (len(page.forms), list(page.forms[0].buttons)) == (1, ["Allow", "Deny"])
    assert case["must"]["shown"] is None or case["must"]["shown"] in page.html
    assert [words for words in case["must"]["lacks"] if words in page.html] == []


# Documents of clients -------------------------------------------------------------------------------------------------


def publish(case: dict[str, Any], estate: Estate) -> str:
    """Publish what the case says, and return the client id that leads there."""
    server = estate.documents.server
    path = f"/{case['id']}/client.json"
    good = estate.documents.publish(f"good-{case['id']}", CALLBACK)
    words = {"$SELF": server.url(path), "$PORT": str(server.port), "$CALLBACK": CALLBACK, "$GOOD": good}

    def put(text: str) -> str:
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        return text

    if "url" in case:
        return put(case["url"])
    raw = case.get("answer", {})
    document = {name: value for name, value in case["document"].items() if value is not None}
    body = put(raw.get("text") or json.dumps(document)) + " " * raw.get("pad", 0)
    headers = {name: put(value) for name, value in raw.get("headers", {}).items()}
    if raw.get("endless"):
        server.scripts[path] = lambda connection: server.until_the_end(connection, b" " * 20_000, 0.01)
    else:
        server.scripts[path] = answer(body, status=raw.get("status", "200 OK"), **headers)
    return words["$SELF"]


@pytest.mark.parametrize("case", rows("documents"))
def test_a_document_leads_nowhere_else(case: dict[str, Any], estate: Estate) -> None:
    server = estate.documents.server
    client_id = publish(case, estate)
    app = App(estate=estate, id=client_id, third_party="")
    before, since = len(server.heads), len(estate.gateway.records())
    # Each from an address of its own: how often one may have documents fetched is bounded.
    browser = estate.browser("alice")
    page = browser.go(app.ask())
    assert isinstance(page, Page)
    assert (page.status, "Allow" in page.html) == (400, False), page.text
    estate.gateway.refused(since, "invalid_client")
    assert len(server.heads) - before == case["must"]["fetched"]
    assert server.paths[before:] == [urlsplit(client_id).path] * case["must"]["fetched"]
    twin = App(estate=estate, id=estate.documents.publish(f"twin-{case['id']}", CALLBACK), third_party="")
    assert "Allow" in twin.consent_page(browser).html


def test_addresses_swapped_after_consent_are_consented_to_anew(estate: Estate) -> None:
    """F09: what a client shows of itself has changed since, so the person is asked again."""
    alice = estate.browser("alice")
    url = estate.documents.publish("swapped", CALLBACK)
    app = App(estate=estate, id=url, third_party="127.0.0.1")
    tokens = app.tokens(alice)
    assert "code" in app.came(alice, prompt="none")
    estate.documents.publish("swapped", CALLBACK, "http://127.0.0.1:6666/evil")
    estate.change("UPDATE clients SET expires_at = 0 WHERE id = ?", url)
    assert app.came(alice, prompt="none")["error"] == "consent_required"
    assert app.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
