"""fastmcp's client on the tour: its own methods, which give the protocol's results, and its own kinds of handlers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StreamableHttpTransport

from .plan import ROOT
from .python import Heard, Ways

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp import ClientSession


@dataclass(slots=True)
class FastWays:
    """fastmcp's client."""

    client: Client[Any]
    heard: Heard

    @property
    def session(self) -> ClientSession:
        return self.client.session

    async def tools(self) -> Any:
        return await self.client.list_tools_mcp()

    async def resources(self) -> Any:
        return await self.client.list_resources_mcp()

    async def templates(self) -> Any:
        return await self.client.list_resource_templates_mcp()

    async def prompts(self) -> Any:
        return await self.client.list_prompts_mcp()

    async def call(self, name: str, arguments: dict[str, Any], told: Any) -> Any:
        return await self.client.call_tool_mcp(name, arguments, progress_handler=told)

    async def read(self, uri: str) -> Any:
        return await self.client.read_resource_mcp(uri)

    async def prompt(self, name: str, arguments: dict[str, str]) -> Any:
        return await self.client.get_prompt_mcp(name, arguments)

    async def complete(self, ref: Any, argument: dict[str, str]) -> Any:
        return await self.client.complete_mcp(ref, argument)


@contextlib.asynccontextmanager
async def fast(url: str, token: str | None, era: str) -> AsyncIterator[Ways]:
    """Connect fastmcp's client."""
    heard = Heard()

    async def sampled(messages: Any, params: Any, _: Any) -> str:
        heard.asked.append(f"sampling {messages[0].content.text}")
        return "four"

    async def elicited(message: str, response_type: Any, params: Any, _: Any) -> Any:
        heard.asked.append(f"visit {params.url}" if params.mode == "url" else f"form {message}")
        return ElicitResult(action="accept", content=None if params.mode == "url" else {"name": "alice"})

    transport = StreamableHttpTransport(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    client: Client[Any] = Client(
        transport,
        mode="legacy" if era == "session" else "auto",
        cache=False,
        timeout=20.0,
        roots=[ROOT],
        sampling_handler=sampled,
        elicitation_handler=elicited,
        log_handler=heard.log,
        message_handler=heard.note,
    )
    async with client:
        yield FastWays(client, heard)
