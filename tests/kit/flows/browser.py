"""A browser without a screen or scripts: it follows redirects and fills in the first form of every page.

It keeps cookies, sends `Origin` as browsers do, and obeys `form-action`, because a page that only works for a client
without these rules works for nobody. It ends at the client's redirect URI, which it does not visit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_STEPS = 20
REDIRECTS = {301, 302, 303, 307, 308}
SILENT = {"no-referrer"}
"""The referrer policies under which a form's `Origin` is `null` (Fetch, "append a request Origin header")."""


class StuckError(AssertionError):
    """There is no way on from this page."""


@dataclass(slots=True)
class Form:
    """One form: where it goes, what it sends unasked, what it asks for, and its buttons by what they say."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    asks: list[str] = field(default_factory=list)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.said: list[str] = []
        self._open: Form | None = None
        self._button: tuple[tuple[str, str], list[str]] | None = None
        self._mute = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag in {"script", "style"}:
            self._mute += 1
        elif tag == "form":
            self._open = Form(action=told.get("action", ""), method=told.get("method", "get").lower())
            self.forms.append(self._open)
        elif tag == "button":
            self._button = (told.get("name", ""), told.get("value", "")), []
        elif tag == "input" and self._open is not None:
            self._field(self._open, told)

    def _field(self, form: Form, told: Mapping[str, str]) -> None:
        name, kind = told.get("name", ""), told.get("type", "text")
        if kind == "submit":
            form.buttons.setdefault(told.get("value", "Submit"), (name, told.get("value", "")))
        elif kind in {"text", "email", "password"}:
            form.asks.append(name)
            form.fields[name] = told.get("value", "")
        elif kind == "hidden" or "checked" in told:
            form.fields[name] = told.get("value", "on")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._mute -= 1
        elif tag == "form":
            self._open = None
        elif tag == "button" and self._button is not None:
            sent, words = self._button
            self._button = None
            if self._open is not None:
                self._open.buttons.setdefault(" ".join("".join(words).split()), sent)

    def handle_data(self, data: str) -> None:
        if self._mute == 0:
            self.said.append(data)
            if self._button is not None:
                self._button[1].append(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page that was shown."""

    url: str
    status: int
    headers: httpx2.Headers
    html: str
    text: str
    forms: list[Form]

    @classmethod
    def of(cls, answer: httpx2.Response) -> Self:
        """Read an answer as a page."""
        reader = _Reader()
        if "html" in answer.headers.get("content-type", ""):
            reader.feed(answer.text)
        return cls(
            url=str(answer.url),
            status=answer.status_code,
            headers=answer.headers,
            html=answer.text,
            text=" ".join("".join(reader.said).split()),
            forms=reader.forms,
        )

    def may_send_to(self, url: str) -> bool:
        """Whether the page's `form-action` lets a form of it go to `url`, redirects included."""
        policy = self.headers.get("content-security-policy", "")
        rules = {words[0]: words[1:] for part in policy.split(";") if (words := part.split())}
        allowed = rules.get("form-action")
        if allowed is None:
            return True
        here, there = urlsplit(self.url), urlsplit(url)
        for source in allowed:
            if source == "'self'" and (here.scheme, here.netloc) == (there.scheme, there.netloc):
                return True
            wanted = urlsplit(source if "//" in source else f"{here.scheme}://{source}")
            if source == f"{there.scheme}:" or (wanted.scheme, wanted.netloc) == (there.scheme, there.netloc):
                return True
        return False


class Browser:
    """`who` answers the questions of login forms, by name of the field; `""` stands for every other name.

    `denies` presses Deny where a page has such a button. `address` is where the person sits. `pages` is what was shown,
    in order.
    """

    def __init__(self, who: Mapping[str, str], *, denies: bool = False, address: str = "127.0.0.1") -> None:
        self.who = dict(who)
        self.denies = denies
        self.pages: list[Page] = []
        transport = httpx2.HTTPTransport(local_address=address)
        self.client = httpx2.Client(follow_redirects=False, timeout=20.0, transport=transport)
        self.client.headers["Accept"] = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def arrive(self, url: str) -> dict[str, str]:
        """Go from an authorization request to its redirect URI, and return the query that came there.

        Where no way leads there, the person gives up, and tells the client where.
        """
        query = parse_qs(urlsplit(url).query)
        (until,) = query["redirect_uri"]
        at = self.go(url, until=until)
        if not isinstance(at, str):
            said = f"stuck at {urlsplit(at.url).path}: {at.status} {at.text[:300]}"
            return {"error": said, "error_description": said, "state": query.get("state", [""])[0]}
        return {name: values[0] for name, values in parse_qs(urlsplit(at).query, keep_blank_values=True).items()}

    def go(self, url: str, *, until: str | None = None) -> str | Page:
        """Open `url`, and go on until `until` or a page from which no form leads on."""
        answer = self.client.get(url)
        sender: Page | None = None
        for step in range(MOST_STEPS):
            if answer.status_code in REDIRECTS:
                target = urljoin(str(answer.url), answer.headers["location"])
                self._leave(sender, target)
                if until is not None and _under(target, until):
                    return target
                answer = self.client.get(target)
                continue
            page = Page.of(answer)
            self.pages.append(page)
            lost = page.status != 200 or not page.forms or not page.forms[0].buttons
            if until is None or lost or step > MOST_STEPS - 3:
                return page
            sender = page
            answer = self.submit(page)
        raise StuckError(f"still no end after {MOST_STEPS} steps, at {answer.url}")

    def submit(self, page: Page, *, button: str | None = None, form: Form | None = None) -> httpx2.Response:
        """Fill in a form of `page`, the first unless said, press a button, and return the answer unfollowed."""
        form = form or page.forms[0]
        said = button or ("Deny" if self.denies and "Deny" in form.buttons else next(iter(form.buttons)))
        name, value = form.buttons[said]
        fields = form.fields | {ask: self.who.get(ask, self.who.get("", "")) for ask in form.asks}
        if name:
            fields[name] = value
        action = urljoin(page.url, form.action)
        self._leave(page, action)
        if form.method == "get":
            return self.client.get(action, params=fields)
        return self.client.post(action, data=fields, headers={"Origin": self._origin(page)})

    @staticmethod
    def _origin(page: Page) -> str:
        if page.headers.get("referrer-policy", "") in SILENT:
            return "null"
        parts = urlsplit(page.url)
        return f"{parts.scheme}://{parts.netloc}"

    @staticmethod
    def _leave(sender: Page | None, target: str) -> None:
        if sender is not None and not sender.may_send_to(target):
            raise StuckError(f"the form-action of {sender.url} forbids {target.split('?', maxsplit=1)[0]}")

    def shown(self, origin: str) -> list[Page]:
        """Return the pages of one origin with a form, in order."""
        return [page for page in self.pages if page.url.startswith(f"{origin}/") and page.forms]


def _under(url: str, redirect: str) -> bool:
    return url.split("?", maxsplit=1)[0] == redirect.split("?", maxsplit=1)[0]
