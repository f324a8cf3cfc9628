"""The pages that people see, in a real Chromium: without script, on a phone too, under their own security headers."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest
from tests.kit.screens import Asker, chromium_at, look, screen, tab_to
from tests.kit.signing import OAuthHouse
from tests.kit.webserver import WebServer, answer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.needs("chromium")

NUMBERS = count(1)
LONG = "the-archive-of-everything-that-was-ever-written-down-in-the-"
SERVERS = ["notes", "files", f"{LONG}prd", f"{LONG}dev"]
HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthHouse]:
    with OAuthHouse(tmp_path_factory.mktemp("pages"), servers=SERVERS) as house:
        yield house


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["Browser"]:
    with chromium_at(chromium) as browser:
        yield browser


@pytest.fixture
def asker(house: OAuthHouse) -> Iterator[Asker]:
    """A client of its own for every test, so that no consent is there yet."""
    with WebServer() as server:
        yield Asker(house, server, name=f"asker{next(NUMBERS)}")


@pytest.fixture(params=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sign_in(page: "Page", who: str = "alice") -> None:
    page.locator("input[name=username]").fill(who)
    page.get_by_role("button", name="Sign in").click()


def consent(page: "Page", asker: Asker, **asked: Any) -> None:
    """Go to the consent page."""
    page.goto(asker.request(**asked))
    sign_in(page)
    page.get_by_role("button", name="Allow", exact=True).wait_for()


def test_a_person_signs_in_and_allows_without_script_or_mouse(
    size: str, browser: "Browser", house: OAuthHouse, asker: Asker, tmp_path: Path
) -> None:
    with screen(browser, size) as (page, complaints):
        page.goto(asker.request())
        assert page.url.startswith(house.provider.origin), "one provider: there is nothing to choose"
        page.locator("input[name=username]").focus()
        page.keyboard.type("alice")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Allow").wait_for()
        look(page, tmp_path, f"consent-{size}")
        told = page.inner_text("body")
        words = [asker.name.capitalize(), "127.0.0.1", "mcp:read", "mcp:query", *SERVERS]
        assert [word for word in words if word not in told] == []
        tab_to(page, "Allow")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{asker.redirect}?*")
        code = asker.came(page.url)["code"]
        assert complaints == []
    token = asker.redeem(code)["access_token"]
    assert house.gateway.call("echo", {"text": "x"}, token).status == 200


def test_a_person_says_no(size: str, browser: "Browser", asker: Asker) -> None:
    with screen(browser, size) as (page, complaints):
        consent(page, asker)
        page.get_by_role("button", name="Deny", exact=True).click()
        page.wait_for_url(f"{asker.redirect}?*")
        told = asker.came(page.url)
        assert (told["error"], "code" in told, complaints) == ("access_denied", False, [])


def test_the_second_time_nobody_is_asked(browser: "Browser", asker: Asker) -> None:
    """The way through sign-in and consent is all redirects then, and no policy of a page stops one."""
    with screen(browser, "phone") as (page, complaints):
        consent(page, asker)
        page.get_by_role("button", name="Allow", exact=True).click()
        page.wait_for_url(f"{asker.redirect}?*")
        page.goto(asker.request("files"))
        assert "code" in asker.came(page.url)
        page.goto(asker.request(scope="mcp:read mcp:query mcp:update"))
        page.get_by_role("button", name="Allow", exact=True).click()
        page.wait_for_url(f"{asker.redirect}?*")
        assert ("code" in asker.came(page.url), complaints) == (True, [])


def test_a_callback_may_go_on_to_another_origin(browser: "Browser", asker: Asker) -> None:
    """As claude.ai does to the scheme of its app: browsers hold that to the `form-action` of the page too."""
    with WebServer() as app, screen(browser, "desktop") as (page, complaints):
        app.scripts["/done"] = answer("<!doctype html><p>Arrived.", Content_Type="text/html")
        asker.server.scripts["/callback"] = answer("", status="302 Found", Location=app.url("/done"))
        consent(page, asker)
        page.get_by_role("button", name="Allow", exact=True).click()
        page.wait_for_url(app.url("/done"))
        assert complaints == []


def test_every_page_has_its_headers(browser: "Browser", house: OAuthHouse, asker: Asker) -> None:
    with screen(browser, "desktop") as (page, _):
        seen: dict[str, dict[str, str]] = {}

        def keep(response: Any) -> None:
            if response.url.startswith(house.gateway.url) and "text/html" in response.headers.get("content-type", ""):
                seen[response.url.removeprefix(house.gateway.url).partition("?")[0]] = response.headers

        page.on("response", keep)
        page.goto(f"{house.gateway.url}/oauth/callback?state=nonsense")
        page.goto(f"{house.gateway.url}/oauth/account")
        consent(page, asker)
        page.goto(f"{house.gateway.url}/oauth/account")
    assert sorted(seen) == ["/oauth/account", "/oauth/authorize", "/oauth/callback"]
    for path, headers in seen.items():
        assert {name: headers.get(name) for name in HEADERS} == HEADERS, path
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'",) * 3, path
        assert "script-src" not in policy, path
        assert policy.get("form-action") == ("'self'" if path == "/oauth/callback" else None), path


def test_no_page_may_put_ours_into_a_frame(browser: "Browser", asker: Asker) -> None:
    with WebServer() as evil, screen(browser, "desktop", script=True) as (page, complaints):
        consent(page, asker)
        html = f'<!doctype html><iframe name="inner" src="{asker.request().replace("&", "&amp;")}"></iframe>'
        evil.scripts["/"] = answer(html, Content_Type="text/html")
        page.goto(evil.url("/"))
        inner = page.frame("inner")
        assert inner is not None
        assert inner.get_by_role("button", name="Allow").count() == 0
        assert any("frame" in each.lower() for each in complaints), complaints


def test_no_page_may_press_allow_for_somebody(browser: "Browser", house: OAuthHouse, asker: Asker) -> None:
    """A form on another site that posts the very fields of the consent page, in the person's own browser."""
    with WebServer() as evil, screen(browser, "desktop", script=True) as (page, _):
        consent(page, asker)
        fields = page.locator("form input[type=hidden]").evaluate_all("all => all.map(one => [one.name, one.value])")
        inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in [*fields, ["decision", "allow"]])
        html = (
            f'<!doctype html><form method="post" action="{house.gateway.url}/oauth/authorize">{inputs}</form>'
            "<script>document.forms[0].submit()</script>"
        )
        evil.scripts["/"] = answer(html, Content_Type="text/html")
        with page.expect_response(lambda response: response.request.method == "POST") as posted:
            page.goto(evil.url("/"))
        assert posted.value.status in {400, 403}
        assert [path for path in asker.server.paths if path.startswith("/callback")] == []


