"""Tools that answer by themselves: every kind of content, errors, progress, logs, headers, schemas."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from .samples import DIALECT_2020_12, PICTURE, SOUND

if TYPE_CHECKING:
    from .server import State

Ctx = Context[Any, Any]
STEP_S = 0.05


def _text_resource(uri: str, text: str, kind: str = "text/plain") -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=kind, text=text))


def add_contents(server: MCPServer[Any]) -> None:
    """One tool for each kind of content."""

    @server.tool()
    def test_simple_text() -> str:
        """A line of text."""
        return "This is a simple text response for testing."

    @server.tool()
    def test_image_content() -> list[ImageContent]:
        """A picture."""
        return [ImageContent(type="image", data=PICTURE, mime_type="image/png")]

    @server.tool()
    def test_audio_content() -> list[AudioContent]:
        """A sound."""
        return [AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]

    @server.tool()
    def test_embedded_resource() -> list[EmbeddedResource]:
        """A resource inside the answer."""
        return [_text_resource("test://embedded-resource", "This is an embedded resource content.")]

    @server.tool()
    def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        """Text, a picture and a resource in one answer."""
        return [
            TextContent(type="text", text="Multiple content types test:"),
            ImageContent(type="image", data=PICTURE, mime_type="image/png"),
            _text_resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
        ]

    @server.tool()
    def link() -> list[ResourceLink]:
        """A link to a resource."""
        return [ResourceLink(type="resource_link", uri="test://static-text", name="static text")]

    @server.tool()
    def test_error_handling() -> str:
        """Always fails."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool()
    def test_x_mcp_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "nowhere",
    ) -> str:
        """Takes an argument that the stateless era mirrors into a header (SEP-2243)."""
        return f"region {region}"

    @server.tool()
    def json_schema_2020_12_tool() -> str:
        """Has an input schema with the keywords of JSON Schema 2020-12."""
        return "ok"

    # The SDK derives input schemas from signatures; this one must be word for word the suite's.
    tool = server._tool_manager.get_tool("json_schema_2020_12_tool")
    assert tool is not None
    tool.parameters = DIALECT_2020_12


async def _three_logs(ctx: Ctx) -> None:
    for number, text in enumerate(("Tool execution started", "Tool processing data", "Tool execution completed")):
        if number:
            await asyncio.sleep(STEP_S)
        await ctx.info(text)


def add_signals(server: MCPServer[Any]) -> None:
    """Tools that send something on the way: logs, progress."""

    @server.tool()
    async def test_tool_with_logging(ctx: Ctx) -> str:
        """Logs three lines."""
        await _three_logs(ctx)
        return "logged three lines"

    @server.tool()
    async def test_logging_tool(ctx: Ctx) -> str:
        """Logs three lines to those who asked for logs."""
        await _three_logs(ctx)
        return "logged to whom it concerns"

    @server.tool()
    async def test_tool_with_progress(ctx: Ctx) -> str:
        """Tells of its progress: 0, 50, 100."""
        for done in (0, 50, 100):
            if done:
                await asyncio.sleep(STEP_S)
            await ctx.report_progress(done, 100, f"{done} of 100")
        return "all steps done"


def add_limits(server: MCPServer[Any], state: State) -> None:
    """Tools that do not come to a plain end: a capability that lacks, a broken stream, a client that gives up."""

    @server.tool()
    async def test_missing_capability(ctx: Ctx) -> str:
        """Works only for a client that declares sampling."""
        declared = ctx.client_capabilities
        if declared is None or declared.sampling is None:
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="this tool needs a client with sampling",
                data={"requiredCapabilities": {"sampling": {}}},
            )
        return "the client can sample"

    @server.tool()
    async def test_reconnection(ctx: Ctx) -> str:
        """Closes the stream of its own call; the answer waits for the client to come back (SEP-1699)."""
        await ctx.info("before the stream closes")
        await ctx.close_sse_stream()
        await asyncio.sleep(0.2)
        await ctx.info("after the client came back")
        return "Reconnection test completed successfully"

    @server.tool()
    async def wait(ctx: Ctx, seconds: float = 60) -> str:
        """Takes so long that the client gives up; `left` counts the calls that were given up."""
        await ctx.report_progress(1, 2, "waiting")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            state.left += 1
            raise
        return "waited"

    @server.tool()
    def left() -> int:
        """How many calls of `wait` were given up."""
        return state.left
