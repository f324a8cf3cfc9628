"""The pages: no script, nothing of anybody's unescaped, and headers that keep others out."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ostiary.oauth import pages
from ostiary.oauth.pages import page, plain_name

CONSENT: dict[str, Any] = {
    "action": "/oauth/authorize",
    "csrf": "the-csrf",
    "request": "client_id=x&state=y",
    "shown": "the-digest",
    "account": "alice@example.com",
    "client_name": "Notes for You",
    "client_host": "notes.example.com",
    "registered": False,
    "agent": None,
    "redirect_host": "app.example.com",
    "loopback": False,
    "scopes": [
        {"name": "mcp:read", "words": "read what is there", "strong": False},
        {"name": "mcp:admin", "words": "administer", "strong": True},
    ],
    "servers": ["notes", "files"],
    "days": 30,
}
ALLOWED = {
    "client": "https://app.test/c",
    "name": "An app",
    "host": "app.test",
    "agent": {"name": "desk", "owner": "dave"},
    "scopes": [{"name": "mcp:read", "words": "read what is there", "strong": False}],
    "servers": ["notes"],
    "since": 1_790_000_000,
    "until": 1_792_592_000,
}
ACCOUNT = {"account": "alice@example.com", "provider": "sso", "csrf": "c", "consents": [ALLOWED]}
PAGES: dict[pages.Name, dict[str, Any]] = {
    "consent": CONSENT,
    "choose_provider": {"providers": ["sso", "guests"], "target": "/oauth/authorize?a=b&c=d", "signed_out": False},
    "account": ACCOUNT,
    "error": {"message": "It did not work."},
    "signed_out": {},
}


class Outline(HTMLParser):
    """The elements of a page in order, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def show(name: pages.Name, **change: Any) -> Outline:
    return Outline(bytes(page(name, **{**PAGES[name], **change}).body).decode())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_plain_html_for_everybody(name: pages.Name) -> None:
    outline = show(name)
    tags = [tag for tag, _ in outline.elements]
    assert outline.all("html") == [{"lang": "en"}]
    assert tags.count("h1") == 1
    assert tags.count("main") == 1
    assert not {"script", "style", "iframe", "img", "object", "base"} & set(tags)
    assert [each for _, each in outline.elements if any(key.startswith(("on", "style")) for key in each)] == []
    assert [each.get("href") for each in outline.all("link")] == ["/oauth/style.css"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in outline.all("meta")
    addresses = [each.get("href") or each.get("action") or "" for _, each in outline.elements]
    assert [address for address in addresses if address and not address.startswith("/oauth/")] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_others_out(name: pages.Name) -> None:
    answer = page(name, status=418, **PAGES[name])
    # Browsers would hold the redirects behind the answer to it too, and those lead wherever the client's site likes.
    form = "" if name in {"consent", "account"} else "; form-action 'self'"
    assert answer.status_code == 418
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'{form}"
    )
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "camera=()" in answer.headers["permissions-policy"]


def test_the_first_button_allows_and_the_other_denies() -> None:
    outline = show("consent")
    (form,) = outline.all("form")
    assert form == {"method": "post", "action": "/oauth/authorize"}
    assert [(each.get("name"), each.get("value")) for each in outline.all("button")] == [
        ("decision", "allow"),
        ("decision", "deny"),
    ]
    assert {each["name"]: each["value"] for each in outline.all("input")} == {
        "csrf": "the-csrf",
        "request": "client_id=x&state=y",
        "shown": "the-digest",
    }


def test_consent_names_client_host_redirect_scopes_servers_and_the_person() -> None:
    text = show("consent").text
    words = ["Notes for You", "notes.example.com", "app.example.com", "alice@example.com", "30 days"]
    words += ["read what is there", "mcp:read", "administer", "mcp:admin", "notes", "files"]
    assert [word for word in words if word not in text] == []


#: As long as a host and the name of a server can be.
HOST = "accounts.google.com." + "secure-session." * 14 + "evil.example.com"
SERVER = "a" * 60 + "-prd"


