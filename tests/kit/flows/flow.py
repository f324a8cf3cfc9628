"""What every client program offers to a test, and what it is given."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from .browser import Browser


Answer: TypeAlias = dict[str, Any]
"""`{text, error}` of a result, or `{code, message, data}` of a refusal."""
Open: TypeAlias = "Callable[[Visit], AbstractContextManager[Flow]]"
"""A program: it signs in and connects while entered."""


class DeniedError(Exception):
    """The person, or the gateway for her, said no: the error that came to the redirect URI."""


@contextlib.contextmanager
def denied(why: str = "access_denied") -> Iterator[None]:
    """Expect that, of the very words that came to the redirect URI."""
    try:
        yield
    except DeniedError as error:
        assert str(error) == why, error  # noqa: PT017
    else:
        raise AssertionError("nobody said no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a program is told: the server's URL, who sits at the browser, and who the program is.

    With `document`, the URL of a client ID metadata document, that is its client id; else it registers. `keeps` is what
    it keeps between visits: give the same one to two visits, and the second is the same installation of the client.
    """

    url: str
    browser: Browser
    redirect: str
    keeps: dict[str, Any]
    document: str | None = None
    era: str = "stateless"


class Flow(Protocol):
    """A client that is signed in and connected."""

    @property
    def tools(self) -> list[str]:
        """The names of the tools that it was shown when it connected."""

    def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool, by way of the browser where that takes a new consent. Raises `DeniedError`."""

    def stale(self) -> None:
        """Let the access token be of no more use to the client, as if its time were over."""
