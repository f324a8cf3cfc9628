"""fastmcp's client, `Client(url, auth="oauth")`: it opens a web browser and waits for it on a port of its own.

`open_browsers` puts the test's browser in the place of the machine's.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
import webbrowser
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from anyio.from_thread import start_blocking_portal
from fastmcp import Client
from fastmcp.client.auth import OAuth
from fastmcp.client.transports import StreamableHttpTransport
from key_value.aio.stores.memory import MemoryStore
from mcp import MCPError

from ..wire import wait_until
from .flow import DeniedError
from .python import inner_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from anyio.from_thread import BlockingPortal

    from .browser import Browser
    from .flow import Answer, Visit


DENIED = "Access was denied by the authorization server."
"""What fastmcp says to `error=access_denied`."""


@contextlib.contextmanager
def open_browsers(browser: Browser) -> Iterator[None]:
    """Let `webbrowser.open` open `browser`, which then takes the code to the client's own port."""

    def visit(url: str) -> None:
        (redirect,) = parse_qs(urlsplit(url).query)["redirect_uri"]
        came = f"{redirect}?{urlencode(browser.arrive(url))}"
        wait_until(lambda: _taken(came), what="the port on which the client waits for its code")

    def opened(url: str, new: int = 0, autoraise: bool = True) -> bool:
        threading.Thread(target=visit, args=(url,), daemon=True).start()
        return True

    before = webbrowser.open
    webbrowser.open = opened
    try:
        yield
    finally:
        webbrowser.open = before


def _taken(url: str) -> bool:
    with contextlib.suppress(httpx2.ConnectError):
        return httpx2.get(url, timeout=10.0).status_code in {200, 400}
    return False


def credentials(visit: Visit) -> OAuth | Literal["oauth"]:
    """What the client is given as `auth`: the plain word, or with a document that document."""
    if visit.document is None:
        return "oauth"
    store = visit.keeps.setdefault("store", MemoryStore())
    at = urlsplit(visit.redirect)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather keep tokens on disk
        return OAuth(
            visit.url,
            client_name="Kit's fastmcp",
            token_storage=store,
            callback_host=at.hostname or "localhost",
            callback_port=at.port,
            callback_timeout=20.0,
            client_metadata_url=visit.document,
        )


def client_of(visit: Visit) -> Client[Any]:
    """Return a client that is not yet connected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transport = StreamableHttpTransport(visit.url, auth=credentials(visit))
        return Client(transport, mode="legacy" if visit.era == "session" else "auto")


def let_go_stale(client: Client[Any]) -> None:
    """Make the client think that its token's time is over."""
    auth = client.transport.auth
    assert isinstance(auth, OAuth)
    auth.context.token_expiry_time = time.time() - 1


@contextlib.contextmanager
def only_denial() -> Iterator[None]:
    """Bring a denial out of what fastmcp makes of it: an error that says so in words."""
    try:
        yield
    except BaseException as error:
        said = str(inner_error(error))
        _, failed, why = said.partition("Authorization failed: ")
        if failed or DENIED in said:
            raise DeniedError(why or "access_denied") from error
        raise


class FastFlow:
    """A connected client."""

    def __init__(self, portal: BlockingPortal, client: Client[Any], tools: list[str]) -> None:
        self._portal, self._client = portal, client
        self.tools = tools

    def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool."""

        async def calls() -> Answer:
            try:
                result = await self._client.call_tool_mcp(name, dict(arguments))
            except MCPError as refused:
                return {"code": refused.code, "message": refused.message, "data": refused.data}
            return {"text": result.content[0].text, "error": result.is_error}  # type: ignore[union-attr]

        with only_denial():
            return self._portal.call(calls)

    def stale(self) -> None:
        """Let the access token be of no more use to the client."""
        let_go_stale(self._client)


@contextlib.contextmanager
def fast(visit: Visit) -> Iterator[FastFlow]:
    """Sign in and connect with fastmcp."""

    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[tuple[Client[Any], list[str]]]:
        async with client_of(visit) as client:
            yield client, [tool.name for tool in await client.list_tools()]

    with (
        open_browsers(visit.browser),
        only_denial(),
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connected()) as (client, tools),
    ):
        yield FastFlow(portal, client, tools)
