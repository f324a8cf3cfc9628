"""Tools that change what the server offers, and tell those who asked to be told, in the way of each era."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.prompts.base import Prompt
from mcp.types import EmptyResult, SetLevelRequestParams, SubscribeRequestParams, UnsubscribeRequestParams

from .plain import Ctx  # noqa: TC001  (the SDK reads annotations at run time)

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext
    from mcp.server.mcpserver import MCPServer

    from .server import State

STATELESS = "2026-07-28"
WATCHED = "test://watched-resource"


def _passing() -> str:
    """Comes and goes."""
    return "here for a moment"


def add_changes(server: MCPServer[Any], state: State) -> None:
    """The tools."""

    @server.tool()
    async def test_trigger_tool_change(ctx: Ctx) -> str:
        """Adds a tool, takes it away, and says that the list has changed."""
        server.add_tool(_passing, name="passing_tool")
        server.remove_tool("passing_tool")
        await ctx.notify_tools_changed()
        if ctx.protocol_version != STATELESS:
            await ctx.session.send_tool_list_changed()
        return "the tools have changed"

    @server.tool()
    async def test_trigger_prompt_change(ctx: Ctx) -> str:
        """Adds a prompt, takes it away, and says that the list has changed."""
        server.add_prompt(Prompt.from_function(_passing, name="passing_prompt"))
        server.remove_prompt("passing_prompt")
        await ctx.notify_prompts_changed()
        if ctx.protocol_version != STATELESS:
            await ctx.session.send_prompt_list_changed()
        return "the prompts have changed"

    @server.tool()
    async def touch(ctx: Ctx, uri: str = WATCHED) -> str:
        """Says that a resource was updated, to whoever subscribed to it."""
        await ctx.notify_resource_updated(uri)
        for session in list(state.subscribers.get(uri, {}).values()):
            await session.send_resource_updated(uri)
        return f"touched {uri}"


def add_subscriptions(server: MCPServer[Any], state: State) -> None:
    """The session era's own methods: subscribe, unsubscribe, set the log level."""

    def session_id(ctx: ServerRequestContext[Any, Any]) -> str:
        return str(ctx.request.headers.get("mcp-session-id")) if ctx.request is not None else ""

    async def subscribe(ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        state.subscribers.setdefault(params.uri, {})[session_id(ctx)] = ctx.session
        return EmptyResult()

    async def unsubscribe(ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        state.subscribers.get(params.uri, {}).pop(session_id(ctx), None)
        return EmptyResult()

    async def set_level(_: ServerRequestContext[Any, Any], params: SetLevelRequestParams) -> EmptyResult:
        state.level = params.level
        return EmptyResult()

    # MCPServer offers no public way to serve these three.
    low = server._lowlevel_server
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
