"""Puts the server together and serves it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer, RequestStateSecurity
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from ..sdk_server import Watch
from .asking import add_both, add_longer, add_requests, add_rounds, add_states
from .changes import add_changes, add_subscriptions
from .events import Events
from .offers import add_completion, add_prompts, add_resources
from .pages import in_pages
from .plain import add_contents, add_limits, add_signals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server.session import ServerSession
    from starlette.requests import Request

RETRY_MS = 100
PAGE = 4


@dataclass(slots=True)
class State:
    """What the server remembers between calls."""

    left: int = 0
    level: str = "info"
    subscribers: dict[str, dict[str, ServerSession]] = field(default_factory=dict)


def build() -> MCPServer[Any]:
    """Return the server with everything in it."""
    server: MCPServer[Any] = MCPServer(
        "everything",
        version="1",
        instructions="One of everything.",
        log_level="WARNING",
        request_state_security=RequestStateSecurity(keys=[b"a key for tests, of no worth to anybody"]),
    )
    state = State()
    add_limits(server, state)
    add_changes(server, state)
    add_subscriptions(server, state)
    for add in (
        add_contents,
        add_signals,
        add_requests,
        add_both,
        add_rounds,
        add_states,
        add_longer,
        add_resources,
        add_prompts,
        add_completion,
    ):
        add(server)
    return server


def build_app() -> Starlette:
    """Return the whole application; `/seen` tells every request that reached it, `/paged/mcp` lists in pages."""
    whole = build().streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)
    paged = in_pages(build(), PAGE).streamable_http_app()
    watch = Watch(whole)

    async def seen(_: Request) -> JSONResponse:
        return JSONResponse(watch.seen)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with whole.router.lifespan_context(whole), paged.router.lifespan_context(paged):
            yield

    return Starlette(routes=[Route("/seen", seen), Mount("/paged", paged), Mount("/", watch)], lifespan=lifespan)
