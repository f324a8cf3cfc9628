"""Addresses to which a browser may be sent back with a code: which ones a client may have, and which one is meant.

Nothing is normalised. An address is either the very text that the client registered, or, on this machine, that text
with another port (RFC 8252 section 7.3): native apps listen wherever there is room.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from ostiary.addresses import bracketed, canonical_host, split_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_LENGTH: Final = 2000
#: Schemes without a dot that well-known native apps have all the same (RFC 8252 section 7.1 asks for one).
APPS: Final = frozenset(
    ["claude", "cline", "code-oss", "cursor", "goose", "jetbrains", "raycast", "trae", "vscode", "vscode-insiders"]
) | {"vscodium", "warp", "windsurf", "zed"}
#: Schemes that make a browser run or show what somebody else wrote, or read this machine. Who asks for one means harm.
DANGEROUS: Final = frozenset(
    ["about", "blob", "chrome", "data", "file", "filesystem", "intent", "jar", "javascript", "vbscript", "view-source"]
)
#: What a redirect may not bring along already, since we add it.
_OURS: Final = frozenset(("code", "state", "iss", "error", "error_description"))
_ALLOWED: Final = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]+\Z")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_REVERSED_DOMAIN: Final = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+\Z")
_LOOPBACK: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::([0-9]{1,5}))?((?:[/?].*)?)\Z")


def fault(uri: object) -> str | None:
    """Say what is wrong with a redirect address that a client wants to have, or `None`."""
    if not isinstance(uri, str) or not uri:
        return "is not text"
    if len(uri) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if _ALLOWED.match(uri) is None:
        return "holds characters that a URI may not hold"
    if "#" in uri:
        return "has a fragment"
    if _OURS.intersection(name for name, _ in parse_qsl(uri.partition("?")[2], keep_blank_values=True)):
        return "has a parameter that belongs to the answer"
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return "is not absolute"
    return _scheme_fault(uri, scheme[1])


def is_dangerous(uri: str) -> bool:
    """Whether a browser would take `uri` for one of the dangerous schemes, blanks and control characters left out."""
    plain = "".join(c for c in uri if c > " ").lower()
    return plain.partition(":")[0] in DANGEROUS


def _scheme_fault(uri: str, scheme: str) -> str | None:
    if scheme == "https":
        return None if _plain_host(uri) else "does not name a host in its plain form"
    if scheme == "http":
        return None if is_loopback(uri) else "is http, which is taken on this machine only"
    if scheme in APPS or _REVERSED_DOMAIN.match(scheme):
        return None if len(uri) > len(scheme) + 1 else "has nothing after its scheme"
    return "has a scheme that is not taken"


def _plain_host(uri: str) -> bool:
    netloc = uri.removeprefix("https://").partition("/")[0].partition("?")[0]
    parts = split_address(netloc)
    host = canonical_host(parts[0]) if uri.startswith("https://") and parts else None
    if parts is None or host is None or parts[1] == 0:
        return False
    return netloc == bracketed(host) + ("" if parts[1] is None else f":{parts[1]}")


def is_loopback(uri: str) -> bool:
    """Whether `uri` leads to a program on the machine of the browser."""
    found = _LOOPBACK.match(uri)
    return found is not None and (found[2] is None or 0 < int(found[2]) <= 65535)


def matches(uri: str, registered: Iterable[str]) -> bool:
    """Whether `uri` is one of the `registered`: the same text, or on this machine the same but for the port."""
    known = tuple(registered)
    if uri in known:
        return True
    asked = _LOOPBACK.match(uri)
    if asked is None or not is_loopback(uri) or fault(uri) is not None:
        return False
    return any(
        found is not None and (found[1], found[3]) == (asked[1], asked[3]) for found in map(_LOOPBACK.match, known)
    )


def shown_host(uri: str) -> str:
    """Return where `uri` leads, as people are told: its host, or the scheme of the app."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in {"http", "https"} else f"{parts.scheme}:"


def place(shown: str) -> str:
    """Return what of a `shown_host` counts when two are compared: on this machine not the port, which is any."""
    found = _LOOPBACK.match(f"http://{shown}")
    return shown if found is None else found[1]


def with_answer(uri: str, answer: Mapping[str, str | None]) -> str:
    """Return `uri` with the parameters of the answer after its own, which stay as they are."""
    added = urlencode({name: value for name, value in answer.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{added}"
