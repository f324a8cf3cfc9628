"""An upstream on the official Python SDK, both eras on one URL: `python -m tests.kit.sdk_server PORT [--jwks URL …]`.

`/seen` tells what reached it: how many MCP requests, and every head and body. With `--jwks` it is guarded by
`ostiary.verify`, so that a call around the gateway is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import TYPE_CHECKING, Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


def build() -> MCPServer[Any]:
    """Return the sample server."""
    server: MCPServer[Any] = MCPServer("kit", version="1")

    @server.tool()
    def echo(text: str) -> str:
        """Say the text again."""
        return text

    @server.tool()
    def read_file(path: str) -> str:
        """Pretend to read a file."""
        return f"contents of {path}"

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def delete_file(path: str) -> str:
        """Pretend to delete a file."""
        return f"deleted {path}"

    @server.tool()
    async def count(to: int, ctx: Context[Any, Any]) -> int:
        """Count, telling of each step."""
        for step in range(1, to + 1):
            await ctx.report_progress(step, to)
        return to

    return server


class Watch:
    """Keeps what passes through."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.seen: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        found: dict[str, Any] = {
            "method": scope["method"],
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "body": "",
        }
        self.seen.append(found)

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                found["body"] += message.get("body", b"").decode("utf-8", "replace")
            return message

        await self.app(scope, watched, send)


def main() -> None:
    """Serve until ended."""
    words = argparse.ArgumentParser()
    words.add_argument("port", type=int)
    words.add_argument("--jwks")
    words.add_argument("--issuer")
    words.add_argument("--audience")
    given = words.parse_args()

    mcp_app = build().streamable_http_app()
    guarded: ASGIApp = mcp_app
    if given.jwks:
        from ostiary.verify import Guard, Verifier

        guarded = Guard(mcp_app, Verifier(issuer=given.issuer, audience=given.audience, jwks_url=given.jwks))
    watch = Watch(guarded)

    async def seen(_: Request) -> JSONResponse:
        return JSONResponse(watch.seen)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with mcp_app.router.lifespan_context(mcp_app):
            yield

    app = Starlette(routes=[Route("/seen", seen), Mount("/", watch)], lifespan=lifespan)
    print(json.dumps({"ready": given.port}), flush=True)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