HOSTILE = "<img src=x onerror=alert(1)>\u202eelbatsurt\u2066<script>alert(2)</script>"


def test_what_a_client_calls_itself_is_only_text(
    size: str, browser: "Browser", house: OAuthHouse, asker: Asker, tmp_path: Path
) -> None:
    house.documents.publish(asker.name, asker.redirect, client_name=HOSTILE * 3)
    with screen(browser, size, script=True) as (page, complaints):
        consent(page, asker)
        look(page, tmp_path, f"hostile-{size}")
        told = page.inner_text("body")
        assert "<img src=x" in told
        assert not {"\u202e", "\u2066"} & set(told)
        assert (page.locator("main img, main script").count(), complaints) == (0, [])


#: As long as a host can be, and what it wants to be taken for comes first.
FAR = "accounts.google.com." + "secure-session." * 14 + "evil.example.com"


def test_where_the_answer_goes_is_shown_to_the_end(
    size: str, browser: "Browser", house: OAuthHouse, asker: Asker, tmp_path: Path
) -> None:
    far = f"https://{FAR}/callback"
    house.documents.publish(asker.name, far)
    with screen(browser, size) as (page, complaints):
        page.goto(asker.request().replace(quote_plus(asker.redirect), quote_plus(far)))
        sign_in(page)
        page.get_by_role("button", name="Allow", exact=True).wait_for()
        look(page, tmp_path, f"far-{size}")
        assert (FAR in page.inner_text("body"), page.get_by_text(FAR).is_visible(), complaints) == (True, True, [])


