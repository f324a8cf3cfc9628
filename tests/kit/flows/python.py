"""The official Python SDK's client with its `OAuthClientProvider`, run in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import httpx2
from anyio.from_thread import start_blocking_portal
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from .flow import DeniedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from anyio.from_thread import BlockingPortal

    from .flow import Answer, Visit


class Wallet:
    """Where the client keeps its registration, which is one for all servers, and its tokens, which are a server's."""

    def __init__(self, visit: Visit) -> None:
        self._keeps, self._server = visit.keeps, visit.url

    async def get_tokens(self) -> OAuthToken | None:
        found: OAuthToken | None = self._keeps.get(self._server)
        return found

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._keeps[self._server] = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        found: OAuthClientInformationFull | None = self._keeps.get("client")
        return found

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._keeps["client"] = client_info


class _Provider(OAuthClientProvider):
    """The SDK's own, with the two handlers that every program has to bring."""

    def __init__(self, visit: Visit) -> None:
        self._browser = visit.browser
        self._came: dict[str, str] = {}
        super().__init__(
            visit.url,
            OAuthClientMetadata(client_name="Kit's Python client", redirect_uris=[AnyUrl(visit.redirect)]),
            Wallet(visit),
            redirect_handler=self._redirect,
            callback_handler=self._callback,
            client_metadata_url=visit.document,
        )

    async def _redirect(self, url: str) -> None:
        self._came = await asyncio.to_thread(self._browser.arrive, url)

    async def _callback(self) -> AuthorizationCodeResult:
        if "error" in self._came:
            raise DeniedError(self._came["error"])
        return AuthorizationCodeResult(
            code=self._came["code"], state=self._came.get("state"), iss=self._came.get("iss")
        )


class PythonFlow:
    """A connected client; `auth` is what holds its tokens."""

    def __init__(self, portal: BlockingPortal, client: Any, auth: OAuthClientProvider, tools: list[str]) -> None:
        self._portal, self._client, self._auth = portal, client, auth
        self.tools = tools

    def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool."""

        async def calls() -> Answer:
            try:
                result = await self._client.call_tool(name, dict(arguments))
            except MCPError as refused:
                return {"code": refused.code, "message": refused.message, "data": refused.data}
            return {"text": result.content[0].text, "error": result.is_error}

        with only_denial():
            return self._portal.call(calls)

    def stale(self) -> None:
        """Make the client think that the token's time is over: it refreshes of itself then, and never on a 401."""
        self._auth.context.token_expiry_time = time.time() - 1


def inner_error(error: BaseException) -> BaseException:
    """Return what is wrong, out of the groups in which task groups wrap it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def only_denial() -> Iterator[None]:
    """Bring a denial out of such groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        inner = inner_error(group)
        if isinstance(inner, DeniedError):
            raise inner from None
        raise


@contextlib.contextmanager
def python(visit: Visit) -> Iterator[PythonFlow]:
    """Sign in and connect with the Python SDK."""

    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[tuple[Client, OAuthClientProvider, list[str]]]:
        auth = _Provider(visit)
        async with (
            httpx2.AsyncClient(auth=auth, timeout=20.0) as http,
            Client(
                streamable_http_client(visit.url, http_client=http),
                mode="legacy" if visit.era == "session" else "auto",
                cache=None,
            ) as client,
        ):
            yield client, auth, [tool.name for tool in (await client.list_tools()).tools]

    with (
        only_denial(),
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connected()) as (client, auth, tools),
    ):
        yield PythonFlow(portal, client, auth, tools)
