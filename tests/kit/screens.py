"""A Chromium at the pages that people see, and a client that asks them in and has a place to come back to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from playwright.sync_api import sync_playwright

from .webserver import WebServer, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page

    from .signing import OAuthHouse

SCREENS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}


@dataclass(slots=True)
class Asker:
    """A client by document whose redirect URI is served, so that a browser arrives there."""

    house: OAuthHouse
    server: WebServer
    name: str = "asker"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    client: str = ""

    def __post_init__(self) -> None:
        self.server.scripts["/callback"] = answer("<!doctype html><p>Back at the client.", Content_Type="text/html")
        self.client = self.house.documents.publish(self.name, self.redirect)

    @property
    def redirect(self) -> str:
        """Where the answer goes."""
        return self.server.url("/callback")

    def request(self, server: str = "notes", *, scope: str | None = None) -> str:
        """Return the authorization request, as a URL."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": self.redirect,
            "state": self.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "resource": self.house.url(server),
            **({"scope": scope} if scope else {}),
        }
        return f"{self.house.gateway.url}/oauth/authorize?{urlencode(asked)}"

    def came(self, url: str) -> dict[str, str]:
        """Return what came to the redirect URI, where the browser now is."""
        assert url.split("?", maxsplit=1)[0] == self.redirect, url
        told = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (told["state"], told["iss"]) == (self.state, self.house.gateway.url)
        return told

    def redeem(self, code: str, server: str = "notes") -> dict[str, Any]:
        """Exchange the code for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect,
            "client_id": self.client,
            "code_verifier": self.verifier,
            "resource": self.house.url(server),
        }
        given = httpx2.post(f"{self.house.gateway.url}/oauth/token", data=form)
        assert given.status_code == 200, given.text
        tokens: dict[str, Any] = given.json()
        return tokens


@contextlib.contextmanager
def chromium_at(path: str) -> Iterator[Browser]:
    """Start Chromium without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def screen(browser: Browser, size: str, *, script: bool = False) -> Iterator[tuple[Page, list[str]]]:
    """Open a page of a fresh browser session; the list is of what the browser complains about."""
    context = browser.new_context(
        viewport={"width": SCREENS[size]["width"], "height": SCREENS[size]["height"]},
        java_script_enabled=script,
        is_mobile=size == "phone",
        has_touch=size == "phone",
    )
    context.set_default_timeout(15_000)
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if _matters(said) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    try:
        yield page, complaints
    finally:
        context.close()


def _matters(said: ConsoleMessage) -> bool:
    icon = str(said.location.get("url", "")).endswith("/favicon.ico")  # browsers ask every site for one, and tell
    return said.type in {"error", "warning"} and not icon


def look(page: Page, folder: Path, name: str) -> None:
    """Keep a picture of the page, and see that nobody has to scroll sideways."""
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    wide, room = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= room, f"{name} is {wide} wide, on a screen of {room}"


def tab_to(page: Page, label: str, *, most: int = 25) -> None:
    """Press Tab until the button with `label` has the focus, and see that it can be seen then."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        if focus.count() and focus.inner_text().strip() == label:
            at, room = focus.bounding_box(), page.viewport_size
            assert at is not None
            assert room is not None
            assert 0 <= at["x"] <= room["width"] - at["width"], "not beside the screen"
            assert 0 <= at["y"] <= room["height"] - at["height"], "not below the screen"
            return
    raise AssertionError(f"{most} times Tab, and `{label}` never had the focus")
