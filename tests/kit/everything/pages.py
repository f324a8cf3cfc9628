"""The same server, whose lists come in pages that any cache may share: what a gateway has to filter and to mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, PaginatedRequestParams

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext
    from mcp.server.mcpserver import MCPServer

LISTS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resource_templates",
    "prompts/list": "prompts",
}


def in_pages(server: MCPServer[Any], size: int) -> MCPServer[Any]:
    """Cut every list of `server` into pages of `size`; a cursor names the list and the first item."""
    low = server._lowlevel_server
    for method, items in LISTS.items():
        entry = low.get_request_handler(method)
        assert entry is not None

        async def page(
            ctx: ServerRequestContext[Any, Any],
            params: PaginatedRequestParams | None,
            whole: Any = entry.handler,
            items: str = items,
        ) -> Any:
            word, _, start = ((params.cursor if params is not None else None) or f"{items}@0").partition("@")
            if word != items or not start.isdecimal():
                raise MCPError(code=INVALID_PARAMS, message="no such cursor")
            found = await whole(ctx, None)
            every, at = getattr(found, items), int(start)
            rest = f"{items}@{at + size}" if at + size < len(every) else None
            shared = {"ttl_ms": 60_000, "cache_scope": "public", "next_cursor": rest}
            return found.model_copy(update={items: every[at : at + size], **shared})

        low.add_request_handler(method, PaginatedRequestParams, page)
    return server
