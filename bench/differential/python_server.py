"""A server on the official Python SDK that writes down what it understood of each request.

`python -m bench.differential.python_server PORT LOG`. Each line has the id of the gateway's decision, from the token
that came with the call, so that the two accounts can be laid side by side.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    GetPromptRequestParams,
    GetPromptResult,
    ListToolsResult,
    PaginatedRequestParams,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    Tool,
)
from tests.kit.issuer import read

if TYPE_CHECKING:
    from typing import TextIO

    from mcp.server import ServerRequestContext

    Ctx = ServerRequestContext[Any, Any]


def build(log: TextIO) -> Server[Any]:
    """Return the server; it has no schemas, so that whatever it is asked for arrives at a handler."""

    def understood(ctx: Ctx, **what: Any) -> None:
        token = str(ctx.request.headers["authorization"]).partition(" ")[2] if ctx.request is not None else ""
        line = {"decision": read(token)[1]["jti"], "method": ctx.method, **what}
        log.write(json.dumps(line) + "\n")

    async def call(ctx: Ctx, params: CallToolRequestParams) -> CallToolResult:
        understood(ctx, tool=params.name, arguments=params.arguments or {})
        return CallToolResult(content=[])

    async def prompt(ctx: Ctx, params: GetPromptRequestParams) -> GetPromptResult:
        understood(ctx, prompt=params.name, arguments=params.arguments or {})
        return GetPromptResult(messages=[])

    async def resource(ctx: Ctx, params: ReadResourceRequestParams) -> ReadResourceResult:
        understood(ctx, resource=params.uri)
        return ReadResourceResult(contents=[])

    async def complete(ctx: Ctx, params: CompleteRequestParams) -> CompleteResult:
        about = {"prompt": params.ref.name} if isinstance(params.ref, PromptReference) else {"resource": params.ref.uri}
        understood(ctx, **about)
        return CompleteResult(completion=Completion(values=[]))

    async def tools(ctx: Ctx, _: PaginatedRequestParams | None) -> ListToolsResult:
        understood(ctx)
        return ListToolsResult(tools=[Tool(name="echo", input_schema={"type": "object"})])

    return Server(
        "differential",
        version="1",
        on_call_tool=call,
        on_get_prompt=prompt,
        on_read_resource=resource,
        on_completion=complete,
        on_list_tools=tools,
        # Otherwise the SDK asks its own list before each call, and that would look like a second request.
        get_tool_input_schema=lambda _: {"type": "object"},
    )


def main() -> None:
    """Serve until ended."""
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    with file.open("w", buffering=1) as log:  # by line: a server that is told to end may not close it
        app = build(log).streamable_http_app(json_response=True)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
