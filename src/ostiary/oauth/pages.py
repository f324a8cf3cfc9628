"""The pages that people see: to sign in, to consent, to look at what they allowed. HTML without any script.

Everything that is shown is escaped. What a client calls itself is shown as a quotation, cut, and without the
characters that could turn it around or hide in it: it may say whatever it likes, in its own name only. Hosts and names
of servers are never cut: two that differ anywhere are seen to differ.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from starlette.responses import HTMLResponse, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jinja2 import Environment

Name = Literal["consent", "choose_provider", "account", "error", "signed_out"]

MAX_NAME: Final = 60
STYLE_PATH: Final = "/oauth/style.css"
#: What each class of tools is called.
WORDS: Final[Mapping[str, str]] = {
    "read": "Read what is there",
    "query": "Search and ask questions that change nothing",
    "update": "Create, change and delete",
    "admin": "Administer: settings, permissions, everything else",
}
#: The classes that change something.
STRONG: Final = frozenset(("update", "admin"))
_FOLDER: Final = Path(__file__).parent / "templates"
#: Pages with a form whose answer sends the browser to somebody else's site. Browsers hold every redirect that follows a
#: form to the `form-action` of its page, and a callback goes on to wherever it likes: from a site to the scheme of its
#: app, or to `[::1]`, which no source expression can even name. So these two go without; what they post to stands in
#: the template, and nobody can put another form there: everything is escaped.
_LEADING_AWAY: Final = frozenset(("consent", "account"))
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page(name: Name, *, status: int = 200, **values: Any) -> Response:
    """Return a page with its security headers; the values are those that `templates/NAME.html` names at its top."""
    policy = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    if name not in _LEADING_AWAY:
        policy += "; form-action 'self'"
    html = _templates().get_template(f"{name}.html").render(**values)
    return HTMLResponse(html, status_code=status, headers={**_HEADERS, "Content-Security-Policy": policy})


def style() -> Response:
    """Return the one stylesheet."""
    kept = {"Cache-Control": "public, max-age=3600", "Cross-Origin-Resource-Policy": "same-origin"}
    headers = {**kept, "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}
    return Response(_style(), media_type="text/css; charset=utf-8", headers=headers)


def plain_name(text: object, limit: int = MAX_NAME) -> str:
    """Return `text` on one line, without characters that are invisible or change its direction, and cut."""
    kept = "".join(" " if c.isspace() else c for c in str(text) if c.isspace() or unicodedata.category(c)[0] != "C")
    shown = " ".join(kept.split())
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def scopes(classes: Iterable[str]) -> list[dict[str, Any]]:
    """Return the scopes for these classes of tools, as the pages show them."""
    return [{"name": f"mcp:{name}", "words": WORDS[name], "strong": name in STRONG} for name in classes]


def day(moment: int) -> str:
    """Return a time (seconds since the epoch) as a day in UTC."""
    when = datetime.fromtimestamp(moment, UTC)
    return f"{when.day} {when:%B} {when.year}"


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # loaded where a page is shown

    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["plain_name"] = plain_name
    made.filters["day"] = day
    made.globals["style_path"] = STYLE_PATH
    return made


@cache
def _style() -> bytes:
    return (_FOLDER / "style.css").read_bytes()