def test_hosts_and_servers_are_shown_to_the_last_character() -> None:
    consent = show("consent", client_host=f"c.{HOST}", redirect_host=HOST, servers=[SERVER, SERVER[:-3] + "dev"])
    assert [consent.text.count(text) for text in (HOST, f"c.{HOST}", SERVER, SERVER[:-3] + "dev")] == [2, 1, 1, 1]
    account = show("account", consents=[{**ALLOWED, "host": HOST, "servers": [SERVER]}])
    assert (account.text.count(HOST), account.text.count(SERVER)) == (1, 1)
    assert "…" not in consent.text + account.text


def test_the_account_page_names_what_consent_named() -> None:
    text = " ".join(show("account").text.split())
    words = ["An app", "app.test", "agent desk, which dave owns", "read what is there mcp:read", "notes"]
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("change", "there", "text"),
    [
        ({"loopback": True}, True, "program on this computer"),
        ({}, False, "program on this computer"),
        ({"client_host": None}, True, "Nobody has checked who made it"),
        ({}, False, "Nobody has checked who made it"),
        ({"client_host": None, "registered": True}, False, "Nobody has checked who made it"),
        ({"client_host": None, "registered": True}, False, "It calls itself"),
        ({"client_host": None, "registered": True}, True, "your organisation registered"),
        ({"client_host": None}, False, "your organisation registered"),
        ({"agent": {"name": "desk", "owner": "dave"}}, True, "The agent desk, which dave owns"),
        ({}, False, "acts as"),
    ],
)
def test_consent_says_what_was_checked_and_what_could_not_be(change: dict[str, Any], there: bool, text: str) -> None:
    assert (text in show("consent", **change).text) is there


EVIL = "\"><script>alert(1)</script><b x='{{7*7}}&amp;"


@pytest.mark.parametrize("name", PAGES)
def test_whatever_is_shown_is_text(name: pages.Name) -> None:
    def spoil(value: Any) -> Any:
        if isinstance(value, str):
            return EVIL
        if isinstance(value, list):
            return [spoil(each) for each in value]
        return {key: spoil(each) for key, each in value.items()} if isinstance(value, dict) else value

    sound, spoiled = show(name), show(name, **spoil(PAGES[name]))
    assert [tag for tag, _ in spoiled.elements] == [tag for tag, _ in sound.elements]
    assert [list(each) for _, each in spoiled.elements] == [list(each) for _, each in sound.elements]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Notes", "Notes"),
        ("  Notes \n\t for   You ", "Notes for You"),
        ("a\u202eb\u2066c\u200bd\x00e\u00adf\ufeffg", "abcdefg"),
        ("x" * 61, "x" * 59 + "…"),
        ("x" * 60, "x" * 60),
        ("Zoë 漢字 🙂", "Zoë 漢字 🙂"),
        (7, "7"),
    ],
)
def test_a_name_is_one_line_and_hides_nothing(given: object, shown: str) -> None:
    assert plain_name(given) == shown


def test_what_a_client_calls_itself_is_a_quotation() -> None:
    body = bytes(page("consent", **{**CONSENT, "client_name": "Ostiary has checked this"}).body).decode()
    assert "It calls itself" in body
    assert "<q><bdi>Ostiary has checked this</bdi></q>" in body
    assert body.count("Ostiary has checked this") == 1


def test_the_way_to_a_provider_carries_the_target_whole() -> None:
    links = [each["href"] for each in show("choose_provider").all("a")]
    assert links[0] == "/oauth/sign-in?provider=sso&target=%2Foauth%2Fauthorize%3Fa%3Db%26c%3Dd"


def test_times_are_days() -> None:
    text = show("account").text
    assert "21 September 2026" in text
    assert "21 October 2026" in text


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back"),
    [("ink", "card"), ("soft", "card"), ("soft", "paper"), ("link", "card"), ("on-main", "main"), ("ink", "warn")],
)
def test_everything_can_be_read(scheme: int, front: str, back: str) -> None:
    css = bytes(pages.style().body).decode()
    found = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", found))
    light, dark = sorted((_luminance(colours[front]), _luminance(colours[back])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_stylesheet_is_one_and_loads_nothing() -> None:
    answer = pages.style()
    css = bytes(answer.body).decode()
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "url(" not in css
    assert "@import" not in css
    assert ":focus-visible" in css
    assert "prefers-color-scheme: dark" in css
