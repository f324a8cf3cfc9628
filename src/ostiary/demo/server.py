"""The sample MCP server: notes and a little arithmetic, on the official Python SDK, both protocol eras on one URL.

`ostiary.verify` guards it, so that only calls which the gateway forwarded get in. `/hits` counts what got as far as
a tool; it is outside the guard. The server ends when its standard input does, so it never outlives the demo.

    python -m ostiary.demo.server --issuer http://127.0.0.1:8811
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from ostiary.verify import Guard, Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

NOTES = {
    "releases/1.4.md": "1.4: the doorkeeper learned to count. Ship it on Friday.",
    "todo.md": "Rotate the keys. Water the plants.",
}


def build_server(hits: Counter[str]) -> MCPServer[Any]:
    """Return the MCP server; each tool that runs is counted in `hits`."""
    notes = dict(NOTES)
    server: MCPServer[Any] = MCPServer(
        "notes", version="1.0", instructions="Notes of a release team.", log_level="WARNING"
    )

    @server.tool()
    def echo(text: str) -> str:
        """Say the text again."""
        hits["echo"] += 1
        return text

    @server.tool()
    def read_file(path: str) -> str:
        """Read a note."""
        hits["read_file"] += 1
        if path not in notes:
            raise ToolError(f"there is no note {path}; there are {', '.join(sorted(notes)) or 'none'}")
        return notes[path]

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        hits["add"] += 1
        return a + b

    @server.tool()
    def delete_file(path: str) -> str:
        """Delete a note."""
        hits["delete_file"] += 1
        if notes.pop(path, None) is None:
            raise ToolError(f"there is no note {path}")
        return f"deleted {path}"

    return server


def build_app(issuer: str, audience: str) -> Starlette:
    """Return the whole application: the guarded MCP endpoint, and the counter beside it."""
    hits: Counter[str] = Counter()
    mcp_app = build_server(hits).streamable_http_app()
    verifier = Verifier(issuer=issuer, audience=audience)
    guarded = Guard(mcp_app, verifier)

    async def count(_: Request) -> JSONResponse:
        return JSONResponse({"total": hits.total(), **hits})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with mcp_app.router.lifespan_context(mcp_app):
            yield

    return Starlette(routes=[Route("/hits", count), Mount("/", guarded)], lifespan=lifespan)


async def serve(issuer: str, port: int) -> None:
    """Serve on 127.0.0.1 until standard input ends; prints one line of JSON with the URL once it answers."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        config = uvicorn.Config(build_app(issuer, url), log_level="warning", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]))
            print(json.dumps({"url": url}), flush=True)
            # The socket listens already: a connection that comes early waits in its queue.
            await asyncio.to_thread(sys.stdin.read)
            server.should_exit = True


def main() -> None:
    """Read the command line and serve."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--issuer", required=True, help="the gateway's own URL (gateway.url)")
    words.add_argument("--port", type=int, default=0, help="by default any that is free")
    given = words.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.issuer, given.port))


if __name__ == "__main__":
    main()
