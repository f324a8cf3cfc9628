"""Pydantic AI as a host, with a stub for a model. A call is one whole run of the agent: the model asks for the tool, is
told what came of it, and says that. Its MCP client is fastmcp's, `MCPToolset(url, auth="oauth")`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, RetryPromptPart, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

from .fast import client_of, let_go_stale, only_denial, open_browsers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from anyio.from_thread import BlockingPortal
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models.function import AgentInfo

    from .flow import Answer, Visit


class Stub:
    """A model that asks for one tool, and then says what it was told."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self._call = ToolCallPart(tool_name=name, args=dict(arguments))

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        for part in messages[-1].parts:
            if isinstance(part, ToolReturnPart):
                return _says({"text": part.model_response_str(), "error": part.outcome != "success"})
            if isinstance(part, RetryPromptPart):
                return _says({"text": str(part.content), "error": True})
        return ModelResponse(parts=[self._call])


def _says(told: Mapping[str, Any]) -> ModelResponse:
    return ModelResponse(parts=[TextPart(json.dumps(told))])


class PydanticFlow:
    """An agent with the tools of one server."""

    def __init__(self, portal: BlockingPortal, toolset: MCPToolset[None], tools: list[str]) -> None:
        self._portal, self._toolset = portal, toolset
        self.tools = tools

    def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Let the agent run until its model has used the tool."""

        async def run() -> str:
            agent = Agent(FunctionModel(Stub(name, arguments)), toolsets=[self._toolset])
            return (await agent.run("go")).output

        with only_denial():
            answer: Answer = json.loads(self._portal.call(run))
        return answer

    def stale(self) -> None:
        """Let the access token be of no more use to the client."""
        let_go_stale(self._toolset.client)


@contextlib.contextmanager
def pydantic_host(visit: Visit) -> Iterator[PydanticFlow]:
    """Sign in and connect with Pydantic AI."""

    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[tuple[MCPToolset[None], list[str]]]:
        async with MCPToolset[None](client_of(visit)) as toolset:
            yield toolset, [tool.name for tool in await toolset.list_tools()]

    with (
        open_browsers(visit.browser),
        only_denial(),
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connected()) as (toolset, tools),
    ):
        yield PydanticFlow(portal, toolset, tools)