def test_a_client_that_was_registered_is_not_called_unchecked(
    size: str, browser: "Browser", house: OAuthHouse, asker: Asker, tmp_path: Path
) -> None:
    asker.client = f"ide-{asker.name}"
    known = ["clients", "add", asker.client, "--redirect-uri", asker.redirect]
    house.gateway.run(*known, "--config", str(house.gateway.file))
    with screen(browser, size) as (page, complaints):
        consent(page, asker)
        look(page, tmp_path, f"registered-{size}")
        told = page.inner_text("body")
        assert ("your organisation registered" in told, "Nobody has checked" in told, complaints) == (True, False, [])


def test_an_account_page_takes_back_what_was_allowed(
    size: str, browser: "Browser", house: OAuthHouse, asker: Asker, tmp_path: Path
) -> None:
    with screen(browser, size) as (page, complaints):
        consent(page, asker)
        page.get_by_role("button", name="Allow", exact=True).click()
        page.wait_for_url(f"{asker.redirect}?*")
        token = asker.redeem(asker.came(page.url)["code"])["access_token"]
        assert house.gateway.call("echo", {"text": "x"}, token).status == 200

        page.goto(f"{house.gateway.url}/oauth/account")
        look(page, tmp_path, f"account-{size}")
        entry = page.locator("section", has_text=asker.name.capitalize())
        told = entry.inner_text()
        assert [word for word in ["127.0.0.1", "mcp:read", "mcp:query", *SERVERS] if word not in told] == []
        entry.get_by_role("button", name="Revoke").click()
        page.locator("section", has_text=asker.name.capitalize()).wait_for(state="detached")
        assert page.url == f"{house.gateway.url}/oauth/account"
        refused = house.gateway.call("echo", {"text": "x"}, token)
        assert (refused.status, complaints) == (401, [])
        page.goto(asker.request())
        page.get_by_role("button", name="Allow", exact=True).wait_for()


def test_whoever_signs_out_is_out_and_so_is_what_acts_for_her(
    browser: "Browser", house: OAuthHouse, asker: Asker, tmp_path: Path
) -> None:
    house.provider.set_user("carol", email="carol@example.com", groups=["dev"])
    with screen(browser, "phone") as (page, complaints):
        page.goto(asker.request())
        sign_in(page, "carol")
        page.get_by_role("button", name="Allow", exact=True).click()
        page.wait_for_url(f"{asker.redirect}?*")
        token = asker.redeem(asker.came(page.url)["code"])["access_token"]
        assert house.gateway.call("echo", {"text": "x"}, token).status == 200

        page.goto(f"{house.gateway.url}/oauth/account")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_load_state()
        look(page, tmp_path, "signed-out")
        page.get_by_role("heading", name="You are signed out").wait_for()
        assert page.url.startswith(house.gateway.url)
        assert house.gateway.call("echo", {"text": "x"}, token).status == 401
        page.goto(asker.request())
        page.locator("input[name=username]").wait_for()
        assert (page.url.startswith(house.provider.origin), complaints) == (True, [])


def test_whom_the_provider_turns_away_reads_why(
    size: str, browser: "Browser", house: OAuthHouse, asker: Asker, tmp_path: Path
) -> None:
    with screen(browser, size) as (page, _):
        page.goto(asker.request())
        sign_in(page, "nobody")
        page.wait_for_load_state()
        look(page, tmp_path, f"turned-away-{size}")
        assert [path for path in asker.server.paths if "code=" in path] == []
        assert page.url.startswith((house.gateway.url, asker.redirect))
